"""The SQL database: who writes, and when."""

import asyncio

import sqlalchemy as sa

from turnout.router import models
from turnout.router.database import Database


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
