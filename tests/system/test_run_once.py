"""An operator's test of a flow: over the real route, with what came of it at once."""

import asyncio

import pytest
from redis.asyncio import Redis
from tests.support.system import PATIENCE, Key, System, Trigger
from tests.support.topology import collecting
from tests.support.waiting import eventually

from turnout.shared import names
from turnout.shared.amqp import properties_of
from turnout.shared.announcement import Announcement
from turnout.shared.envelope import Envelope


@pytest.fixture(scope="module")
def failing(system: System) -> Trigger:
    """A trigger of the flow that fails."""
    return asyncio.run(system.make_trigger("shop/failing"))


async def run_once(system: System, trigger: Trigger, *, status: int = 200, **call: object) -> dict:
    return await system.admin("POST", f"triggers/{trigger.id}/run-once", call, status=status)


async def test_a_run_once_goes_over_the_trigger_and_tells_how_it_ended(
    system: System, trigger: Trigger
) -> None:
    once = await run_once(
        system, trigger, body="SGVsbG8=", encoding="base64", headers=[["X-From", "an operator"]]
    )

    assert once["attempt"]["state"] == "succeeded"
    assert once["before"] == {"workers": 1, "waiting": 0, "paused": None}
    seen = await system.seen(once["event_id"])
    assert seen["body"] == b"Hello"
    assert seen["headers"] == [("X-From", "an operator")]
    assert seen["trigger_id"] == trigger.id


async def test_a_run_once_may_be_as_large_as_a_call_and_is_recorded(
    system: System, trigger: Trigger
) -> None:
    once = await run_once(system, trigger, body="x" * 1_000_000, reason="is it still alive?")

    assert len((await system.seen(once["event_id"]))["body"]) == 1_000_000
    recorded = await system.admin("GET", "audit?verb=trigger.run-once&limit=1", status=200)
    (entry,) = recorded["items"]
    assert (entry["object_id"], entry["reason"]) == (trigger.id, "is it still alive?")
    assert entry["after"] == {"event": once["event_id"]}


async def test_a_run_once_is_not_larger_than_the_trigger_takes(system: System) -> None:
    small = await system.make_trigger("shop/seen", limits={"max_body_bytes": 10})
    refused = await run_once(system, small, body="x" * 11, status=422)
    assert refused["errors"][0]["field"] == "body"


async def test_a_run_once_is_in_the_archive_as_a_test(system: System, trigger: Trigger) -> None:
    from datetime import UTC, datetime

    since = datetime.now(UTC)
    once = await run_once(system, trigger)
    async with system.archive(since) as archive:
        event = await archive.event(once["event_id"])
    assert event.kind == "once"
    assert event.run_id == once["run_id"]


async def test_a_run_once_takes_the_call_of_a_past_event(
    system: System, key: Key, trigger: Trigger, failing: Trigger
) -> None:
    headers = {"Content-Type": "text/plain", "X-Order": "17"}
    sent = await system.call(
        f"{trigger.path}/deals?new=1", key, data=b"as it came", headers=headers
    )
    first = await system.seen(sent.event_id)

    async def recorded() -> bool:
        found = await system.admin("GET", "events", status=200)
        return any(each["id"] == sent.event_id for each in found["items"])

    await eventually(recorded, PATIENCE, "it is in the history")
    once = await run_once(system, trigger, event=sent.event_id)
    again = await system.seen(once["event_id"])
    for name in ("method", "path", "query", "headers", "body"):
        assert again[name] == first[name], name
    assert (await run_once(system, failing, event=sent.event_id))["attempt"]["state"] == "dead"

    both = await run_once(system, trigger, event=sent.event_id, body="x", status=422)
    assert "either an event" in both["errors"][0]["message"]
    await run_once(system, trigger, event=f"evt_{'0' * 32}", status=404)
    erasing = {"reason": "asked by letter"}
    await system.admin("POST", f"events/{sent.event_id}/erase", erasing, status=200)
    await run_once(system, trigger, event=sent.event_id, status=410)


async def test_a_run_once_that_fails_comes_back_with_its_traceback_and_is_not_tried_again(
    system: System, failing: Trigger
) -> None:
    once = await run_once(system, failing, body="this is wrong")

    assert once["attempt"]["state"] == "dead"
    assert once["attempt"]["error"] == "ValueError: this is wrong"
    assert "raise ValueError(event.text())" in once["attempt"]["traceback"]


async def test_what_no_worker_serves_is_refused_at_once_with_numbers(system: System) -> None:
    await system.make_flow("shop/deserted")
    deserted = await system.make_trigger("shop/deserted")
    path = f"triggers/{deserted.id}/run-once"
    assert await system.admin("GET", path, status=200) == {
        "workers": 0,
        "waiting": 0,
        "paused": None,
    }

    refused = await run_once(system, deserted, status=409)

    assert refused["code"] == "not_ready"
    assert "no worker serves shop/deserted" in refused["detail"]


async def test_a_paused_flow_is_told_at_once_with_its_reason(system: System) -> None:
    trigger = await system.make_trigger("shop/seen")
    await system.admin("POST", "flows/shop/seen/pause", {"reason": "HubSpot is down"}, status=200)
    refused = await run_once(system, trigger, status=409)
    await system.admin("POST", "flows/shop/seen/resume", status=200)
    assert refused["code"] == "not_ready"
    assert "shop/seen is paused (HubSpot is down), and 0 runs wait" in refused["detail"]


async def test_what_waits_is_told_and_a_run_once_has_priority_over_it(
    system: System, key: Key, redis_url: str
) -> None:
    await system.make_flow("shop/idle")
    trigger = await system.make_trigger("shop/idle")
    await system.call(trigger.path, key)
    idle = Announcement(f"wrk_{'0' * 32}", "here", 1, 0.0, ("shop/idle",), 1)
    async with Redis.from_url(redis_url) as cache:
        await idle.write(cache)  # a worker that takes nothing
        once = await run_once(system, trigger, timeout=0.1)
        await idle.withdraw(cache)
    assert once["before"] == {"workers": 1, "waiting": 1, "paused": None}
    assert once["attempt"] is None
    async with collecting(system.amqp_url, names.flow_queue("shop", "idle")) as queue:
        await eventually(lambda: len(queue.deliveries) == 2, PATIENCE, "both are in the queue")
    priorities = {
        Envelope.decode(each.body).kind: properties_of(each).priority or 0
        for each in queue.deliveries
    }
    assert priorities["once"] > priorities["event"]


async def test_a_run_that_takes_too_long_is_left_running(system: System) -> None:
    patient = await system.make_trigger("shop/patient")
    once = await run_once(system, patient, timeout=0.3)
    assert once["attempt"] is None
    (system.effects / f"{once['event_id']}.release").touch()
