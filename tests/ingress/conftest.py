"""The cache as the parts of ingress see it, and the same behind a proxy that can trouble it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from redis.asyncio import Redis
from tests.ingress.serving import Served, Talk
from tests.support.proxy import Proxy

from turnout.shared import cache
from turnout.shared.batch import Batch

#: Tells how often the cache has run a command so far.
Calls = Callable[[str], Awaitable[int]]


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """The cache, empty, for the test's own eyes and hands."""
    async with cache.connect(redis_url, timeout=5.0) as client:
        await client.flushdb()
        yield client


@pytest.fixture
async def batch(redis_url: str) -> AsyncIterator[Batch]:
    async with cache.connect(redis_url, timeout=5.0) as client:
        yield Batch(client)


@pytest.fixture
async def proxy(redis_url: str) -> AsyncIterator[Proxy]:
    """A proxy before the cache."""
    async with Proxy(redis_url) as proxy:
        yield proxy


@pytest.fixture
async def far_batch(proxy: Proxy) -> AsyncIterator[Batch]:
    """Asks the cache through the proxy."""
    async with cache.connect(proxy.url, timeout=0.5) as client:
        yield Batch(client)


@pytest.fixture
def calls(redis: Redis) -> Calls:
    async def calls(command: str) -> int:
        stats = await redis.info("commandstats")
        return int(stats.get(f"cmdstat_{command}", {"calls": 0})["calls"])

    return calls


class Troubled(NamedTuple):
    """A served ingress, with a proxy before its broker and one before its cache."""

    served: Served
    broker: Proxy
    cache: Proxy

    async def talk(self, call: bytes) -> Talk:
        """Send a call while the proxies go on; see `Served.talk`."""
        return await asyncio.to_thread(self.served.talk, call)


@pytest.fixture
def troubled_settings() -> dict[str, str]:
    """The settings of a troubled ingress; a module that needs others overrides this."""
    return {}


@pytest.fixture
async def troubled(
    tmp_path: Path, amqp_url: str, redis_url: str, troubled_settings: dict[str, str]
) -> AsyncIterator[Troubled]:
    async with Proxy(amqp_url) as broker, Proxy(redis_url) as cache:
        served = Served(tmp_path, broker.url, cache.url, troubled_settings)
        running = served.running()
        await asyncio.to_thread(running.__enter__)
        try:
            yield Troubled(served, broker, cache)
        finally:
            broker.thaw()
            await asyncio.to_thread(running.__exit__, None, None, None)
