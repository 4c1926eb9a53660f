"""A replay whose router is killed, or beside live calls: each of its items runs once."""

import asyncio
import re
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from pamqp import commands
from tests.faults.conftest import Stage
from tests.support.sender import Ledger
from tests.support.system import PATIENCE, System
from tests.support.topology import linked
from tests.support.waiting import eventually

from turnout.router.replay.runner import MOST_WAITING
from turnout.shared import names
from turnout.shared.amqp import Channel

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

EVENTS = 20_000
CLIENTS = 100
KILLS = 3

#: Runs a second of a replay beside live calls, and how many of these run meanwhile.
RATE = 300
LIVE = 1000

#: Seconds in which all of it has run; the machine may be busy with other things.
_LONG = 10 * PATIENCE


async def test_a_replay_whose_router_is_killed_runs_each_event_once(stage: Stage) -> None:
    body = '{"number": 3}'  # one that never fails
    since = datetime.now(UTC)
    await send(stage, body)
    replay = await planned(stage, since)
    before = stage.runs(body)
    await replay.begin()

    for kill in range(1, KILLS + 1):
        await replay.has_done(EVENTS * kill // (KILLS + 2))
        stage.system.router.command.kill()
        await stage.system.router.start()

    await replay.is_done()
    await all_ran_once(stage, body, before)


async def test_a_replay_whose_router_is_killed_over_a_backlog_runs_each_event_once(
    stage: Stage,
) -> None:
    body = '{"number": 7}'
    since = datetime.now(UTC)
    await send(stage, body)
    replay = await planned(stage, since)
    before = stage.runs(body)
    system = stage.system
    await system.admin("POST", "flows/shop/ledger/pause", {"reason": "a test"}, status=200)
    await replay.begin()

    # Nothing runs, so the history knows nothing of what was published last: it is published again,
    # until the queue is full of it.
    for kill in range(1, KILLS + 1):
        await replay.has_done(MOST_WAITING * kill // (KILLS + 1), or_waits=True)
        system.router.command.kill()
        await system.router.start()
    await replay.has_done(EVENTS, or_waits=True)
    assert await waiting(stage, names.flow_queue("shop", "ledger")) > MOST_WAITING / 2
    doubts = re.findall(r"in_doubt\W+(\d+)", system.router.command.log)
    print(f"\nin doubt after the kills: {doubts}")
    await system.admin("POST", "flows/shop/ledger/resume", status=200)

    await replay.is_done()
    await all_ran_once(stage, body, before)


async def test_live_calls_run_while_a_replay_goes_on(stage: Stage) -> None:
    body = '{"number": 9}'
    since = datetime.now(UTC)
    await send(stage, body)
    replay = await planned(stage, since, rate=RATE)
    before = stage.runs(body)
    await replay.begin()
    await replay.has_done(RATE)

    async with stage.sender() as sender:
        books = Ledger(stage.system, sender)
        await books.more(LIVE)
    shown = await replay.shown()
    assert shown["state"] == "running"
    assert shown["done"] < EVENTS

    await replay.go_on(rate=0)
    await replay.is_done()
    await all_ran_once(stage, body, before)
    await books.balance()


class Replay:
    """A replay, over the admin API."""

    def __init__(self, system: System, replay_id: str) -> None:
        self._system = system
        self._path = f"replays/{replay_id}"

    async def begin(self) -> None:
        """Start it."""
        await self._system.admin("POST", f"{self._path}/start", {}, status=200)

    async def has_done(self, count: int, *, or_waits: bool = False) -> None:
        """Wait until so many runs are published, or, if wanted, too many wait in the queue."""

        async def has() -> bool:
            shown = await self.shown()
            return shown["done"] >= count or (or_waits and "runs wait in" in shown["note"])

        await eventually(has, _LONG, f"{count} are published")

    async def is_done(self) -> None:
        """Wait until all runs are published."""

        async def is_it() -> bool:
            return bool((await self.shown())["state"] == "done")

        await eventually(is_it, _LONG, "the replay is done")

    async def go_on(self, rate: float) -> None:
        """Let it go on at another rate."""
        await self._system.admin("PATCH", self._path, {"rate": rate}, status=200)

    async def shown(self) -> Any:
        """Return what is shown of it."""
        return await self._system.admin("GET", self._path, status=200)


async def planned(stage: Stage, since: datetime, rate: float = 0) -> Replay:
    """Plan a replay of the events since a moment, when all of them are in the history."""
    system = stage.system
    wanted = {"trigger": stage.trigger.id, "state": "succeeded", "since": since.isoformat()}

    async def all_planned() -> Any:
        made = await system.admin("POST", "replays", {"events": wanted, "rate": rate}, status=201)
        path = f"replays/{made['id']}"
        while (found := await system.admin("GET", path, status=200))["state"] == "planning":  # noqa: ASYNC110 - another process plans it
            await asyncio.sleep(0.1)
        if found["total"] >= EVENTS:
            return found
        await system.admin("POST", f"{path}/abort", {}, status=200)
        return None

    found = await eventually(all_planned, _LONG, "the history knows all of them")
    return Replay(system, found["id"])


async def all_ran_once(stage: Stage, body: str, before: Counter[str]) -> None:
    """Wait until each event has run again and no copy is left, and see that none has run twice."""
    queues = (names.flow_queue("shop", "ledger"), *(names.delay(each) for each in names.DELAYS[:5]))

    async def all_ran() -> bool:
        return len(stage.runs(body) - before) >= EVENTS and not await waiting(stage, *queues)

    await eventually(all_ran, _LONG, "all of it has run")
    again = stage.runs(body) - before
    print(f"\n{len(again)} events, run again {Counter(again.values())}")
    assert set(again.values()) == {1}


async def waiting(stage: Stage, *queues: str) -> int:
    """Count what waits in some queues."""
    async with linked(stage.system.amqp_url) as link:
        channel = Channel()
        await link.open(channel)
        answers = [
            await channel.call(
                commands.Queue.Declare(queue=each, passive=True), commands.Queue.DeclareOk
            )
            for each in queues
        ]
    return sum(each.message_count or 0 for each in answers)


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
        lambda: len(stage.runs(body)) >= EVENTS, _LONG, "all of them have run for the first time"
    )
