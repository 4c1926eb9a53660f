"""What waits for a flow: listed, and moved to another one."""

import asyncio
from typing import Any

from tests.support.system import PATIENCE, Key, System
from tests.support.waiting import eventually

CALLS = 6


async def queue(system: System, flow: str) -> dict[str, Any]:
    found: dict[str, Any] = await system.admin("GET", f"flows/{flow}/queue?limit=4", status=200)
    return found


async def test_what_waits_is_listed_and_moved_and_each_run_runs_once(
    system: System, key: Key
) -> None:
    await system.make_flow("shop/waiting")  # which no worker serves
    trigger = await system.make_trigger("shop/waiting")
    target = {"to": "shop/patient", "reason": "the other flow can do it"}
    refused = await system.admin("POST", "flows/shop/waiting/queue/move", target, status=409)
    assert "pause shop/waiting first" in refused["detail"]
    await system.admin("POST", "flows/shop/waiting/pause", {"reason": "a test"}, status=200)
    sent = [(await system.call(trigger.path, key)).event_id for _ in range(CALLS)]
    runs = [each.replace("evt_", "run_") for each in sent]
    for each in sent:
        (system.effects / f"{each}.release").touch()

    async def listed() -> Any:
        found = await queue(system, "shop/waiting")
        return found if (found["queued"], found["ready"]) == (CALLS, CALLS) else None

    found = await eventually(listed, PATIENCE, "all of them wait")
    assert [each["id"] for each in found["items"]] == runs[:4]
    path = f"flows/shop/waiting/queue?limit=4&cursor={found['next_cursor']}"
    rest = await system.admin("GET", path, status=200)
    assert [each["id"] for each in rest["items"]] == runs[4:]

    cancelled = {"run_id": runs[0], "reason": "not this one"}
    await system.admin("POST", "flows/shop/waiting/cancellations", cancelled, status=201)
    moved = await system.admin("POST", "flows/shop/waiting/queue/move", target, status=200)
    assert (moved["moved"], moved["left"]) == (CALLS - 1, 1)
    assert "1 are cancelled" in moved["refused"]

    async def have_run() -> Any:
        states = []
        for each in runs:
            story = await system.admin("GET", f"runs/{each}", status=200)
            (run,) = story["runs"]
            states.append((run["flow"], run["state"], len(run["attempts"])))
        return states if all(state != "queued" for _, state, _ in states[1:]) else None

    states = await eventually(have_run, PATIENCE, "all of them have ended")
    assert states == [
        ("shop/waiting", "queued", 0),
        *[("shop/patient", "succeeded", 1)] * (CALLS - 1),
    ]


async def test_what_waits_behind_very_many_cancelled_runs_is_moved(
    system: System, key: Key
) -> None:
    together, times = 50, 25  # more than a consumer may have unacknowledged
    await system.make_flow("shop/cancelled")  # which no worker serves
    await system.make_flow("shop/instead")  # nor this one
    trigger = await system.make_trigger("shop/cancelled")
    for _ in range(times):
        await asyncio.gather(*(system.call(trigger.path, key) for _ in range(together)))
    path = "flows/shop/cancelled"
    await system.admin("POST", f"{path}/pause", {"reason": "a test"}, status=200)
    await system.admin("POST", f"{path}/cancellations", {"reason": "all"}, status=201)
    await asyncio.gather(*(system.call(trigger.path, key) for _ in range(CALLS)))
    target = {"to": "shop/instead", "reason": "the other flow can do it"}
    moved = await system.admin("POST", f"{path}/queue/move", target, status=200)
    assert (moved["moved"], moved["left"]) == (CALLS, times * together)
    assert f"{times * together} are cancelled" in moved["refused"]


async def test_nothing_is_moved_across_groups(system: System) -> None:
    await system.make_group("other")
    await system.make_flow("other/flow")
    refused = await system.admin(
        "POST", "flows/shop/seen/queue/move", {"to": "other/flow"}, status=422
    )
    assert refused["errors"][0]["field"] == "to"
