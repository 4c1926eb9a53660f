"""A registry on a real database, and the admin API over it on a free port of the loopback."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from sqlalchemy import make_url
from tests.router.serving import Admin, serve
from tests.support import postgresql

from turnout.router.database import Database, open_database
from turnout.router.registry import Registry
from turnout.shared import cache


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what is marked so on both databases."""
    marked = metafunc.definition.get_closest_marker("both_databases")
    if marked and "database_url" in metafunc.fixturenames:
        metafunc.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the newest schema: to copy it is quicker than to migrate."""
    path = tmp_path_factory.mktemp("schema") / "turnout.db"
    asyncio.run(_migrate(f"sqlite+aiosqlite:///{path}"))
    return path


@pytest.fixture(scope="session")
def postgresql_template(postgresql_server: str) -> Iterator[str]:
    """The name of a database with the newest schema."""
    with postgresql.database(postgresql_server) as url:
        asyncio.run(_migrate(url))
        yield str(make_url(url).database)


async def _migrate(url: str) -> None:
    async with open_database(url) as database:
        await database.migrate()


@pytest.fixture
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a database without rows: of SQLite, unless the test runs on both.

    It has the newest schema if the test works with `database`, and else none.
    """
    migrated = "database" in request.fixturenames
    if getattr(request, "param", "sqlite") == "sqlite":
        path = tmp_path / "turnout.db"
        if migrated:
            shutil.copy(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite+aiosqlite:///{path}"
        return
    template = request.getfixturevalue("postgresql_template") if migrated else "template1"
    with postgresql.database(request.getfixturevalue("postgresql_server"), template) as url:
        yield url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A database with the newest schema."""
    async with open_database(database_url) as database:
        yield database


@pytest.fixture
def registry(database: Database) -> Registry:
    return Registry(database)


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """A client of the module's cache, which is empty."""
    client = cache.connect(redis_url, timeout=5.0)
    await client.flushdb()
    yield client
    await client.aclose()


@pytest.fixture
async def admin(registry: Registry, redis: Redis) -> AsyncIterator[Admin]:
    async with serve(registry, redis) as admin:
        yield admin
