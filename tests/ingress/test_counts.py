"""Counts in the cache: exact, whatever becomes of a connection."""

import asyncio
import contextlib
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pytest
from redis.asyncio import Redis
from tests.ingress.conftest import Calls
from tests.support.proxy import Proxy
from tests.support.waiting import eventually

from turnout.ingress import counts as module
from turnout.ingress.counts import Counts
from turnout.shared import names
from turnout.shared.batch import Batch

UNITS: tuple[Literal["minute", "hour", "day"], ...] = ("minute", "hour", "day")

pytestmark = pytest.mark.usefixtures("redis")


@pytest.fixture
def counts(batch: Batch) -> Counts:
    return Counts(batch, "process-1")


async def added(redis: Redis, pattern: str) -> dict[str, int]:
    """Add up the counts of all periods of a kind: the clock may strike during a test."""
    total: Counter[str] = Counter()
    async for name in redis.scan_iter(pattern):
        found: Any = await redis.hgetall(name)
        for field, count in found.items():
            total[field.decode()] += int(count)
    return dict(total)


async def accepted(redis: Redis, unit: str = "day") -> dict[str, int]:
    return await added(redis, f"turnout:usage:{unit}:*")


async def refused(redis: Redis) -> dict[str, int]:
    return await added(redis, "turnout:refused:day:*")


@pytest.mark.parametrize("unit", UNITS)
async def test_calls_are_counted_by_trigger_and_key_for_each_period(
    counts: Counts, redis: Redis, unit: Literal["minute", "hour", "day"]
) -> None:
    before = datetime.now(UTC)
    for _ in range(3):
        counts.accepted("trg_1", "key_1")
    counts.accepted("trg_1", "key_2")
    await counts.write()
    counts.accepted("trg_1", "key_1")
    await counts.write()
    await counts.write()
    assert await accepted(redis, unit) == {"trg_1 key_1": 4, "trg_1 key_2": 1}

    periods = {names.usage(moment, unit) for moment in (before, datetime.now(UTC))}
    found = {name.decode() async for name in redis.scan_iter(f"turnout:usage:{unit}:*")}
    assert found <= periods
    for name in found:
        kept = timedelta(seconds=await redis.ttl(name))
        least = {"minute": timedelta(hours=1), "hour": timedelta(days=2), "day": timedelta(days=31)}
        assert least[unit] < kept <= 2 * least[unit]


async def test_refused_calls_are_counted_by_code_and_an_unknown_id_is_a_dash(
    counts: Counts, redis: Redis
) -> None:
    counts.refused("", "", "invalid_api_key")
    counts.refused("", "", "invalid_api_key")
    counts.refused("trg_1", "key_1", "rate_limited")
    counts.refused("", "key_1", "trigger_not_found")
    await counts.write()
    assert await refused(redis) == {
        "- - invalid_api_key": 2,
        "trg_1 key_1 rate_limited": 1,
        "- key_1 trigger_not_found": 1,
    }
    assert await accepted(redis) == {}


async def test_it_is_noted_when_a_key_and_a_trigger_were_last_used(
    counts: Counts, redis: Redis
) -> None:
    before = int(datetime.now(UTC).timestamp())
    counts.accepted("trg_1", "key_1")
    counts.refused("trg_2", "key_2", "rate_limited")
    await counts.write()
    used = {name: int(at) for name, at in (await redis.hgetall(names.LAST_USED)).items()}
    assert set(used) == {b"trg_1", b"key_1"}
    assert all(before <= at <= datetime.now(UTC).timestamp() for at in used.values())


async def test_processes_add_up(batch: Batch, redis: Redis) -> None:
    processes = [Counts(batch, f"process-{number}") for number in range(5)]
    for each in processes:
        each.accepted("trg_1", "key_1")
    await asyncio.gather(*(each.write() for each in processes))
    assert await accepted(redis) == {"trg_1 key_1": 5}


async def test_with_nothing_to_count_redis_is_left_alone(counts: Counts, calls: Calls) -> None:
    before = await calls("eval")
    await counts.write()
    assert await calls("eval") == before


async def test_many_triggers_are_counted_in_several_commands(
    counts: Counts, redis: Redis, calls: Calls
) -> None:
    before = await calls("eval")
    for number in range(2500):
        for _ in range(number % 3 + 1):
            counts.accepted(f"trg_{number}", "key_1")
    await counts.write()
    for unit in UNITS:
        found = await accepted(redis, unit)
        assert found == {f"trg_{number} key_1": number % 3 + 1 for number in range(2500)}
    assert await calls("eval") - before == 8  # 7500 counts, at most 1000 in each


