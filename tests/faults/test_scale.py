"""Each command on a hundred thousand events: it answers in time, and counts them all."""

import asyncio
import base64
import json
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.faults.conftest import Stage
from tests.router.test_cli import Result, run
from tests.support import history
from tests.support.history import writing
from tests.support.system import Trigger
from tests.support.topology import linked
from tests.support.waiting import eventually

from turnout.router.declare import unbind
from turnout.router.topology import Binding
from turnout.shared import envelope, names
from turnout.shared.envelope import Envelope
from turnout.shared.publisher import ACCEPTED, Publisher

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

EVENTS = 100_000
_TOGETHER = 2000

#: Seconds for a page, for a count of all, and for something that is done with each of them; the
#: machine may be busy with other things.
PAGE = 10.0
COUNT = 30.0
ALL = 300.0

Turnout = Callable[..., Awaitable[Any]]


@pytest.fixture
def command(stage: Stage, tmp_path: Path) -> Callable[..., Awaitable[Result]]:
    """Run `turnout`, which has to end so soon, and return what it left behind."""

    async def command(*arguments: str, within: float = COUNT) -> Result:
        async with asyncio.timeout(within):
            return await run(*arguments, cwd=tmp_path, **stage.system.command_line)

    return command


@pytest.fixture
def turnout(command: Callable[..., Awaitable[Result]]) -> Turnout:
    """Run `turnout --json`, which has to go well, and return what it told."""

    async def turnout(*arguments: str, within: float = COUNT) -> Any:
        told = await command(*arguments, "--json", within=within)
        assert told.code == 0, told
        return told.json

    return turnout


def events(name: str) -> list[Envelope]:
    """Make events of `shop/ledger` that have a trigger of their own; every second is even."""
    return [
        history.event(
            group="shop",
            flow="ledger",
            trigger_id=trigger(name),
            headers=(("X-Even", "no" if number % 2 else "yes"), ("X-Number", str(number))),
            body=body(name).encode(),
        )
        for number in range(EVENTS)
    ]


def trigger(name: str) -> str:
    """Make the id of a trigger that nobody has created."""
    return f"trg_{name.encode().hex():0>32}"


def body(name: str) -> str:
    """Make what such an event brings: its run never fails."""
    return json.dumps({"number": 3, "of": name})


async def publish(
    stage: Stage,
    exchange: str,
    some: Sequence[Envelope],
    headers: Callable[[int], dict[str, str | int]] = lambda _: {},
    *,
    routing_key: str = names.flow_queue("shop", "ledger"),
) -> None:
    """Publish events, each with headers by its number."""
    publisher = Publisher([stage.system.amqp_url], name="test publishes")
    await publisher.start()
    await publisher.ready()
    for begin in range(0, len(some), _TOGETHER):
        confirms = await asyncio.gather(
            *(
                publisher.publish(
                    exchange,
                    routing_key,
                    each.encode(),
                    kind=envelope.TYPE,
                    headers=headers(number),
                )
                for number, each in enumerate(some[begin : begin + _TOGETHER], begin)
            )
        )
        assert set(confirms) == {ACCEPTED}
    await publisher.close()


async def accept(stage: Stage, some: Sequence[Envelope]) -> None:
    """Put events into the archive and into the queue of `shop/ledger`, as ingress does."""
    async with writing(stage.system.amqp_url) as writer:
        await writer.events(some)
    await publish(stage, "", some)


async def ask(stage: Stage, seconds: float, path: str) -> Any:
    """Ask the admin API for something that it has to know so soon."""
    async with asyncio.timeout(seconds):
        return await stage.system.admin("GET", path, status=200)


async def plan(stage: Stage, **wanted: Any) -> Any:
    """Plan a replay, and wait until it is planned."""
    made = await stage.system.admin("POST", "replays", {**wanted, "rate": 0}, status=201)

    async def planned() -> Any:
        found = await ask(stage, PAGE, f"replays/{made['id']}")
        return found if found["state"] != "planning" else None

    return await eventually(planned, ALL, "the replay is planned")


