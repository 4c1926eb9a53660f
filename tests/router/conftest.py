"""A registry on a real database, and the admin API over it on a free port of the loopback."""

import os
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import create_async_engine
from tests.router.serving import Admin, Broker

from turnout.router.api import make_app
from turnout.router.database import Database, open_database
from turnout.router.registry import Registry
from turnout.router.settings import RouterSettings
from turnout.shared import keys

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
async def admin(registry: Registry) -> AsyncIterator[Admin]:
    token = keys.new_key(keys.ADMIN_TOKEN).text
    await registry.ensure_admin_token(token)
    broker = Broker(registry)
    settings = RouterSettings(public_url="https://hooks.example.org/")
    runner = web.AppRunner(make_app(registry, broker, settings))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        yield Admin(f"http://{host}:{port}", token, registry, broker, session)
    await runner.cleanup()
