"""A flow is paused, cancelled and limited through the admin API, with two workers."""

import asyncio
import os
import time
from datetime import UTC, datetime
from typing import Any, Self

import pytest
from redis.asyncio import Redis
from tests.support.process import Command
from tests.support.system import PATIENCE, Key, System, Trigger
from tests.support.waiting import eventually

from turnout.shared import ids, names
from turnout.shared.announcement import Announcement, Served

#: Seconds within which a pause holds everywhere, and as many for a busy machine.
_WITHIN = 2.0


@pytest.fixture(scope="module")
def system(bare_system: System) -> System:
    """A running system with two workers."""
    bare_system.add_ingress()
    for _ in range(2):
        bare_system.add_worker("seen", "trouble")
    asyncio.run(bare_system.start())
    asyncio.run(bare_system.registered("shop/seen"))
    for worker in bare_system.workers:
        asyncio.run(worker.wait_log('{"flow": "shop/seen", "event": "flow is served"'))
    return bare_system


class Traffic:
    """Calls, one after the other, until its context ends."""

    def __init__(self, system: System, trigger: Trigger, key: Key) -> None:
        self.sent: list[str] = []
        self._system = system
        self._trigger = trigger
        self._key = key

    async def call(self) -> str:
        answer = await self._system.call(self._trigger.path, self._key)
        assert answer.status == 202
        self.sent.append(answer.event_id)
        return answer.event_id

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await self.call()
            await asyncio.sleep(0.005)

    def ran(self) -> dict[str, float]:
        """Return those that have run, and when."""
        entries = {each.name: each for each in os.scandir(self._system.effects)}
        return {each: entries[each].stat().st_mtime for each in self.sent if each in entries}


async def control(system: System, verb: str, **body: Any) -> float:
    """Pause, resume or cancel, and return when that was done."""
    status = 201 if verb == "cancellations" else 200
    await system.admin("POST", f"flows/shop/seen/{verb}", body or None, status=status)
    return time.time()


async def pause(system: System, reason: str) -> float:
    """Pause, wait until each worker says so, and return when it was paused."""
    return await heard(system, "paused", "pause", reason=reason)


async def resume(system: System) -> float:
    """Resume, wait until each worker says so, and return when it was resumed.

    A worker looks again and again: of a pause that follows at once it would notice nothing.
    """
    return await heard(system, "resumed", "resume")


async def heard(system: System, told: str, verb: str, **body: str) -> float:
    def times(worker: Command) -> int:
        return worker.log.count(f"flow is {told}")

    before = [times(each) for each in system.workers]
    at = await control(system, verb, **body)
    for worker, count in zip(system.workers, before, strict=True):

        def knows(worker: Command = worker, count: int = count) -> bool:
            return times(worker) > count

        await worker.wait_until(knows, f"the {verb} is known")
    return at


async def state(system: System) -> dict[str, Any]:
    found: dict[str, Any] = await system.admin("GET", "flows/shop/seen", status=200)
    return found


async def test_a_pause_holds_everywhere_within_a_second_and_its_end_drains_the_backlog(
    system: System, key: Key, trigger: Trigger
) -> None:
    async with Traffic(system, trigger, key) as traffic:
        await eventually(lambda: len(traffic.ran()) > 20, PATIENCE, "calls are run")
        paused_at = await pause(system, "a release")
        ran = traffic.ran()
        assert max(ran.values()) < paused_at + _WITHIN

        count = len(traffic.sent)
        await eventually(lambda: len(traffic.sent) > count + 50, PATIENCE, "calls are accepted")
        assert traffic.ran() == ran

        async def shown() -> bool:
            found = await state(system)
            return found["state"] == "paused" and (found["queued"] or 0) >= 50

        await eventually(shown, PATIENCE, "the backlog is shown")

    await resume(system)
    await eventually(
        lambda: len(traffic.ran()) == len(traffic.sent), PATIENCE, "all that was accepted has run"
    )


async def test_all_that_is_queued_is_cancelled_with_a_reason_and_what_comes_later_runs(
    system: System, key: Key, trigger: Trigger
) -> None:
    since = datetime.now(UTC)
    traffic = Traffic(system, trigger, key)
    await pause(system, "a bad import")
    queued = [await traffic.call() for _ in range(10)]
    assert not traffic.ran()

    await control(system, "cancellations", reason="sent by mistake")
    later = await traffic.call()
    await resume(system)

    assert (await system.seen(later))["id"] == later

    async def told() -> bool:
        history = await system.history(since)
        return [history.get(each) for each in queued] == ["cancelled"] * 10

    await eventually(told, PATIENCE, "the history has them as cancelled")
    story = await system.admin("GET", f"events/{queued[0]}", status=200)
    assert story["runs"][0]["error"] == "sent by mistake"
    assert list(traffic.ran()) == [later]


async def test_a_limit_over_all_workers_holds(system: System, key: Key) -> None:
    trigger = await system.make_trigger("shop/patient")
    await system.admin("PATCH", "flows/shop/patient", {"max_running": 2}, status=200)

    async def both_share() -> bool:
        async with Redis.from_url(system.redis_url) as client:
            shares = await client.hkeys(names.shares("shop/patient"))
        return sum(each.startswith(b"wrk_") for each in shares) == 2

    await eventually(both_share, PATIENCE, "both workers keep to the limit")
    sent = [(await system.call(trigger.path, key)).event_id for _ in range(5)]

    def started() -> list[str]:
        path = system.effects / "trouble"
        lines = path.read_text().splitlines() if path.exists() else []
        return [each.split()[0] for each in lines if "started" in each]

    for finished in range(4):

        def two_are() -> bool:
            return len(started()) == finished + 2  # noqa: B023 - called in this turn

        await eventually(two_are, PATIENCE, "two are at work")
        (system.effects / f"{started()[finished]}.release").touch()
    await eventually(lambda: len(started()) == 5, PATIENCE, "all have started")
    for each in sent:
        (system.effects / f"{each}.release").touch()
    assert sorted(started()) == sorted(sent)


async def test_what_cannot_be_a_flow_keeps_no_other_from_being_registered(
    system: System,
) -> None:
    announced = [
        Served("no-group", "", 1, 0),
        Served("shop/newer", "", 1, 0, "customer.id", 1000),
        Served("shop/announced", "", 1, 0),
    ]
    flows = tuple(each.address for each in announced)
    worker = Announcement(
        ids.new(ids.WORKER), "here", 1, time.time(), flows, 1, 0, tuple(announced)
    )
    async with Redis.from_url(system.redis_url) as client:
        await worker.write(client)
        await system.registered("shop/announced")
        await worker.withdraw(client)
    listed = await system.admin("GET", "groups/shop/flows", status=200)
    assert "newer" not in {each["slug"] for each in listed["items"]}