async def test_counts_are_written_by_themselves(
    counts: Counts, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_INTERVAL", 0.05)
    task = asyncio.create_task(counts.run())
    counts.accepted("trg_1", "key_1")

    async def written() -> bool:
        return await accepted(redis) == {"trg_1 key_1": 1}

    await eventually(written)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


# -- trouble


async def write_until_done(counts: Counts) -> None:
    async def done() -> bool:
        await counts.write()
        return not (counts._sent or counts._unwritten or counts._last)

    await eventually(done, what="everything is written")


async def test_what_is_counted_while_redis_is_down_is_added_later(
    proxy: Proxy, far_batch: Batch, redis: Redis
) -> None:
    counts = Counts(far_batch, "process-1")
    counts.accepted("trg_1", "key_1")
    await counts.write()
    proxy.down()
    for _ in range(5):
        counts.accepted("trg_1", "key_1")
        counts.accepted("trg_2", "key_2")
        counts.refused("", "", "authentication_unavailable")
        await counts.write()
    await proxy.up()
    counts.accepted("trg_1", "key_1")
    await write_until_done(counts)
    for unit in UNITS:
        assert await accepted(redis, unit) == {"trg_1 key_1": 7, "trg_2 key_2": 5}
    assert await refused(redis) == {"- - authentication_unavailable": 5}
    assert set(await redis.hgetall(names.LAST_USED)) == {b"trg_1", b"key_1", b"trg_2", b"key_2"}


async def test_a_long_outage_takes_no_more_memory_than_a_short_one(
    proxy: Proxy, far_batch: Batch
) -> None:
    counts = Counts(far_batch, "process-1")
    proxy.down()
    now = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)
    for second in range(59):
        counts.accepted("trg_1", "key_1")
        counts._collect(now + timedelta(seconds=second))
    assert len(counts._unwritten) == 3
    await counts.write()


@pytest.mark.parametrize("through", [False, True], ids=["not-added", "added"])
async def test_counts_are_added_once_when_it_is_not_known_whether_they_were(
    proxy: Proxy, far_batch: Batch, redis: Redis, calls: Calls, through: bool
) -> None:
    await far_batch.execute("PING")
    counts = Counts(far_batch, "process-1")
    for number in range(10):
        counts.accepted("trg_1", "key_1")
        counts.refused("trg_1", "key_1", "rate_limited")
        before = await calls("eval")
        if through:
            proxy.lose_a_reply()
        else:
            proxy.down()
        await counts.write()
        assert counts._sent, "it is not known whether they were added"
        assert await calls("eval") - before == through
        if not through:
            await proxy.up()
        counts.accepted("trg_1", "key_1")
        far_batch._rest_until = 0.0  # the pause after a failure is tested elsewhere
        await write_until_done(counts)
        assert await accepted(redis) == {"trg_1 key_1": 2 * number + 2}
        assert await refused(redis) == {"trg_1 key_1 rate_limited": number + 1}


async def test_a_writing_that_is_cancelled_is_done_by_the_last_one(
    proxy: Proxy, far_batch: Batch, redis: Redis
) -> None:
    await far_batch.execute("PING")
    counts = Counts(far_batch, "process-1")
    counts.accepted("trg_1", "key_1")
    proxy.freeze()
    task = asyncio.create_task(counts.write())
    await eventually(lambda: counts._sent)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    proxy.thaw()
    counts.accepted("trg_1", "key_1")
    await write_until_done(counts)
    assert await accepted(redis) == {"trg_1 key_1": 2}


async def test_an_emptied_cache_counts_on(counts: Counts, redis: Redis) -> None:
    counts.accepted("trg_1", "key_1")
    await counts.write()
    await redis.flushdb()
    counts.accepted("trg_1", "key_1")
    await counts.write()
    assert await accepted(redis) == {"trg_1 key_1": 1}


async def test_what_redis_cannot_add_does_not_keep_the_rest_from_being_counted(
    counts: Counts, redis: Redis
) -> None:
    await redis.set(names.refused(datetime.now(UTC)), "no hash")
    counts.accepted("trg_1", "key_1")
    counts.refused("", "", "not_found")
    await counts.write()
    await counts.write()
    counts.accepted("trg_2", "key_2")
    counts._batch._rest_until = 0.0
    await counts.write()
    assert await accepted(redis) == {"trg_1 key_1": 1, "trg_2 key_2": 1}
