"""Who still calls with what was replaced."""

from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request
from redis.asyncio import Redis

from turnout.ingress import overlap as module
from turnout.ingress.call import Call
from turnout.ingress.counts import Counts
from turnout.ingress.overlap import Overlaps
from turnout.shared import names
from turnout.shared.batch import Batch
from turnout.shared.records import KeyRecord, TriggerRecord

OLD_KEY = KeyRecord("key_1", "grp_1", old_since=1000.5)
OLD_TRIGGER = TriggerRecord("trg_1", "flw_1", "grp_1", "shop", "seen", old_since=2000.0)


def call(remote: str = "203.0.113.7", agent: str | None = None) -> Call:
    headers = {} if agent is None else {"User-Agent": agent}
    request = make_mocked_request("POST", "/t/route", headers=headers)
    return Call.of(request.clone(remote=remote))


@pytest.fixture
def counts(batch: Batch, redis: Redis) -> Counts:
    return Counts(batch, "process-1")


async def counted(redis: Redis, identifier: str, since: float) -> dict[str, int]:
    found: Any = await redis.hgetall(names.overlap(identifier, since))
    return {who.decode(): int(calls) for who, calls in found.items()}


@pytest.mark.parametrize(
    ("remote", "agent", "who"),
    [
        ("203.0.113.7", "python-requests/2.32 (x y)", "203.0.113.0/24 python-requests/2.32"),
        ("2001:db8:1:2::7", None, "2001:db8:1::/48 -"),
        ("", " \t", "- -"),
        ("203.0.113.7", "a" * 200, f"203.0.113.0/24 {'a' * 40}"),
    ],
)
async def test_a_caller_is_known_by_network_and_product(
    counts: Counts, redis: Redis, remote: str, agent: str | None, who: str
) -> None:
    Overlaps(counts).note(call(remote, agent), OLD_KEY, OLD_TRIGGER._replace(old_since=None))
    await counts.write()
    assert await counted(redis, "key_1", 1000.5) == {f"trg_1 {who}": 1}


async def test_the_old_of_a_key_and_of_a_trigger_are_counted_apart(
    counts: Counts, redis: Redis
) -> None:
    overlaps = Overlaps(counts)
    for _ in range(3):
        overlaps.note(call(), OLD_KEY, OLD_TRIGGER)
    await counts.write()
    for identifier, since in (("key_1", 1000.5), ("trg_1", 2000.0)):
        assert await counted(redis, identifier, since) == {"trg_1 203.0.113.0/24 -": 3}
        last: Any = await redis.hgetall(names.overlap_last(identifier, since))
        assert last.keys() == {b"trg_1 203.0.113.0/24 -"}
        for name in (names.overlap(identifier, since), names.overlap_last(identifier, since)):
            assert await redis.ttl(name) > 30 * 86400


async def test_callers_who_invent_names_take_no_more_room(counts: Counts, redis: Redis) -> None:
    overlaps = Overlaps(counts)
    for number in range(module._MOST + 10):
        overlaps.note(call(agent=f"a/{number}"), OLD_KEY, OLD_TRIGGER)
    await counts.write()
    found = await counted(redis, "key_1", 1000.5)
    assert len(found) == module._MOST + 1
    assert found["trg_1 * *"] == 10


async def test_rotations_of_which_nobody_comes_any_more_take_no_room(
    counts: Counts, redis: Redis
) -> None:
    overlaps, trigger = Overlaps(counts), OLD_TRIGGER._replace(old_since=None)
    for number in range(module._MOST):
        overlaps.note(call(agent=f"a/{number}"), OLD_KEY, trigger)
    for number in range(module._MOST_ROTATIONS):
        overlaps.note(call(), OLD_KEY._replace(old_since=2000.0 + number), trigger)
    overlaps.note(call(agent="b/1"), OLD_KEY, trigger)
    await counts.write()
    assert (await counted(redis, "key_1", 1000.5))["trg_1 203.0.113.0/24 b/1"] == 1
