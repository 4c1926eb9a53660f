"""The SQL database: who writes, and when."""

import asyncio
import sqlite3
from contextlib import closing

import pytest
import sqlalchemy as sa

from turnout.router import database as module
from turnout.router import models
from turnout.router.database import Database, open_database
from turnout.shared import service


async def test_on_sqlite_who_wants_to_write_first_writes_first(database: Database) -> None:
    written = []

    async def write(number: int) -> None:
        async with database.writing() as connection:
            await connection.execute(sa.update(models.Revision).values(number=number))
            written.append(number)

    async with asyncio.TaskGroup() as tasks, database.writing():
        for number in range(8):
            tasks.create_task(write(number))
        await asyncio.sleep(0)
        assert not written
    assert written == [*range(8)]


def test_a_process_that_waits_to_write_can_end(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BUSY_TIMEOUT", 2)
    path = database_url.removeprefix("sqlite+aiosqlite:///")

    async def process(another_program: sqlite3.Connection) -> None:
        async with open_database(database_url) as database:
            await database.ping()
            another_program.execute("BEGIN IMMEDIATE")
            writing = asyncio.create_task(write(database))
            _, waiting = await asyncio.wait([writing], timeout=0.2)
            assert waiting
            await service.cancel([writing])

    async def write(database: Database) -> None:
        async with database.writing():
            pass

    with closing(sqlite3.connect(path, isolation_level=None)) as another_program:
        asyncio.run(process(another_program))
