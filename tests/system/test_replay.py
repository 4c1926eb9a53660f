"""Replays: planned, steered, and each run once."""

import asyncio
from typing import Any

import pytest
from tests.support.system import PATIENCE, Key, System, Trigger
from tests.support.waiting import eventually

CALLS = 40


@pytest.fixture(scope="module")
def sent(system: System, key: Key, trigger: Trigger) -> set[str]:
    """Events of `shop/seen` that have run, and are in the history."""

    async def send() -> set[str]:
        answers = [
            await system.call(trigger.path, key, json={"number": number, "old": True})
            for number in range(CALLS)
        ]
        events = {each.event_id for each in answers}

        async def recorded() -> bool:
            planned = await plan(system, {"flow": "shop/seen", "state": "succeeded"})
            await act(system, planned, "abort")
            return bool(planned["total"] == CALLS)

        await eventually(recorded, PATIENCE, "the history knows all of them")
        return events

    return asyncio.run(send())


async def plan(system: System, events: dict[str, Any], **options: Any) -> dict[str, Any]:
    made = await system.admin("POST", "replays", {"events": events, **options}, status=201)

    async def planned() -> Any:
        found = await system.admin("GET", f"replays/{made['id']}", status=200)
        return found if found["state"] != "planning" else None

    found: dict[str, Any] = await eventually(planned, PATIENCE, "the replay is planned")
    return found


async def act(system: System, replay: dict[str, Any], verb: str, status: int = 200) -> Any:
    return await system.admin("POST", f"replays/{replay['id']}/{verb}", {}, status=status)


async def ended(system: System, replay: dict[str, Any]) -> dict[str, Any]:
    async def has() -> Any:
        found = await system.admin("GET", f"replays/{replay['id']}", status=200)
        return found if found["state"] in {"done", "aborted"} else None

    found: dict[str, Any] = await eventually(has, PATIENCE, "the replay has ended")
    return found


async def test_what_is_planned_runs_once_each_and_is_counted(
    system: System, sent: set[str]
) -> None:
    planned = await plan(system, {"flow": "shop/seen"}, edit={"merge": {"old": None}})
    assert (planned["total"], planned["gone"], planned["done"]) == (CALLS, 0, 0)
    assert planned["remaining_seconds"] == CALLS / planned["rate"]
    assert {each["event_id"] for each in planned["samples"]} < sent

    await act(system, planned, "start")
    assert (await ended(system, planned))["done"] == CALLS

    async def all_ran() -> bool:
        found = await system.admin("GET", f"replays/{planned['id']}", status=200)
        return bool(found["outcomes"] == {"succeeded": CALLS})

    await eventually(all_ran, PATIENCE, "all of them have run")
    records = [await system.seen(each) for each in sent]
    assert all(b"old" not in each["body"] for each in records)


async def test_an_abort_ends_it_and_nothing_starts_twice(system: System, sent: set[str]) -> None:
    planned = await plan(system, {"events": sorted(sent)}, rate=1)
    await act(system, planned, "start")
    assert (await act(system, planned, "pause"))["state"] == "paused"
    assert (await act(system, planned, "resume"))["state"] == "running"
    aborted = await act(system, planned, "abort")
    assert aborted["state"] == "aborted"
    assert aborted["done"] < CALLS
    refused = await act(system, planned, "start", status=409)
    assert "aborted" in refused["detail"]


async def test_another_flow_runs_only_in_a_dry_run_and_within_its_group(
    system: System, sent: set[str]
) -> None:
    wanted = {"events": {"flow": "shop/seen"}, "target": "shop/failing"}
    refused = await system.admin("POST", "replays", wanted, status=422)
    assert "dry_run" in refused["detail"]
    dry = await plan(system, {"flow": "shop/seen"}, target="shop/failing", dry_run=True)
    assert dry["total"] == CALLS
    await act(system, dry, "abort")


async def test_a_replay_of_everything_is_refused(system: System) -> None:
    refused = await system.admin("POST", "replays", {"events": {}}, status=422)
    assert "everything is never meant" in refused["detail"]
