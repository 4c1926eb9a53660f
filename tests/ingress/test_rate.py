"""Rate limits, shared by what stands for several processes: several `Rates` on one cache."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis
from tests.ingress.conftest import Calls
from tests.support.proxy import Proxy
from tests.support.waiting import eventually

from turnout.ingress import rate
from turnout.ingress.rate import Rates
from turnout.shared import cache, names
from turnout.shared.batch import Batch

pytestmark = pytest.mark.usefixtures("redis")


@asynccontextmanager
async def running(rates: Rates) -> AsyncIterator[Rates]:
    """Let unused tokens be given back, for the length of a context."""
    task = asyncio.create_task(rates.run())
    try:
        yield rates
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def passed(rates: Rates, per_second: float, burst: int, *, seconds: float = 0.0) -> int:
    """Call as fast as it goes: until the first refusal, or for some time. Count what passes."""
    until = time.monotonic() + seconds
    count = 0
    while True:
        wait = await rates.take("key", "k", per_second, burst)
        if not wait:
            count += 1
        elif time.monotonic() >= until:
            return count
        else:
            await asyncio.sleep(0)


@pytest.mark.parametrize(("per_second", "burst"), [(40.0, 1), (30.0, 10), (400.0, 100)])
async def test_all_processes_together_never_let_more_pass_than_the_limit(
    redis_url: str, per_second: float, burst: int
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        processes = []
        for _ in range(3):
            client = await stack.enter_async_context(cache.connect(redis_url, timeout=5.0))
            processes.append(await stack.enter_async_context(running(Rates(Batch(client)))))
        began = time.monotonic()
        counts = await asyncio.gather(
            *(passed(each, per_second, burst, seconds=0.8) for each in processes)
        )
        elapsed = time.monotonic() - began
    assert sum(counts) <= burst + per_second * elapsed
    # What a process may hold back: a quarter each, or one.
    held = len(processes) * max(1, burst // 4)
    assert sum(counts) >= burst + per_second * 0.8 * 0.7 - held


async def test_a_thousand_calls_at_once_are_all_answered_at_once(batch: Batch) -> None:
    rates = Rates(batch)
    async with asyncio.timeout(10):
        waits = await asyncio.gather(*(rates.take("key", "k", 0.01, 100) for _ in range(1000)))
    assert waits.count(0.0) == 100
    assert all(0 < wait <= 100 for wait in waits if wait)


async def test_well_below_the_limit_hardly_a_call_asks_redis(batch: Batch, calls: Calls) -> None:
    rates = Rates(batch)
    before = await calls("eval")
    for _ in range(500):
        assert await rates.take("trigger", "t", 1000.0, 1000) == 0.0
        await asyncio.sleep(0)
    assert await calls("eval") - before <= 6


async def test_below_the_limit_no_call_waits_for_redis_once_there_are_tokens(
    proxy: Proxy, far_batch: Batch
) -> None:
    rates = Rates(far_batch)
    assert await rates.take("key", "k", 1000.0, 1000) == 0.0
    proxy.freeze()
    for _ in range(200):
        call = rates.take("key", "k", 1000.0, 1000)
        with pytest.raises(StopIteration) as end:
            call.send(None)
        assert end.value.value == 0.0


async def test_what_is_refused_is_refused_without_redis_until_there_is_another_token(
    batch: Batch, calls: Calls
) -> None:
    rates = Rates(batch)
    assert await rates.take("key", "k", 2.0, 1) == 0.0
    wait = await rates.take("key", "k", 2.0, 1)
    assert 0 < wait <= 0.5
    before = await calls("eval")
    began = time.monotonic()
    refused = 0
    while await rates.take("key", "k", 2.0, 1):
        refused += 1
        await asyncio.sleep(0)
    assert refused > 10
    assert time.monotonic() - began > wait / 2
    assert await calls("eval") - before <= 3


async def test_what_a_process_does_not_use_comes_back_to_the_others(
    batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate, "_IDLE", 0.1)
    monkeypatch.setattr(rate, "_AGAIN", 0.1)
    slow, busy = Rates(batch), Rates(batch)
    assert await slow.take("key", "k", 0.001, 40) == 0.0
    count = await passed(busy, 0.001, 40)
    assert 29 <= count < 39
    async with running(slow):

        async def all_of_them() -> bool:
            nonlocal count
            count += await passed(busy, 0.001, 40)
            return count == 39

        await eventually(all_of_them, what="the tokens of the slow one are used by the busy one")


async def test_keys_and_triggers_have_buckets_of_their_own(batch: Batch) -> None:
    rates = Rates(batch)
    assert await rates.take("key", "a", 0.01, 1) == 0.0
    assert await rates.take("key", "a", 0.01, 1) > 0
    assert await rates.take("key", "b", 0.01, 1) == 0.0
    assert await rates.take("trigger", "a", 0.01, 1) == 0.0


async def test_a_bucket_leaves_nothing_behind_once_it_would_be_full(
    batch: Batch, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate, "_IDLE", 0.05)
    rates = Rates(batch)
    assert await rates.take("key", "k", 100.0, 10) == 0.0
    assert 0 < await redis.pttl(names.rate("key", "k")) <= 1100
    async with running(rates):
        await eventually(lambda: not rates._buckets, what="the process has forgotten it")
    await eventually(lambda: _is_gone(redis), what="so has the cache")


async def _is_gone(redis: Redis) -> bool:
    return not await redis.exists(names.rate("key", "k"))


async def test_a_limit_that_is_raised_counts_soon_also_for_who_is_refused(
    batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate, "_AGAIN", 0.1)
    rates = Rates(batch)
    assert await rates.take("key", "k", 0.001, 1) == 0.0
    assert await rates.take("key", "k", 0.001, 1) > 100

    async def passes() -> bool:
        return not await rates.take("key", "k", 1000.0, 1000)

    await eventually(passes, what="the new limit holds")


async def test_a_limit_that_is_lowered_counts_as_soon_as_the_tokens_at_hand_are_used(
    batch: Batch,
) -> None:
    rates = Rates(batch)
    assert await rates.take("key", "k", 1.0, 1000) == 0.0
    began = time.monotonic()
    count = await passed(rates, 0.1, 4, seconds=0.3)
    assert count <= 249 + 4 + 0.1 * (time.monotonic() - began)


# -- trouble


async def test_who_is_cancelled_while_waiting_does_not_disturb_the_others(
    proxy: Proxy, far_batch: Batch
) -> None:
    await far_batch.execute("PING")
    rates = Rates(far_batch)
    proxy.freeze()
    waiting = [asyncio.create_task(rates.take("key", "k", 1.0, 40)) for _ in range(9)]
    await asyncio.sleep(0)
    for each in waiting[::2]:
        each.cancel()
    await asyncio.wait(waiting[::2])
    proxy.thaw()
    assert await asyncio.gather(*waiting[1::2]) == [0.0] * 4
    assert all(each.cancelled() for each in waiting[::2])
    assert await rates.take("key", "k", 1.0, 40) == 0.0


async def test_without_redis_each_process_holds_to_the_limit_by_itself(
    proxy: Proxy, far_batch: Batch
) -> None:
    proxy.down()
    for rates in (Rates(far_batch), Rates(far_batch)):
        began = time.monotonic()
        count = await passed(rates, 50.0, 20, seconds=0.5)
        elapsed = time.monotonic() - began
        assert 20 + 50 * 0.5 * 0.7 <= count <= 20 + 50 * elapsed


async def test_without_redis_a_pause_is_no_way_around_the_limit(
    proxy: Proxy, far_batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate, "_IDLE", 0.05)
    proxy.down()
    async with running(Rates(far_batch)) as rates:
        began = time.monotonic()
        count = 0
        for _ in range(4):
            count += await passed(rates, 2.0, 10)
            await asyncio.sleep(0.2)  # the pause
        elapsed = time.monotonic() - began
    assert 10 <= count <= 10 + 2.0 * elapsed


async def test_without_redis_a_pause_does_not_cost_tokens_either(
    proxy: Proxy, far_batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate, "_IDLE", 0.05)
    proxy.down()
    async with running(Rates(far_batch)) as rates:
        assert await rates.take("key", "k", 0.01, 10) == 0.0
        await asyncio.sleep(0.3)  # the pause
        assert await passed(rates, 0.01, 10) == 9


async def test_when_redis_is_back_the_limit_is_shared_again(
    proxy: Proxy, far_batch: Batch, redis: Redis
) -> None:
    proxy.down()
    rates = Rates(far_batch)
    assert await passed(rates, 5.0, 5) >= 5
    await proxy.up()

    async def is_shared() -> bool:
        await rates.take("key", "k", 5.0, 5)
        return bool(await redis.exists(names.rate("key", "k")))

    await eventually(is_shared, what="the bucket is in the cache")


async def test_a_reply_that_is_lost_costs_tokens_and_never_makes_any(
    proxy: Proxy, far_batch: Batch, redis: Redis
) -> None:
    rates = Rates(far_batch)
    assert await rates.take("key", "k", 0.01, 100) == 0.0
    count = 1
    proxy.lose_a_reply()
    count += await passed(rates, 0.01, 100)
    assert count <= 101
    level = await redis.hget(names.rate("key", "k"), "level")
    assert level is not None
    assert float(level) + count <= 101
