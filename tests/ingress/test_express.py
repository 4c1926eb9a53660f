"""Calls on a connection that is kept: they may go the express way, and nobody can tell."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis
from tests.ingress.conftest import Troubled
from tests.ingress.serving import PATIENCE, QUEUE, Sender, Served, connected
from tests.support.topology import ready_messages
from tests.support.waiting import eventually

from turnout.shared import names
from turnout.shared.envelope import Envelope

#: Seconds until a call without a confirmation is answered.
DEADLINE = 5.0

#: Bytes that a body may have.
MAX_BODY = 400_000


@pytest.fixture
def troubled_settings() -> dict[str, str]:
    return {
        "TURNOUT_PUBLISH_DEADLINE": str(DEADLINE),
        "TURNOUT_MAX_BODY_BYTES": str(MAX_BODY),
    }


@asynccontextmanager
async def kept(served: Served, first: bytes | None = None) -> AsyncIterator[Sender]:
    """Open a connection on which a first call was accepted."""
    async with connected(served.port) as sender:
        assert (await sender.call(first or served.call(body=b"first"))).status == 202
        yield sender


async def queued(troubled: Troubled) -> dict[str, Envelope]:
    """Return all events in the queue by their ids, and leave them there."""
    count = await ready_messages(troubled.served.amqp_url, QUEUE)
    events = await asyncio.to_thread(troubled.served.events, count)
    return {each.event_id: each for each in events}


@pytest.mark.parametrize("body", [b"", b"{}", bytes(range(256)), b"x" * MAX_BODY])
async def test_events_are_the_same_as_of_calls_that_come_alone(
    troubled: Troubled, body: bytes
) -> None:
    served = troubled.served
    more = (b"Content-Type: text/\xe9", b"X-Two: 1", b"X-Two: 2", b"authorization: Digest x")
    call = served.call(*more, tail=b"/a%20b?api_key=1&q=%C3%A9", body=body)
    async with kept(served, call) as sender:
        answers = [await sender.call(call) for _ in range(3)]
    alone = (await troubled.talk(call.replace(b"Host", b"Connection: close\r\nHost"))).answers[0]
    events = await queued(troubled)
    expected = events[alone.event_id]
    for each in answers:
        event = events[each.event_id]
        assert event.run_id == each.event_id.replace("evt", "run")
        assert event.received_at <= expected.received_at
        assert event == expected._replace(
            event_id=event.event_id,
            run_id=event.run_id,
            received_at=event.received_at,
            headers=tuple(pair for pair in expected.headers if pair[0] != "Connection"),
        )
    archived, _ = await asyncio.to_thread(served.archived, set(events))
    assert {each.event_id: each for each in archived} == events


async def test_a_large_body_and_the_next_call_in_one_piece_are_answered_in_order(
    troubled: Troubled,
) -> None:
    served = troubled.served
    async with kept(served) as sender:
        sender.send(served.call(body=b"x" * 200_000) + served.call(body=b"next"))
        answers = [await sender.answer() for _ in range(2)]
    events = await queued(troubled)
    assert [len(events[each.event_id].body) for each in answers] == [200_000, 4]


async def test_each_call_has_its_own_idempotency_key_or_none(troubled: Troubled) -> None:
    served = troubled.served
    first = served.call(b"Idempotency-Key: first", body=b"{}")
    async with kept(served, first) as sender:
        plain = [await sender.call(served.call(body=b"{}")) for _ in range(2)]
        again = await sender.call(first)
        other = await sender.call(served.call(b"webhook-id: other", body=b"{}"))
    assert again.headers["idempotency-replayed"] == "true"
    events = await queued(troubled)
    hashes = [events[each.event_id].idempotency for each in (*plain, again, other)]
    assert hashes[:2] == [None, None]
    assert None not in hashes[2:]
    assert hashes[2] != hashes[3]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ((b"X-API-Key: tk_", b"X-API-Key: xx_"), (401, "invalid_api_key")),
        ((b"X-API-Key: ", b"X-Other-Key: "), (401, "invalid_api_key")),
        ((b"Host:", b"Authorization: Bearer other\r\nHost:"), (401, "invalid_api_key")),
        ((b"/t/", b"/t/x"), (404, "trigger_not_found")),
        ((b"POST ", b"PUT "), (405, "method_not_allowed")),
        ((b"/t/", b"/other/"), (404, "not_found")),
    ],
)
async def test_a_call_that_is_not_like_the_last_one_is_decided_anew(
    troubled: Troubled, change: tuple[bytes, bytes], told: tuple[int, str]
) -> None:
    call = troubled.served.call(body=b"{}")
    async with kept(troubled.served, call) as sender:
        assert (await sender.call(call.replace(*change))).told == told
        assert (await sender.call(call)).status == 202


async def test_a_body_that_is_too_large_is_refused(troubled: Troubled) -> None:
    async with kept(troubled.served) as sender:
        answer = await sender.call(troubled.served.call(body=b"x" * (MAX_BODY + 1)))
    assert answer.told == (413, "body_too_large")


async def test_a_key_that_is_gone_is_refused_on_the_connections_that_used_it(
    redis: Redis, troubled: Troubled
) -> None:
    call = troubled.served.call(body=b"{}")

    async def is_refused() -> bool:
        answer = await sender.call(call)
        return answer.told == (401, "invalid_api_key")

    async with kept(troubled.served, call) as sender:
        assert (await sender.call(call)).status == 202
        await redis.delete(names.auth_key(troubled.served.key.digest))
        await eventually(is_refused, PATIENCE, "the key is refused")


async def test_limits_of_keys_and_triggers_hold(troubled: Troubled) -> None:
    served = troubled.served
    paced = served.call(body=b"{}").replace(served.route.encode(), served.paced_route.encode())
    async with kept(served, paced) as sender:
        answers = [await sender.call(paced) for _ in range(2)]
    assert [each.told for each in answers] == [(202, "accepted"), (429, "rate_limited")]
    terse = served.call(body=b"{}").replace(served.route.encode(), served.terse_route.encode())
    async with kept(served, terse) as sender:
        answer = await sender.call(terse.replace(b"Host", b"X-Long: %b\r\nHost" % (b"x" * 1024)))
    assert answer.told == (431, "header_too_large")


async def test_a_call_that_waits_for_the_broker_counts_as_under_way(troubled: Troubled) -> None:
    served = troubled.served
    call = served.call(body=b"{}")
    narrow = call.replace(served.key.text.encode(), served.narrow_key.text.encode())
    async with kept(served, narrow) as sender, kept(served) as other:
        troubled.broker.hold_replies()
        sender.send(narrow)
        await eventually(lambda: troubled.broker.held, PATIENCE, "the broker has it")
        assert (await other.call(narrow)).told == (429, "too_many_in_flight")
        troubled.broker.thaw()
        assert (await sender.answer()).status == 202
        assert (await other.call(narrow)).status == 202


async def test_without_a_confirmation_the_outcome_is_unknown_and_later_calls_go_on(
    redis: Redis, troubled: Troubled
) -> None:
    served = troubled.served
    call = served.call(body=b"{}")
    async with kept(served, call) as sender:
        troubled.broker.hold_replies()
        unknown = await sender.call(call)
        assert unknown.told == (503, "outcome_unknown")
        troubled.broker.thaw()
        assert (await sender.call(call)).status == 202
    _, verdicts = await asyncio.to_thread(served.archived, {unknown.json["event_id"]})
    assert verdicts.get(unknown.json["event_id"], "unknown") == "unknown"

    async def noted() -> list[dict[bytes, bytes]]:
        return [entry for _, entry in await redis.xrange(names.REFUSED)]

    (entry,) = await eventually(noted, PATIENCE, "it is in the log of refused calls")
    assert entry[b"code"] == b"outcome_unknown"
    assert (entry[b"key"], entry[b"trigger"], entry[b"method"]) == (b"key_1", b"trg_1", b"POST")
