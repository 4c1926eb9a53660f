"""Replays: planned, steered, and each run once."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.support.system import PATIENCE, Key, System, Trigger
from tests.support.waiting import eventually

CALLS = 40
BEGAN = datetime.now(UTC)


@pytest.fixture(scope="module")
def sent(system: System, key: Key, trigger: Trigger) -> set[str]:
    """Events of `shop/seen` that have run, and are in the history."""

    async def send() -> set[str]:
        answers = [
            await system.call(
                trigger.path,
                key,
                json={"number": number, "old": True},
                headers={"X-Odd": "yes" if number % 2 else "no"},
            )
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


async def test_its_pace_is_told_and_while_it_is_paused_nothing_goes_on(
    system: System, sent: set[str]
) -> None:
    planned = await plan(system, {"events": sorted(sent)}, rate=5)
    await act(system, planned, "start")
    path = f"replays/{planned['id']}"

    async def moves() -> Any:
        found = await system.admin("GET", path, status=200)
        return found if found["current_rate"] else None

    moving = await eventually(moves, PATIENCE, "it tells its rate")
    assert (moving["state"], moving["remaining_seconds"] > 0) == ("running", True)
    await act(system, planned, "pause")
    faster = await system.admin("PATCH", path, {"rate": 0}, status=200)
    assert (faster["state"], faster["rate"]) == ("paused", 0)

    async def rests() -> Any:
        found = await system.admin("GET", path, status=200)
        return None if found["current_rate"] else found

    resting = await eventually(rests, PATIENCE, "it has not moved for some seconds")
    assert (resting["state"], resting["done"] < CALLS) == ("paused", True)
    await act(system, planned, "resume")
    assert (await ended(system, planned))["done"] == CALLS


async def test_another_flow_runs_only_in_a_dry_run_and_within_its_group(
    system: System, sent: set[str]
) -> None:
    wanted = {"events": {"flow": "shop/seen"}, "target": "shop/failing"}
    refused = await system.admin("POST", "replays", wanted, status=422)
    assert "dry_run" in refused["detail"]
    one = {"flow": "shop/seen", "json": "number=7"}
    dry = await plan(system, one, target="shop/failing", dry_run=True, start=True)
    assert (await ended(system, dry))["total"] == 1
    (sample,) = (await plan(system, one))["samples"]

    async def ran() -> Any:
        runs = (await system.admin("GET", f"events/{sample['event_id']}", status=200))["runs"]
        return next((e for e in runs if e["replay"] == dry["id"] and e["state"] == "dead"), None)

    run = await eventually(ran, PATIENCE, "it has run, and failed")
    assert (run["flow"], run["kind"], run["attempt"]) == ("shop/failing", "once", 1)


async def test_a_replay_of_everything_is_refused(system: System) -> None:
    refused = await system.admin("POST", "replays", {"events": {}}, status=422)
    assert "everything is never meant" in refused["detail"]


@pytest.mark.parametrize(
    ("condition", "count"),
    [({"json": "number=7"}, 1), ({"header": "x-odd: yes"}, CALLS // 2), ({"text": '"old"'}, CALLS)],
    ids=["json", "header", "text"],
)
async def test_what_came_with_an_event_decides_whether_it_is_meant(
    system: System, sent: set[str], condition: dict[str, str], count: int
) -> None:
    planned = await plan(system, {"flow": "shop/seen", **condition})
    assert (planned["total"], planned["gone"]) == (count, 0)
    assert planned["selection"] == {"group": "shop", "flow": "seen", **condition}
    await act(system, planned, "abort")


async def test_a_run_names_its_origin_and_its_event_lists_it_and_is_archived_once(
    system: System, sent: set[str], key: Key, trigger: Trigger
) -> None:
    event_id = min(sent)
    planned = await plan(system, {"events": [event_id]}, start=True)
    await ended(system, planned)

    async def listed() -> Any:
        runs = (await system.admin("GET", f"events/{event_id}", status=200))["runs"]
        return [each for each in runs if each["replay"] == planned["id"]]

    (run,) = await eventually(listed, PATIENCE, "the event lists its replay")
    assert run["origin"] == event_id.replace("evt_", "run_")
    later = (await system.call(trigger.path, key, data=b"later")).event_id
    async with system.archive(BEGAN) as archive:
        await archive.event(later)
        assert [each.event_id for each in archive.events].count(event_id) == 1


async def test_a_replay_runs_what_its_idempotency_key_has_run_already(
    system: System, key: Key, trigger: Trigger
) -> None:
    headers = {"Idempotency-Key": "only once"}
    event_id = (await system.call(trigger.path, key, data=b"once", headers=headers)).event_id
    again = (await system.call(trigger.path, key, data=b"once", headers=headers)).event_id
    assert again == event_id
    await system.seen(event_id)

    async def replayed() -> Any:
        planned = await plan(system, {"events": [event_id], "state": "succeeded"}, start=True)
        return planned if planned["total"] else None

    replay = await eventually(replayed, PATIENCE, "the history knows it")

    async def ran() -> bool:
        found = await system.admin("GET", f"replays/{replay['id']}", status=200)
        return bool(found["outcomes"] == {"succeeded": 1})

    await eventually(ran, PATIENCE, "it has run again")


async def test_in_order_each_run_waits_until_the_one_before_has_ended(
    system: System, key: Key
) -> None:
    patient = await system.make_trigger("shop/patient")
    sent = [(await system.call(patient.path, key)).event_id for _ in range(2)]
    releases = [system.effects / f"{each}.release" for each in sent]
    for each in releases:
        each.touch()

    async def recorded() -> Any:
        planned = await plan(system, {"events": sent, "state": "succeeded"}, order="kept", rate=0)
        return planned if planned["total"] == 2 else None

    replay = await eventually(recorded, PATIENCE, "the history knows that both have run")
    for each in releases:
        each.unlink()
    await act(system, replay, "start")

    def begun() -> list[str]:
        lines = (system.effects / "trouble").read_text().splitlines()
        return [line.split()[0] for line in lines if "started" in line and line.split()[0] in sent]

    for number, each in enumerate(releases, 1):
        await eventually(lambda n=number: len(begun()) == 2 + n, PATIENCE, "the next one begins")
        assert begun()[2:] == sent[:number]
        each.touch()
    await ended(system, replay)


async def test_a_version_that_no_worker_has_is_refused(system: System, sent: set[str]) -> None:
    refused = await system.admin(
        "POST",
        "replays",
        {"events": {"flow": "shop/seen"}, "version": "2027.1", "dry_run": True},
        status=422,
    )
    assert refused["errors"][0]["field"] == "version"
    assert "no running worker has it" in refused["errors"][0]["message"]


async def test_what_is_erased_after_the_plan_does_not_run(
    system: System, key: Key, trigger: Trigger
) -> None:
    calls = [await system.call(trigger.path, key, data=b"jane@example.org") for _ in range(2)]
    erased, kept = (each.event_id for each in calls)

    async def recorded() -> Any:
        planned = await plan(system, {"events": [erased, kept], "state": "succeeded"})
        return planned if planned["total"] == 2 else None

    replay = await eventually(recorded, PATIENCE, "the history knows that both have run")
    erasing = {"reason": "asked by letter"}
    await system.admin("POST", f"events/{erased}/erase", erasing, status=200)
    await act(system, replay, "start")
    done = await ended(system, replay)
    assert (done["done"], done["skipped"], done["note"]) == (2, 1, f"{erased} is gone")
