"""A replay whose router is killed: each of its items runs exactly as often as planned."""

import asyncio
from collections import Counter
from typing import Any

import aiohttp
import pytest
from tests.faults.conftest import Stage
from tests.support.flows import ledger
from tests.support.system import PATIENCE
from tests.support.waiting import eventually

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

EVENTS = 20_000
CLIENTS = 100
KILLS = 3

#: Seconds in which all of it has run; the machine may be busy with other things.
_LONG = 10 * PATIENCE


async def test_a_replay_whose_router_is_killed_runs_each_event_once(stage: Stage) -> None:
    body = "replay 3"  # one that never fails
    await send(stage, body)
    system = stage.system

    async def planned() -> Any:
        made = await system.admin(
            "POST",
            "replays",
            {"events": {"trigger": stage.trigger.id, "state": "succeeded"}, "rate": 0},
            status=201,
        )
        path = f"replays/{made['id']}"
        while (found := await system.admin("GET", path, status=200))["state"] == "planning":  # noqa: ASYNC110 - another process plans it
            await asyncio.sleep(0.1)
        if found["total"] >= EVENTS:
            return found
        await system.admin("POST", f"{path}/abort", status=200)
        return None

    replay = await eventually(planned, _LONG, "the history knows all of them")
    before = runs(stage, body)
    path = f"replays/{replay['id']}"
    await system.admin("POST", f"{path}/start", {}, status=200)

    for kill in range(1, KILLS + 1):

        async def is_under_way(share: int = kill) -> bool:
            found = await system.admin("GET", path, status=200)
            return bool(found["done"] >= EVENTS * share // (KILLS + 2))

        await eventually(is_under_way, _LONG, "the replay is under way")
        system.router.command.kill()
        await system.router.start()

    async def is_done() -> bool:
        return bool((await system.admin("GET", path, status=200))["state"] == "done")

    await eventually(is_done, _LONG, "the replay is done")

    def all_ran() -> bool:
        return sum((runs(stage, body) - before).values()) >= EVENTS

    await eventually(all_ran, _LONG, "all of it has run")
    again = runs(stage, body) - before
    print(f"\n{len(again)} events, run again {Counter(again.values())}")
    assert set(again.values()) == {1}


async def send(stage: Stage, body: str) -> None:
    """Send calls, and wait until all of them have run."""
    left = iter(range(EVENTS))

    async def client(session: aiohttp.ClientSession) -> None:
        for _ in left:
            url = stage.system.ingress.url + stage.trigger.path
            async with session.post(url, data=body) as answer:
                assert answer.status == 202, await answer.text()

    async with aiohttp.ClientSession(headers=stage.key.header) as session:
        await asyncio.gather(*(client(session) for _ in range(CLIENTS)))
    await eventually(
        lambda: len(runs(stage, body)) >= EVENTS, _LONG, "all of them have run for the first time"
    )


def runs(stage: Stage, body: str) -> Counter[str]:
    """Count the attempts of each event with a body."""
    path = stage.system.effects / ledger.FILE
    lines = path.read_text().splitlines() if path.exists() else []
    return Counter(line.split("\t")[0] for line in lines if f"\t{body}\t" in line)
