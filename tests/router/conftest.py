"""A registry on a real database, and the admin API over it on a free port of the loopback."""

import os
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import create_async_engine
from tests.router.serving import Admin, serve

from turnout.router.database import Database, open_database
from turnout.router.registry import Registry
from turnout.shared import cache

#: A PostgreSQL server on which databases may be created: the suite then runs on it as well.
POSTGRESQL = os.environ.get("TURNOUT_TEST_DATABASE_URL")


@pytest.fixture(params=["sqlite", *(["postgresql"] if POSTGRESQL else [])])
async def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """The address of an empty database."""
    if request.param == "sqlite":
        yield f"sqlite+aiosqlite:///{tmp_path}/turnout.db"
        return
    server = make_url(str(POSTGRESQL))
    name = f"turnout_test_{secrets.token_hex(6)}"
    engine = create_async_engine(server, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        await connection.execute(text(f"CREATE DATABASE {name}"))
    yield server.set(database=name).render_as_string(hide_password=False)
    async with engine.connect() as connection:
        await connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    await engine.dispose()


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A database with the newest schema."""
    async with open_database(database_url) as database:
        await database.migrate()
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