async def test_what_waits_is_listed_and_replayed(stage: Stage) -> None:
    await stage.system.admin("POST", "flows/shop/ledger/pause", {"reason": "a test"}, status=200)
    async with writing(stage.system.amqp_url) as writer:
        await writer.events(events("scale"))

    async def recorded() -> bool:
        return bool((await ask(stage, COUNT, "flows/shop/ledger/queue"))["queued"] >= EVENTS)

    await eventually(recorded, ALL, "all of them are recorded as queued")
    first = await ask(stage, COUNT, "flows/shop/ledger/queue?limit=1000")
    assert len(first["items"]) == 1000
    cursor = first["next_cursor"]
    second = await ask(stage, COUNT, f"flows/shop/ledger/queue?limit=1000&cursor={cursor}")
    assert first["items"][-1]["id"] < second["items"][0]["id"]

    even = await plan(stage, events={"trigger": trigger("scale"), "header": "X-Even: yes"})
    assert (even["total"], even["gone"]) == (EVENTS // 2, 0)
    replay = await plan(stage, events={"trigger": trigger("scale")})
    assert (replay["total"], replay["gone"]) == (EVENTS, 0)
    path = f"replays/{replay['id']}"
    await stage.system.admin("POST", f"{path}/start", {}, status=200)
    await stage.system.admin("POST", "flows/shop/ledger/resume", status=200)

    async def ended() -> bool:
        return bool((await ask(stage, COUNT, path))["outcomes"] == {"succeeded": EVENTS})

    await eventually(ended, ALL, "all of them have run")
    assert set(stage.runs(body("scale")).values()) == {1}
    assert (await ask(stage, PAGE, path))["done"] == EVENTS


async def test_what_waits_is_found_shown_moved_and_cancelled(
    stage: Stage, command: Callable[..., Awaitable[Result]], turnout: Turnout
) -> None:
    async def came_to(name: str, state: str) -> None:
        async def did() -> bool:
            found = await plan(stage, events={"trigger": trigger(name), "state": state})
            await stage.system.admin("POST", f"replays/{found['id']}/abort", {}, status=200)
            return bool(found["total"] == EVENTS)

        await eventually(did, ALL, f"the history says that all of them are {state}")

    await stage.system.admin("POST", "flows/shop/ledger/pause", {"reason": "a test"}, status=200)
    moved, ours = events("moved"), trigger("moved")
    jane = moved[EVENTS // 4] = moved[EVENTS // 4]._replace(
        body=b'{"number": 3, "order": {"id": "A-17"}, "to": "jane@example.org"}'
    )
    await accept(stage, moved)
    await came_to("moved", "queued")

    def newest_of(identifiers: Iterable[str]) -> list[str]:
        return sorted(identifiers, reverse=True)[:1000]

    newest = await turnout("event", "list", "--trigger", ours, "--limit", "1000")
    assert [each["id"] for each in newest["items"]] == newest_of(each.event_id for each in moved)
    one = moved[EVENTS // 3]
    number = f"X-Number: {EVENTS // 3}"
    found = await turnout("event", "list", "--trigger", ours, "--header", number)
    assert [each["id"] for each in found["items"]] == [one.event_id]
    runs = await turnout("run", "list", "--trigger", ours, "--limit", "1000")
    assert [each["id"] for each in runs["items"]] == newest_of(each.run_id for each in moved)
    janes = (("--where", "order.id=A-17"), ("--text", "jane@example.org"))
    for condition in janes:
        found = await turnout("event", "list", "--trigger", ours, *condition, within=ALL)
        assert [each["id"] for each in found["items"]] == [jane.event_id]
    for shown in (
        await turnout("event", "show", one.event_id),
        await turnout("run", "show", one.run_id),
    ):
        assert [(each["id"], each["state"]) for each in shown["runs"]] == [(one.run_id, "queued")]

    refused = await command("run-once", stage.trigger.id)
    assert refused.code == 1
    (waiting,) = re.findall(r"is paused.* and (\d+) runs wait", " ".join(refused.err.split()))
    assert int(waiting) >= EVENTS

    crashing = ("--to", "shop/crashing", "--reason", "a test")
    told = await turnout("queue", "move", "shop/ledger", *crashing, within=ALL)
    assert (told["moved"], told["left"]) == (EVENTS, 0)
    await came_to("moved", "succeeded")
    assert set(stage.runs(body("moved")).values()) == {1}

    erased = await turnout("event", "erase", jane.event_id, "--reason", "asked", "--yes")
    assert (erased["erased"]["reason"], erased["runs"][0]["state"]) == ("asked", "succeeded")
    for condition in janes:
        found = await turnout("event", "list", "--trigger", ours, *condition, within=ALL)
        assert found["items"] == []
    assert "asked" in (await command("event", "show", jane.event_id, "--body", "-")).err
    again = await plan(stage, events={"trigger": ours, "text": "jane@example.org"})
    assert again["total"] == 0

    await accept(stage, events("cancelled"))
    await came_to("cancelled", "queued")
    await turnout("queue", "cancel", "shop/ledger", "--reason", "a test")
    await stage.system.admin("POST", "flows/shop/ledger/resume", status=200)
    await came_to("cancelled", "cancelled")
    assert not stage.runs(body("cancelled"))
    once = await turnout("run-once", stage.trigger.id, "--event", one.event_id)
    assert once["attempt"]["state"] == "succeeded"


async def test_dead_letters_are_counted_listed_shown_discarded_and_replayed(
    stage: Stage, turnout: Turnout
) -> None:
    await publish(
        stage,
        names.DEAD,
        events("dead"),
        lambda number: {
            "turnout-reason": "attempt 2 of 2 failed",
            "turnout-error": f"ValueError: number {number} is wrong",
            "turnout-place": f"flows/ledger.py:1 in {'odd' if number % 2 else 'even'}",
        },
    )

    async def kept() -> Any:
        found = (await ask(stage, COUNT, "dead-groups?flow=shop/ledger"))["items"]
        return found if sum(each["count"] for each in found) >= EVENTS else None

    await eventually(kept, ALL, "all of them are kept")
    groups = (await turnout("dead", "list", "--groups", "--flow", "shop/ledger"))["items"]
    ours = [each for each in groups if each["place"].startswith("flows/ledger.py:1 in ")]
    assert [each["count"] for each in ours] == [EVENTS // 2, EVENTS // 2]
    some, others = (each["fingerprint"] for each in ours)
    page = await turnout("dead", "list", "--fingerprint", others, "--limit", "1000")
    assert len(page["items"]) == 1000
    letter = page["items"][0]["id"]
    assert (
        base64.b64decode((await turnout("dead", "show", letter))["body"]) == body("dead").encode()
    )
    done = await turnout("dead", "discard", "--fingerprint", some, "--reason", "a test")
    assert done == {"count": EVENTS // 2}

    done = await turnout("dead", "replay", "--fingerprint", others, "--rate", "0", within=ALL)
    assert (done["state"], done["total"], done["done"]) == ("done", EVENTS // 2, EVENTS // 2)

    async def ended() -> bool:
        shown = await ask(stage, COUNT, f"replays/{done['id']}")
        return bool(shown["outcomes"] == {"succeeded": EVENTS // 2})

    await eventually(ended, ALL, "all of them have run")
    runs = stage.runs(body("dead"))
    assert (len(runs), set(runs.values())) == (EVENTS // 2, {1})
    shown = await turnout("dead", "show", letter)
    assert (shown["state"], shown["settled_by"]) == ("replayed", done["id"])


async def test_unrouted_events_are_counted_and_run_when_their_trigger_is_back(
    stage: Stage, command: Callable[..., Awaitable[Result]], turnout: Turnout
) -> None:
    lost: Trigger = await stage.system.make_trigger("shop/ledger")
    assert (await command("registry", "export", "registry.json", "--with-secrets")).code == 0
    assert (await command("trigger", "delete", lost.id, "--yes")).code == 0
    way = Binding(names.TRIGGERS, names.flow_queue("shop", "ledger"), lost.routing_key)
    async with linked(stage.system.amqp_url) as link:
        await unbind(link, [way])  # which the router does somewhat later
    some = [each._replace(routing_key=lost.routing_key) for each in events("lost")]
    await publish(stage, names.TRIGGERS, some, routing_key=lost.routing_key)

    async def parked() -> bool:
        found = (await turnout("unrouted", "list"))["items"]
        return sum(each["count"] for each in found) >= EVENTS

    await eventually(parked, ALL, "all of them are parked")
    assert not stage.runs(body("lost"))
    await turnout("registry", "import", "registry.json", "--yes")

    def ran() -> bool:
        return len(stage.runs(body("lost"))) == EVENTS

    await eventually(ran, ALL, "all of them have run")
    assert set(stage.runs(body("lost")).values()) == {1}
    assert (await turnout("unrouted", "list"))["items"] == []
