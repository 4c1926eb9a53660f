"""Each command on a hundred thousand events: it answers in time, and counts them all."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from tests.faults.conftest import Stage
from tests.support import history
from tests.support.flows import ledger
from tests.support.history import writing
from tests.support.waiting import eventually

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


def events(name: str) -> list[Envelope]:
    """Make events of `shop/ledger` that have a trigger of their own; every second is even."""
    return [
        history.event(
            group="shop",
            flow="ledger",
            trigger_id=f"trg_{name}",
            headers=(("X-Even", "no" if number % 2 else "yes"),),
            body=f"{name} 3".encode(),
        )
        for number in range(EVENTS)
    ]


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

    even = await plan(stage, events={"trigger": "trg_scale", "header": "X-Even: yes"})
    assert (even["total"], even["gone"]) == (EVENTS // 2, 0)
    replay = await plan(stage, events={"trigger": "trg_scale"})
    assert (replay["total"], replay["gone"]) == (EVENTS, 0)
    path = f"replays/{replay['id']}"
    await stage.system.admin("POST", f"{path}/start", {}, status=200)
    await stage.system.admin("POST", "flows/shop/ledger/resume", status=200)

    def runs() -> Counter[str]:
        lines = (stage.system.effects / ledger.FILE).read_text().splitlines()
        return Counter(line.split("\t")[0] for line in lines if "\tscale 3\t" in line)

    await eventually(lambda: len(runs()) == EVENTS, ALL, "all of them have run")
    assert set(runs().values()) == {1}
    assert (await ask(stage, PAGE, path))["done"] == EVENTS


async def test_dead_letters_are_counted_listed_planned_and_discarded(stage: Stage) -> None:
    publisher = Publisher([stage.system.amqp_url], name="test publishes")
    await publisher.start()
    await publisher.ready()
    letters = events("dead")
    for begin in range(0, EVENTS, _TOGETHER):
        confirms = await asyncio.gather(
            *(
                publisher.publish(
                    names.DEAD,
                    names.flow_queue("shop", "ledger"),
                    each.encode(),
                    kind=envelope.TYPE,
                    headers={
                        "turnout-reason": "attempt 2 of 2 failed",
                        "turnout-error": f"ValueError: number {number} is wrong",
                        "turnout-place": f"flows/ledger.py:1 in {'odd' if number % 2 else 'even'}",
                    },
                )
                for number, each in enumerate(letters[begin : begin + _TOGETHER], begin)
            )
        )
        assert set(confirms) == {ACCEPTED}
    await publisher.close()

    async def kept() -> Any:
        found = (await ask(stage, COUNT, "dead-groups?flow=shop/ledger"))["items"]
        return found if sum(each["count"] for each in found) >= EVENTS else None

    groups = await eventually(kept, ALL, "all of them are kept")
    ours = [each for each in groups if each["place"].startswith("flows/ledger.py:1 in ")]
    assert [each["count"] for each in ours] == [EVENTS // 2, EVENTS // 2]
    page = await ask(stage, PAGE, "dead?flow=shop/ledger&limit=1000")
    assert len(page["items"]) == 1000
    some = ours[0]["fingerprint"]
    assert (await plan(stage, dead={"fingerprint": some}))["total"] == EVENTS // 2
    async with asyncio.timeout(COUNT):
        done = await stage.system.admin(
            "POST", "dead/discard", {"fingerprint": some, "reason": "a test"}, status=200
        )
    assert done == {"count": EVENTS // 2}
