"""The schema: from nothing to the newest, on every database."""

import asyncio
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Connection,
    DateTime,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    insert,
    text,
)
from sqlalchemy.ext.asyncio import create_async_engine
from tests.support.process import ROOT

from turnout.router import models
from turnout.router.database import (
    Database,
    DatabaseUnavailable,
    UnknownSchema,
    open_database,
    parse_url,
)
from turnout.router.registry import Limits, Registry

pytestmark = pytest.mark.both_databases

#: A row in each table, as the first schema has them.
_FIRST_ROWS = """
INSERT INTO groups VALUES ('grp_1', 'crm', 'CRM', '2026-01-31 09:30:00');
INSERT INTO flows VALUES ('flw_1', 'grp_1', 'update', 'Update', '2026-01-31 09:30:00');
INSERT INTO api_keys VALUES
  ('key_1', 'grp_1', 'Partner', 'tk_0123456789', 'd', '2026-01-31 09:30:00', NULL, NULL);
INSERT INTO triggers VALUES
  ('trg_1', 'flw_1', 'Deals', 'r', true, '["POST"]', false, false, '2026-01-31 09:30:00', NULL);
INSERT INTO trigger_keys VALUES ('trg_1', 'key_1')
"""


async def _execute(url: str, statements: str) -> None:
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        for statement in statements.split(";"):
            await connection.execute(text(statement))
    await engine.dispose()


async def _migrate(url: str, change: Callable[[Config, str], None], revision: str) -> None:
    """Bring the schema to one revision, with Alembic's own command."""

    def work(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(ROOT / "router/turnout/router/migrations"))
        config.attributes["connection"] = connection
        change(config, revision)

    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(work)
    await engine.dispose()


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


async def test_a_database_of_the_first_schema_keeps_its_rows_and_sets_no_limit(
    database_url: str,
) -> None:
    await _migrate(database_url, command.upgrade, "0001")
    await _execute(database_url, _FIRST_ROWS)
    async with open_database(database_url) as database:
        await database.migrate()
        registry = Registry(database)
        (group,), (key,) = await registry.list_groups(), await registry.list_keys("crm")
        (trigger,) = await registry.list_triggers()
        assert (group.id, key.name, trigger.key_ids) == ("grp_1", "Partner", ("key_1",))
        assert group.limits == key.effective_limits == trigger.effective_limits == Limits()
        await registry.change_key("key_1", {"limits": {"rate": 2.5, "burst": 7}})
        assert (await registry.key("key_1")).limits == Limits(rate=2.5, burst=7)


async def test_each_migration_keeps_the_rows_of_every_table(database_url: str) -> None:
    """A row is added to each table at each revision; at the newest all of them are as they were."""
    config = Config()
    config.set_main_option("script_location", str(ROOT / "router/turnout/router/migrations"))
    revisions = [each.revision for each in ScriptDirectory.from_config(config).walk_revisions()]
    engine = create_async_engine(database_url)
    written: list[tuple[str, dict[str, Any]]] = []
    for number, revision in enumerate(reversed(revisions), 1):
        await _migrate(database_url, command.upgrade, revision)
        async with engine.begin() as connection:
            written += await connection.run_sync(_add_rows, number)
    async with engine.begin() as connection:
        tables = (await connection.run_sync(_reflected)).tables
        for name, row in written:
            table = tables[name]
            identity = [table.c[each.name] == row[each.name] for each in table.primary_key]
            found = (await connection.execute(table.select().where(*identity))).mappings().one()
            assert {column: found[column] for column in row} == row, name
    await engine.dispose()
    async with open_database(database_url) as database:
        await database.migrate()
        snapshot = await Registry(database).snapshot()
        assert len(snapshot.flows) == len(snapshot.keys) == len(snapshot.triggers) == number
        assert len(await Registry(database).list_tokens()) == number


def _reflected(connection: Connection) -> MetaData:
    metadata = MetaData()
    metadata.reflect(connection)
    return metadata


def _add_rows(connection: Connection, number: int) -> list[tuple[str, dict[str, Any]]]:
    """Add a row to each table that there is, of which each text names its column and the number."""
    added: dict[str, dict[str, Any]] = {}
    for table in _reflected(connection).sorted_tables:
        if table.name in {"alembic_version", "revision", "lease"}:
            continue  # which have their one row
        row = added[table.name] = {}
        for column in table.columns:
            key = next(iter(column.foreign_keys), None)
            row[column.name] = (
                _value(column, number)
                if key is None
                else added[key.column.table.name][key.column.name]
            )
        connection.execute(table.insert().values(row))
    return list(added.items())


def _value(column: Column[Any], number: int) -> Any:
    match column.type:
        case JSON():
            return [f"{column.name} {number}"]
        case Boolean():
            return number % 2 == 0
        case DateTime():
            moment = datetime(2026, 1, number, tzinfo=UTC)
            return moment if column.type.timezone else moment.replace(tzinfo=None)
        case LargeBinary():
            return bytes([number])
        case Integer() | Float():
            return 100 + number
        case _:
            text = f"{number} {column.name}"
            return text[: getattr(column.type, "length", None) or len(text)]


async def test_going_back_to_the_first_schema_loses_the_limits_alone(database_url: str) -> None:
    await _migrate(database_url, command.upgrade, "0001")
    await _execute(database_url, _FIRST_ROWS)
    async with open_database(database_url) as database:
        await database.migrate()
        registry = Registry(database)
        of_triggers = {"max_body_bytes": 9, "max_header_bytes": 9999, "read_timeout": 9.0}
        await registry.limit_group("crm", {"in_flight": 9, **of_triggers})
        await registry.change_trigger("trg_1", {"limits": {"rate": 9.0}})
    await _migrate(database_url, command.downgrade, "0001")
    async with open_database(database_url) as database:
        await database.migrate()
        registry = Registry(database)
        trigger = await registry.trigger("trg_1")
        assert (trigger.description, trigger.key_ids) == ("Deals", ("key_1",))
        assert trigger.effective_limits == Limits()
        assert (await registry.group("crm")).limits == Limits()


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
