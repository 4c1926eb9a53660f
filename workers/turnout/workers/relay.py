"""The relay: runs that do not wait are executed one after the other, in one task.

To make a task for a run costs more than all the rest of the way of a short one through a worker. So
one task takes run after run. The first that has to wait keeps the task until it has ended; those
after it get a task each, because they will most likely wait too, until one does not:

    task 1   ██ ██ ██▒▒▒▒▒▒▒██          ██ at work   ▒▒ waits
    task 2           ██▒▒▒▒▒▒▒██
    task 3             ██
    task 4               ██ ██ ██ ██

Each run has a copy of the context, in a shared task as in one of its own: no context variable that
it sets is seen by another.
"""

import asyncio
import contextvars
import time
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from types import coroutine
from typing import Any, cast

from turnout.workers.run import Run

#: Seconds for which runs go on one after the other before the event loop looks at what else there
#: is. What they report meanwhile leaves together: shorter turns mean more messages for the broker.
_TURN = 0.01


class Relay:
    """Executes runs.

    Args:
        execute: makes the coroutine of a run.
    """

    def __init__(self, execute: Callable[[Run], Coroutine[Any, Any, None]]) -> None:
        self._execute = execute
        self._loop = asyncio.get_running_loop()
        self._ready: deque[Run] = deque()
        self._is_attended = False  # a task will look at what is ready
        self._waits = False  # the next run will most likely have to wait
        self._latest: Run | None = None

    def add(self, run: Run) -> None:
        """Execute a run as soon as the event loop gets to it."""
        if self._waits:
            self._start(run)
            return
        self._ready.append(run)
        if not self._is_attended:
            self._go_on()

    def _start(self, run: Run) -> None:
        run.task = self._loop.create_task(self._alone(run))

    async def _alone(self, run: Run) -> None:
        self._latest = run
        await self._execute(run)
        if self._latest is run:  # it did not wait, or no other began while it did
            self._waits = False

    def _go_on(self) -> None:
        """Have another task look at what is ready."""
        self._is_attended = bool(self._ready)
        if self._is_attended:
            self._loop.create_task(self._in_a_row())

    async def _in_a_row(self) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        until = time.monotonic() + _TURN
        try:
            while self._ready and time.monotonic() < until:
                run = self._ready.popleft()
                run.task = task
                has_waited = await _apart(self._execute(run), self._spread)
                run.task = None  # whoever cancels it must not hit the next one
                # A task that was asked to end is not fit for another run.
                if has_waited or task.cancelling():
                    return
        finally:
            self._go_on()

    def _spread(self) -> None:
        """Give what is ready a task each."""
        self._waits = True
        self._is_attended = False
        while self._ready:
            self._start(self._ready.popleft())


@coroutine
def _apart(
    run: Coroutine[Any, Any, None], on_wait: Callable[[], None]
) -> Generator[Any, Any, bool]:
    """Await a coroutine in a context of its own.

    Args:
        run: the coroutine.
        on_wait: called when it waits for the first time.

    Returns:
        Whether it had to wait.
    """
    enter = contextvars.copy_context().run
    try:
        awaited = enter(run.send, None)
    except StopIteration:
        return False
    on_wait()
    while True:
        step: Callable[[], Any]
        try:
            answer = yield awaited
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is for the run
            step = partial(run.throw, error)
        else:
            step = partial(run.send, answer)
        try:
            awaited = enter(step)
        except StopIteration:
            return True
