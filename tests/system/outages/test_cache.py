"""Without the cache, or with an empty one, no sender with a good key is told that it is bad."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping

import aiohttp
import pytest
import redis
from tests.support.system import PATIENCE, Key, System, Trigger
from tests.support.waiting import eventually

from turnout.router.nodes.redis import Redis
from turnout.shared import keys, names

OUTAGE = 3.0


@pytest.fixture(scope="module")
def settings() -> Mapping[str, str]:
    return {"TURNOUT_CACHE_OUTAGE": str(OUTAGE)}


class Caller:
    """Calls without a pause.

    Attributes:
        path: of the trigger.
        answers: when each call began, and the status of its answer.
    """

    def __init__(self, url: str, path: str, key: Key) -> None:
        self.path = path
        self._url = url + path
        self._key = key
        self.answers: list[tuple[float, int]] = []

    @property
    def last(self) -> int:
        """The status of the last answer."""
        return self.answers[-1][1] if self.answers else 0

    @property
    def statuses(self) -> Counter[int]:
        """How many answers had which status."""
        return Counter(status for _, status in self.answers)

    async def run(self) -> None:
        """Call until cancelled."""
        async with aiohttp.ClientSession(headers=self._key.header) as session:
            while True:
                began = time.monotonic()
                async with session.post(self._url) as response:
                    self.answers.append((began, response.status))


@pytest.fixture
async def caller(system: System, key: Key, trigger: Trigger) -> AsyncIterator[Caller]:
    """Somebody who calls a trigger all the time, with a good key."""
    caller = Caller(system.ingress.url, trigger.path, key)
    tasks = [asyncio.create_task(caller.run()) for _ in range(4)]
    await eventually(lambda: caller.last == 202, PATIENCE, "a call is accepted")
    yield caller
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_flushed_cache_never_makes_a_good_key_a_bad_one(
    caller: Caller, redis_url: str
) -> None:
    with redis.Redis.from_url(redis_url) as cache:
        for _ in range(5):
            before = len(caller.answers)
            cache.flushdb()

            def accepted_again(before: int = before) -> bool:
                return len(caller.answers) > before + 4 and caller.last == 202

            await eventually(accepted_again, 5, "calls are accepted again")
    assert set(caller.statuses) <= {202, 503}


async def test_no_sender_notices_a_router_that_starts_and_compares_broker_and_cache(
    system: System, caller: Caller
) -> None:
    unseen = [await system.make_key("shop", f"not presented yet {each}") for each in range(20)]
    system.router.command.kill()
    compared = asyncio.create_task(system.router.start())
    while not compared.done() and unseen:
        # Ingress has to ask the cache for each of them.
        assert (await system.call(caller.path, unseen.pop())).status == 202
        await asyncio.wait([compared], timeout=0.1)
    await compared
    assert set(caller.statuses) == {202}


async def test_without_the_router_a_flushed_cache_is_a_503_and_not_a_401(
    system: System, caller: Caller, redis_url: str
) -> None:
    nobody = Key("", keys.new_key().text)
    system.router.command.pause()
    try:
        with redis.Redis.from_url(redis_url) as cache:
            cache.flushdb()
        await eventually(lambda: caller.last == 503, 5, "calls are refused")
        unknown = await system.call(caller.path, nobody)
        ready = await system.ingress.get("/readyz")
    finally:
        system.router.command.resume()
    assert (unknown.status, unknown.json["code"]) == (503, "authentication_unavailable")
    assert int(unknown.headers["Retry-After"]) > 0
    assert (ready.status, list(ready.json)) == (503, ["status", "cache"])
    await eventually(lambda: caller.last == 202, PATIENCE, "calls are accepted again")
    assert (await system.call(caller.path, nobody)).status == 401
    assert set(caller.statuses) <= {202, 503}


async def test_without_the_cache_known_keys_work_for_a_while_and_unknown_ones_are_a_503(
    system: System, caller: Caller, cache_node: Redis
) -> None:
    nobody = Key("", keys.new_key().text)
    stopped = time.monotonic()
    await asyncio.to_thread(cache_node.stop)

    unknown = await system.call(caller.path, nobody)
    assert (unknown.status, unknown.json["code"]) == (503, "authentication_unavailable")
    assert int(unknown.headers["Retry-After"]) > 0
    ready = await system.ingress.get("/readyz")
    assert (ready.status, list(ready.json)) == (503, ["status", "cache"])
    assert (await system.ingress.get("/healthz")).status == 200

    await eventually(lambda: caller.last == 503, PATIENCE, "known keys work no longer")
    ended = next(began for began, status in caller.answers if status == 503)
    # The ingress counts from the last sign of life, which comes twice a second.
    assert OUTAGE - 1 < ended - stopped < OUTAGE + 4

    cache_node.start()
    await asyncio.to_thread(cache_node.wait_ready)
    await eventually(lambda: caller.last == 202, PATIENCE, "calls are accepted again")
    assert (await system.call(caller.path, nobody)).status == 401
    assert set(caller.statuses) <= {202, 503}


async def test_a_cache_that_is_rolled_back_is_filled_again(
    system: System, trigger: Trigger, redis_url: str
) -> None:
    """As by a restored backup, or by a failover to a replica that lagged behind."""
    with redis.Redis.from_url(redis_url) as cache:
        entries = {name: cache.get(name) for name in cache.keys("turnout:auth:*")}
        key = await system.make_key("shop", "made after the backup")
        record = names.auth_key(keys.digest(key.text))
        await eventually(lambda: cache.exists(record), PATIENCE, "the new key is in the cache")
        with cache.pipeline() as transaction:
            transaction.flushdb()
            transaction.mset(entries)
            transaction.execute()

    async def accepted() -> bool:
        return (await system.call(trigger.path, key)).status == 202

    await eventually(accepted, PATIENCE, "the new key is known")
