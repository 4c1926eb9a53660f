"""The schema: from nothing to the newest, on every database."""

import asyncio
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, insert, text

from turnout.router import models
from turnout.router.database import (
    Database,
    DatabaseUnavailable,
    UnknownSchema,
    open_database,
    parse_url,
)
from turnout.router.registry import Registry


async def test_the_migrations_lead_to_what_the_models_say(database: Database) -> None:
    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, models.Base.metadata))

    async with database.reading() as connection:
        assert await connection.run_sync(differences) == []


async def test_migrating_again_changes_nothing(database: Database) -> None:
    registry = Registry(database)
    group = await registry.create_group("crm")
    await database.migrate()
    assert await registry.list_groups() == [group]


async def test_routers_that_start_together_migrate_one_after_the_other(database_url: str) -> None:
    async with open_database(database_url) as first, open_database(database_url) as second:
        await asyncio.gather(first.migrate(), second.migrate())
        assert await Registry(second).list_groups() == []


async def test_a_database_of_a_newer_version_is_refused(database: Database) -> None:
    async with database.writing() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(UnknownSchema, match="newer"):
        await database.migrate()


async def test_a_failed_transaction_leaves_nothing_behind(database: Database) -> None:
    async def fail() -> None:
        async with database.writing() as connection:
            await connection.execute(
                insert(models.Group).values(
                    id="grp_0", slug="crm", name="CRM", created_at=datetime.now(UTC)
                )
            )
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await Registry(database).list_groups() == []


async def test_the_sqlite_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "turnout.db"
    async with open_database(f"sqlite+aiosqlite:///{path}") as database:
        await database.migrate()
        files = await asyncio.to_thread(lambda: list(tmp_path.iterdir()))
        modes = {stat.S_IMODE(each.stat().st_mode) for each in files}
    assert path in files
    assert modes == {0o600}


async def test_sqlite_enforces_foreign_keys_and_writes_ahead(tmp_path: Path) -> None:
    async with (
        open_database(f"sqlite+aiosqlite:///{tmp_path}/turnout.db") as database,
        database.reading() as connection,
    ):
        assert await connection.scalar(text("PRAGMA foreign_keys")) == 1
        assert await connection.scalar(text("PRAGMA journal_mode")) == "wal"


async def test_a_file_that_cannot_be_created_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match="nowhere"):
        async with open_database(f"sqlite+aiosqlite:///{tmp_path}/nowhere/turnout.db"):
            pass


async def test_a_server_that_does_not_answer_is_unavailable(unused_tcp_port: int) -> None:
    url = f"postgresql+asyncpg://turnout:hush@127.0.0.1:{unused_tcp_port}/turnout"
    async with open_database(url) as database:
        with pytest.raises(DatabaseUnavailable) as refused:
            await database.ping()
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "mysql://turnout:hush@127.0.0.1/turnout",
        "postgresql://turnout:hush@127.0.0.1/turnout",
        "sqlite+aiosqlite://",
        "sqlite+aiosqlite:///:memory:",
        "postgresql+asyncpg://turnout:hush@127.0.0.1:port/turnout",
        "turnout.db",
    ],
)
def test_an_address_that_cannot_work_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match="address") as refused:
        parse_url(url)
    assert "hush" not in str(refused.value)
