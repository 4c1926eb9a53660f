"""Records that are remembered in the process, and kept right by Redis' own invalidation."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis
from tests.ingress.conftest import Calls
from tests.support.proxy import Proxy
from tests.support.waiting import eventually

from turnout.ingress import lookup as module
from turnout.ingress.lookup import Lookup
from turnout.shared import names
from turnout.shared.batch import Batch, Unavailable
from turnout.shared.records import KeyRecord, TriggerRecord

KEY = KeyRecord("key_1", "grp_1")
TRIGGER = TriggerRecord("trg_1", "flw_1", "grp_1", "shop", "seen")


@asynccontextmanager
async def tracking(lookup: Lookup) -> AsyncIterator[Lookup]:
    """Let a look-up follow the changes, for the length of a context."""
    task = asyncio.create_task(lookup.run())
    try:
        await eventually(lambda: lookup._tracking.active, what="changes are followed")
        yield lookup
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def lookup(batch: Batch, redis: Redis, redis_url: str) -> AsyncIterator[Lookup]:
    """A look-up in a filled cache."""
    await fill(redis)
    async with tracking(Lookup(batch, redis_url, outage=60.0)) as lookup:
        yield lookup


@pytest.fixture
async def far_lookup(far_batch: Batch, redis: Redis, proxy: Proxy) -> AsyncIterator[Lookup]:
    """A look-up in a filled cache behind a proxy, which does without it for one second."""
    await fill(redis)
    async with tracking(Lookup(far_batch, proxy.url, outage=1.0)) as lookup:
        yield lookup


async def fill(redis: Redis) -> None:
    await redis.set(names.auth_key("good"), KEY.encode())
    await redis.set(names.auth_trigger("route"), TRIGGER.encode())
    await redis.set(names.AUTH_EPOCH, 1)


async def find(lookup: Lookup, digest: str = "good") -> KeyRecord | None:
    return await lookup.key(digest, time.time())


async def is_unavailable(answer: Awaitable[Any]) -> bool:
    try:
        await answer
    except Unavailable:
        return True
    return False


async def round_trips(redis: Redis) -> int:
    """Tell how often Redis has read from any connection so far."""
    return int((await redis.info("stats"))["total_reads_processed"])


async def remembered(lookup: Lookup, redis: Redis, *digests: str) -> None:
    """Add keys, and have the look-up remember them: what it hears of their making comes late."""
    await redis.mset({names.auth_key(digest): KEY.encode() for digest in digests})

    async def all_are() -> bool:
        await asyncio.gather(*(find(lookup, digest) for digest in digests))
        return all(names.auth_key(digest) in lookup._known for digest in digests)

    await eventually(all_are, what="all keys are remembered")


# -- round trips


async def test_records_are_found_by_hash_and_by_routing_key(lookup: Lookup) -> None:
    assert await find(lookup) == KEY
    assert await lookup.trigger("route", 0.0) == TRIGGER
    assert await find(lookup, "route") is None
    assert await lookup.trigger("good", 0.0) is None


async def test_a_warm_call_makes_no_round_trip(lookup: Lookup, calls: Calls) -> None:
    await find(lookup)
    await lookup.trigger("route", 0.0)
    before = await calls("mget")
    for _ in range(1000):
        # Nothing is waited for at all: it ends at the first step.
        for call in (lookup.key("good", 0.0), lookup.trigger("route", 0.0)):
            with pytest.raises(StopIteration):
                call.send(None)
    assert await calls("mget") == before


@pytest.mark.parametrize(("digest", "record"), [("good", KEY), ("unknown", None)])
async def test_a_hundred_at_once_ask_once(
    lookup: Lookup, calls: Calls, digest: str, record: KeyRecord | None
) -> None:
    before = await calls("mget")
    assert await asyncio.gather(*(find(lookup, digest) for _ in range(100))) == [record] * 100
    assert await calls("mget") - before == 1


async def test_a_name_that_nobody_has_is_asked_for_once_in_a_while(
    lookup: Lookup, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ABSENT_SECONDS", 0.2)
    before = await calls("mget")
    for _ in range(10):
        assert await find(lookup, "unknown") is None
    assert await calls("mget") - before == 1

    async def asked_again() -> bool:
        await find(lookup, "unknown")
        return await calls("mget") - before == 2

    await eventually(asked_again)


async def test_a_record_is_asked_for_again_after_its_time_even_if_nothing_was_said(
    lookup: Lookup, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_RECORD_SECONDS", 0.1)
    await find(lookup)
    before = await calls("mget")

    async def asked_again() -> bool:
        assert await find(lookup) == KEY
        return await calls("mget") > before

    await eventually(asked_again)


async def test_a_flood_of_invented_keys_displaces_no_good_one(
    lookup: Lookup, redis: Redis, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_RECORDS", 200)
    monkeypatch.setattr(module, "_MOST_ABSENT", 200)
    good = [f"good{number}" for number in range(100)]
    await remembered(lookup, redis, *good)
    await lookup.trigger("route", 0.0)
    before, reads = await calls("mget"), await round_trips(redis)
    flood = 3 * module._MOST_ABSENT
    for begin in range(0, flood, 100):
        invented = (f"invented{begin + number}" for number in range(100))
        assert await asyncio.gather(*(find(lookup, each) for each in invented)) == [None] * 100
    assert await calls("mget") - before == flood
    assert len(lookup._absent) <= module._MOST_ABSENT
    assert await round_trips(redis) - reads < flood / 10, "they share round trips"

    before = await calls("mget")
    assert await asyncio.gather(*(find(lookup, digest) for digest in good)) == [KEY] * 100
    assert await lookup.trigger("route", 0.0) == TRIGGER
    assert await calls("mget") == before


async def test_records_are_bounded_too_and_the_oldest_goes_first(
    lookup: Lookup, redis: Redis, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_RECORDS", 10)
    await remembered(lookup, redis, *(f"good{number}" for number in range(10)))
    await remembered(lookup, redis, "good10")
    assert len(lookup._known) == 10
    before = await calls("mget")
    assert await find(lookup, "good9") == KEY
    assert await calls("mget") == before
    assert await find(lookup, "good0") == KEY
    assert await calls("mget") == before + 1


# -- changes


async def test_a_revoked_key_stops_working_in_every_process(
    lookup: Lookup, batch: Batch, redis: Redis, redis_url: str
) -> None:
    async with tracking(Lookup(batch, redis_url, outage=60.0)) as other:
        assert (await find(lookup), await find(other)) == (KEY, KEY)
        await redis.delete(names.auth_key("good"))

        async def revoked() -> bool:
            return (await find(lookup), await find(other)) == (None, None)

        await eventually(revoked)


async def test_a_new_key_works_although_it_was_unknown_a_moment_ago(
    lookup: Lookup, redis: Redis
) -> None:
    assert await find(lookup, "new") is None
    await redis.set(names.auth_key("new"), KEY.encode())

    async def works() -> bool:
        return await find(lookup, "new") == KEY

    await eventually(works, 2.5)  # well before the process would ask by itself


async def test_a_changed_trigger_is_seen(lookup: Lookup, redis: Redis) -> None:
    assert await lookup.trigger("route", 0.0) == TRIGGER
    disabled = TRIGGER._replace(enabled=False)
    await redis.set(names.auth_trigger("route"), disabled.encode())

    async def seen() -> bool:
        return await lookup.trigger("route", 0.0) == disabled

    await eventually(seen)


async def test_an_expired_key_is_as_good_as_none(lookup: Lookup, redis: Redis) -> None:
    now = time.time()
    await redis.set(names.auth_key("summer"), KEY._replace(expires_at=now + 60).encode())
    assert await lookup.key("summer", now) is not None
    assert await lookup.key("summer", now + 60) is None
    assert await lookup.key("summer", now + 61) is None


@pytest.mark.parametrize("change", ["changed", "deleted", "flushed"])
async def test_an_answer_that_was_under_way_while_its_record_changed_is_not_remembered(
    far_batch: Batch, proxy: Proxy, redis: Redis, redis_url: str, change: str
) -> None:
    await fill(redis)
    new = KEY._replace(group_id="grp_2")
    # The changes do not come through the proxy: they overtake the answer.
    async with tracking(Lookup(far_batch, redis_url, outage=60.0)) as lookup:
        await far_batch.execute("PING")
        proxy.hold_replies()
        overtaken = asyncio.create_task(find(lookup))
        await eventually(lambda: proxy.held, what="Redis has answered")
        question = lookup._asked[names.auth_key("good")]
        match change:
            case "changed":
                await redis.set(names.auth_key("good"), new.encode())
            case "deleted":
                await redis.delete(names.auth_key("good"))
            case "flushed":
                await redis.flushdb()
                await redis.set(names.AUTH_EPOCH, 2)
        await eventually(lambda: question.changed)
        later = asyncio.create_task(find(lookup))  # asks for itself
        await asyncio.sleep(0)
        proxy.thaw()

        assert await overtaken == KEY
        expected = new if change == "changed" else None
        assert await later == expected
        assert await find(lookup) == expected


# -- trouble


async def kill_tracking(redis: Redis, redis_url: str) -> None:
    """Have Redis close the connection on which it tells the changes."""
    database = redis_url.rpartition("/")[2]
    clients: Any = await redis.client_list()
    (identifier,) = (
        each["id"] for each in clients if "B" in each["flags"] and each["db"] == database
    )
    await redis.client_kill_filter(_id=identifier)


async def test_when_changes_may_have_been_missed_everything_is_forgotten(
    lookup: Lookup, redis: Redis, redis_url: str
) -> None:
    assert await find(lookup) == KEY
    assert await find(lookup, "unknown") is None
    await kill_tracking(redis, redis_url)
    await eventually(lambda: not lookup._tracking.active)
    await redis.delete(names.auth_key("good"))
    await redis.set(names.auth_key("unknown"), KEY.encode())
    # At once, and when changes are followed again.
    assert (await find(lookup), await find(lookup, "unknown")) == (None, KEY)
    await eventually(lambda: lookup._tracking.active)
    assert (await find(lookup), await find(lookup, "unknown")) == (None, KEY)


async def test_a_change_in_the_gap_is_seen_by_who_asks_only_afterwards(
    lookup: Lookup, redis: Redis, redis_url: str
) -> None:
    assert await find(lookup) == KEY
    await kill_tracking(redis, redis_url)
    await eventually(lambda: not lookup._tracking.active)
    await redis.delete(names.auth_key("good"))
    await eventually(lambda: lookup._tracking.active)
    assert await find(lookup) is None


async def test_without_the_epoch_nothing_is_said_of_a_name_that_is_not_there(
    lookup: Lookup, redis: Redis
) -> None:
    assert await find(lookup, "unknown") is None
    assert await lookup.trouble() is None
    await redis.delete(names.AUTH_EPOCH)
    assert await is_unavailable(find(lookup, "another"))
    assert await is_unavailable(find(lookup, "another")), "it was not remembered"
    assert await find(lookup) == KEY  # it is there, whether or not all others are
    assert "router" in str(await lookup.trouble())


async def test_a_flushed_cache_makes_no_key_a_bad_one(lookup: Lookup, redis: Redis) -> None:
    assert await find(lookup) == KEY
    await redis.flushdb()

    async def is_unknown() -> bool:
        return await is_unavailable(find(lookup))

    await eventually(is_unknown)
    await fill(redis)
    assert await find(lookup) == KEY


@pytest.mark.parametrize("trouble", ["down", "silent"])
async def test_without_redis_what_is_known_works_for_a_while_and_nothing_else(
    far_lookup: Lookup, proxy: Proxy, trouble: str
) -> None:
    assert await find(far_lookup) == KEY
    assert await find(far_lookup, "absent") is None
    began = time.monotonic()
    if trouble == "down":
        proxy.down()
    else:
        proxy.freeze()
    assert await find(far_lookup) == KEY
    with pytest.raises(Unavailable):
        await find(far_lookup, "unknown")
    assert await find(far_lookup) == KEY
    assert await find(far_lookup) == KEY
    assert time.monotonic() - began < 1.0, "this machine is too slow for this test"

    async def is_over() -> bool:
        return await is_unavailable(find(far_lookup))

    await eventually(is_over)
    assert time.monotonic() - began > 0.9
    assert await far_lookup.trouble() is not None

    if trouble == "down":
        await proxy.up()
    else:
        proxy.thaw()

    async def is_back() -> bool:
        return not await is_unavailable(find(far_lookup))

    await eventually(is_back)
    assert await find(far_lookup, "absent") is None


async def test_a_record_that_cannot_be_read_is_no_reason_to_refuse_a_key(
    lookup: Lookup, redis: Redis
) -> None:
    await redis.set(names.auth_key("good"), b"rubbish")
    with pytest.raises(Unavailable):
        await find(lookup)
    await redis.set(names.auth_key("good"), KEY.encode())
    assert await find(lookup) == KEY


async def test_who_is_cancelled_while_asking_does_not_disturb_the_others(
    far_lookup: Lookup, proxy: Proxy
) -> None:
    proxy.hold_replies()
    asking = [asyncio.create_task(find(far_lookup)) for _ in range(9)]
    await asyncio.sleep(0)
    for each in asking[::2]:
        each.cancel()
    await asyncio.wait(asking[::2])
    proxy.thaw()
    assert await asyncio.gather(*asking[1::2]) == [KEY] * 4
