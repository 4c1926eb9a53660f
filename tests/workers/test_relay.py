import asyncio
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar

import pytest
from tests.support.waiting import eventually

from turnout.shared.amqp import Delivery
from turnout.workers.consumer import Consumer
from turnout.workers.relay import Relay
from turnout.workers.run import Run

Action = Callable[[], Awaitable[None]]

colour: ContextVar[str] = ContextVar("colour", default="none")


class Track:
    """A relay whose runs do what a test says."""

    def __init__(self) -> None:
        self._consumer = Consumer("queue", lambda *_: None, lambda _: None)
        self._actions: dict[Run, Action] = {}
        self._relay = Relay(self._execute)
        self.ended: list[int] = []
        self.tasks: list[asyncio.Task[None] | None] = []

    def run(self, action: Action) -> Run:
        delivery = Delivery(len(self._actions) + 1, False, "key", b"", b"")
        run = Run(self._consumer, delivery, lambda _: True)
        self._actions[run] = action
        self._relay.add(run)
        return run

    async def all_ended(self) -> None:
        await self.number_ended(len(self._actions))

    async def number_ended(self, number: int) -> None:
        await eventually(lambda: len(self.ended) >= number)

    async def _execute(self, run: Run) -> None:
        self.tasks.append(asyncio.current_task())
        try:
            await self._actions[run]()
        finally:
            self.ended.append(run.delivery.tag)


@pytest.fixture
async def track() -> Track:
    return Track()


async def nothing() -> None:
    pass


async def a_moment() -> None:
    await asyncio.sleep(0.001)


async def test_runs_that_do_not_wait_share_a_task(track: Track) -> None:
    for _ in range(30):
        track.run(nothing)
    await track.all_ended()
    assert len(set(track.tasks)) == 1


async def test_a_run_that_waits_has_its_task_for_itself_and_holds_up_nobody(track: Track) -> None:
    go_on = asyncio.Event()

    async def wait() -> None:
        await go_on.wait()

    actions = [nothing, nothing, wait, nothing, nothing, wait, nothing, nothing]
    for action in actions:
        track.run(action)
    await track.number_ended(6)
    for _ in range(20):
        track.run(nothing)
    await track.number_ended(26)
    held = {track.tasks[number] for number, action in enumerate(actions) if action is wait}
    assert len(held) == 2
    assert not held & set(track.tasks[8:])
    go_on.set()
    await track.all_ended()
    assert len(track.ended) == 28


async def test_the_event_loop_goes_on_between_many_runs(track: Track) -> None:
    turns: list[int] = []

    async def compute() -> None:
        time.sleep(0.002)  # noqa: ASYNC251 - that is what it is about

    async def count_turns() -> None:
        while len(track.ended) < 40:
            turns.append(len(track.ended))
            await asyncio.sleep(0)

    for _ in range(40):
        track.run(compute)
    await asyncio.gather(count_turns(), track.all_ended())
    assert len(turns) > 3


async def test_no_run_sees_the_context_variables_of_another(track: Track) -> None:
    seen: list[str] = []

    async def paint() -> None:
        seen.append(colour.get())
        colour.set("red")

    async def paint_slowly() -> None:
        await paint()
        await asyncio.sleep(0)
        assert colour.get() == "red"

    for action in [paint, paint, paint_slowly, paint, paint_slowly, paint]:
        track.run(action)
    await track.all_ended()
    assert seen == ["none"] * 6
    assert colour.get() == "none"


async def test_timeouts_and_task_groups_work_in_a_shared_task(track: Track) -> None:
    ended_in: list[str] = []

    async def too_long() -> None:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(60)
        except TimeoutError:
            ended_in.append("timeout")

    async def together() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(a_moment())
            group.create_task(a_moment())
        ended_in.append("group")

    for action in [nothing, too_long, nothing, together, nothing, too_long]:
        track.run(action)
    await track.all_ended()
    assert sorted(ended_in) == ["group", "timeout", "timeout"]


async def test_to_cancel_a_run_hits_no_other(track: Track) -> None:
    done: list[str] = []

    async def slowly() -> None:
        await asyncio.sleep(0.1)
        done.append("slowly")

    ended = track.run(nothing)
    cancelled = track.run(slowly)
    for _ in range(3):
        track.run(slowly)
    await asyncio.sleep(0)  # one turn of the event loop
    assert ended.task is None  # its task has gone on to another run
    assert cancelled.task is not None
    cancelled.task.cancel()
    await track.all_ended()
    assert done == ["slowly"] * 3


async def test_a_run_that_cancels_its_own_task_takes_no_other_with_it(track: Track) -> None:
    done: list[int] = []

    async def end_itself() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()

    async def note() -> None:
        await a_moment()
        done.append(1)

    for action in [end_itself, note, end_itself, note]:
        track.run(action)
    await track.all_ended()
    assert len(done) == 2
