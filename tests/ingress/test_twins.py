"""A call that comes again: it is answered as the first one, or told to wait for that one."""

import asyncio
import time

import pytest
from tests.ingress.conftest import Troubled
from tests.ingress.serving import PATIENCE, QUEUE, Answer
from tests.support.topology import ready_messages
from tests.support.waiting import eventually

from turnout.shared import cache, names

#: Seconds until a call without a confirmation is answered.
DEADLINE = 1.0

#: Seconds after which it is no longer waited for; see `turnout.ingress.service`.
LEASE = 2 * DEADLINE + 5


@pytest.fixture
def troubled_settings() -> dict[str, str]:
    return {"TURNOUT_PUBLISH_DEADLINE": str(DEADLINE)}


async def call(troubled: Troubled, header: str) -> Answer:
    data = troubled.served.call(b"Connection: close", header.encode(), body=b"{}")
    (answer,) = (await troubled.talk(data)).answers
    return answer


async def queued(troubled: Troubled) -> dict[str, str | None]:
    """Return the hash of the idempotency key of each event in the queue."""
    count = await ready_messages(troubled.served.amqp_url, QUEUE)
    events = await asyncio.to_thread(troubled.served.events, count)
    return {each.event_id: each.idempotency for each in events}


@pytest.mark.parametrize("header", ["Idempotency-Key", "webhook-id"])
async def test_who_calls_again_is_answered_with_the_first_event(
    troubled: Troubled, header: str
) -> None:
    first = await call(troubled, f"{header}: again by {header}")
    again = await call(troubled, f"{header}: again by {header}")
    other = await call(troubled, f"{header}: another by {header}")
    assert (first.status, again.status, other.status) == (202, 202, 202)
    assert first.event_id == again.event_id != other.event_id
    assert "idempotency-replayed" not in {*first.headers, *other.headers}
    assert again.headers["idempotency-replayed"] == "true"
    hashes = await queued(troubled)
    assert list(hashes.values()).count(hashes[first.event_id]) == 1
    assert hashes[first.event_id] != hashes[other.event_id]


async def test_a_twin_of_a_call_under_way_is_told_to_wait_and_then_answered_alike(
    troubled: Troubled, redis_url: str
) -> None:
    troubled.broker.hold_replies()
    async with cache.connect(redis_url, timeout=5.0) as client:
        before = await client.keys(names.idempotency("*"))
        first = asyncio.create_task(call(troubled, "Idempotency-Key: twins"))

        async def is_claimed() -> bool:
            return len(await client.keys(names.idempotency("*"))) > len(before)

        await eventually(is_claimed, PATIENCE, "the first call is under way")
    twin = await call(troubled, "Idempotency-Key: twins")
    troubled.broker.thaw()
    assert twin.told == (409, "idempotency_conflict")
    assert int(twin.headers["retry-after"]) > 0
    event_id = (await first).event_id
    again = await call(troubled, "Idempotency-Key: twins")
    assert (again.event_id, again.headers["idempotency-replayed"]) == (event_id, "true")
    hashes = await queued(troubled)
    assert list(hashes.values()).count(hashes[event_id]) == 1


async def test_a_call_whose_outcome_is_unknown_keeps_its_twins_away_until_it_is_given_up(
    troubled: Troubled,
) -> None:
    troubled.broker.hold_replies()
    began = time.monotonic()
    unknown = await call(troubled, "Idempotency-Key: unknown")
    assert unknown.told == (503, "outcome_unknown")
    troubled.broker.thaw()
    answers: list[Answer] = []

    async def accepted() -> bool:
        answers.append(await call(troubled, "Idempotency-Key: unknown"))
        return answers[-1].status == 202

    await eventually(accepted, LEASE + PATIENCE, "the call is taken again")
    assert time.monotonic() - began > LEASE - 1
    *before, last = answers
    assert {each.told for each in before} == {(409, "idempotency_conflict")}
    # The first may be there too: by this hash, the worker runs one of them.
    hashes = await queued(troubled)
    alike = {event_id for event_id, each in hashes.items() if each == hashes[last.event_id]}
    assert alike <= {unknown.json["event_id"], last.event_id}


async def test_without_the_cache_twins_are_accepted_with_what_a_worker_knows_them_by(
    troubled: Troubled,
) -> None:
    assert (await call(troubled, "X-Warm: up")).status == 202
    troubled.cache.down()
    twins = [await call(troubled, "Idempotency-Key: uncached") for _ in range(2)]
    assert [each.status for each in twins] == [202, 202]
    hashes = await queued(troubled)
    first, second = (hashes[each.event_id] for each in twins)
    assert first is not None
    assert first == second
