"""Two routers over one database: one works, the other takes its place when it must."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import aiohttp
import pytest
import redis
from sqlalchemy import make_url
from tests.support.process import Command
from tests.support.system import PATIENCE, Service, System
from tests.support.waiting import eventually

from turnout.shared import names

#: Seconds: an active router that is only stopped has to be silent for a while.
TAKEOVER = 20


@pytest.fixture(scope="module")
def system(bare_system: System) -> System:
    """A running system with a second router, on standby."""
    bare_system.add_ingress()
    asyncio.run(bare_system.start())
    asyncio.run(_start(bare_system.add_router().command))
    return bare_system


async def _start(command: Command) -> None:
    await command.start().wait_log("this router is on standby")


async def _code(service: Service, path: str = "/readyz") -> str:
    """Return the code of the problem that a router answers; "" for a good answer."""
    async with aiohttp.ClientSession() as session, session.get(service.url + path) as response:
        return "" if response.status == 200 else str((await response.json())["code"])


async def _becomes_active(service: Service) -> None:
    async def active() -> bool:
        return await _code(service) == ""

    await eventually(active, TAKEOVER, "the other router is active")


@pytest.fixture
def active_and_standby(system: System) -> Iterator[tuple[Service, Service]]:
    """Both routers, whichever is the active one at present; both run at the end."""
    first, second = system.routers
    pair = (first, second) if asyncio.run(_code(first)) == "" else (second, first)
    yield pair
    for each in system.routers:
        if not each.command.is_running:
            asyncio.run(_start(each.command))


async def test_a_router_on_standby_says_so_and_answers_nothing_else(
    active_and_standby: tuple[Service, Service],
) -> None:
    active, standby = active_and_standby
    assert await _code(active) == ""
    assert await _code(standby) == "standby"
    assert await _code(standby, "/healthz") == ""
    assert await _code(standby, "/api/v1/groups") == "standby"


async def test_when_the_active_router_is_killed_the_other_takes_over_and_fills_the_cache(
    system: System, redis_url: str, active_and_standby: tuple[Service, Service]
) -> None:
    active, standby = active_and_standby
    with closing(redis.Redis.from_url(redis_url)) as client:
        active.command.kill()
        await _becomes_active(standby)
        client.flushdb()
        await eventually(lambda: client.get(names.AUTH_EPOCH), PATIENCE, "the cache is filled")


async def test_a_router_that_was_stopped_steps_down_and_writes_nothing(
    system: System, redis_url: str, active_and_standby: tuple[Service, Service]
) -> None:
    active, standby = active_and_standby
    with closing(redis.Redis.from_url(redis_url)) as client:
        # Not amid a transaction: SQLite would be locked for as long as the router is frozen.
        with closing(sqlite3.connect(make_url(system.database_url).database or "")) as database:
            database.execute("BEGIN IMMEDIATE")
            active.command.pause()
        try:
            await _becomes_active(standby)
            epoch = client.get(names.AUTH_EPOCH)
        finally:
            active.command.resume()
        await active.command.wait_log("this router steps down")
        assert await _code(active) == "standby"
        assert await _code(standby) == ""
        assert client.get(names.AUTH_EPOCH) == epoch
    group = {"slug": "kept"}
    token = system._authorization
    async with aiohttp.ClientSession(headers=token) as session:
        async with session.post(f"{active.url}/api/v1/groups", json=group) as response:
            assert response.status == 503
            assert "Retry-After" in response.headers
        async with session.post(f"{standby.url}/api/v1/groups", json=group) as response:
            assert response.status == 201
