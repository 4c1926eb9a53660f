"""The executors: where the function of a flow runs.

    async def                      the event loop; at its timeout it is cancelled
    def                            a thread; at its timeout it is abandoned, and goes on
    def, with executor="process"   a process; at its timeout it is killed (see `processes`)

The time of an attempt runs from the moment at which the function is called.
"""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, cast

from turnout.shared import log
from turnout.workers import logs
from turnout.workers.attempt import Failure, Success, call, invoke
from turnout.workers.context import Context
from turnout.workers.flow import Flow
from turnout.workers.processes import Processes

logger = log.get(__name__)


class Executor(Protocol):
    """Runs the function of one flow."""

    async def run(self, context: Context) -> Success | Failure:
        """Make one attempt.

        Raises:
            asyncio.CancelledError: the worker gives the attempt up.
        """

    async def close(self) -> None:
        """Wait for what is still at work."""


def _ignore(abandoned: int) -> None:
    """Do nothing."""


def executor_of(flow: Flow, limit: int, on_abandoned: Callable[[int], None] = _ignore) -> Executor:
    """Make the executor of a flow.

    Args:
        flow: whose function it runs.
        limit: how many runs are in progress at once.
        on_abandoned: called with the number of abandoned attempts that are still at work, each
            time it changes.
    """
    if flow.executor == "loop":
        return Loop(flow)
    if flow.executor == "thread":
        return Threads(flow, limit, on_abandoned)
    return Processes(flow, limit)


class Loop:
    """Runs an `async def` where it is awaited.

    All attempts of a flow have the same time, so they run out of it in the order in which they
    began: one timer, for the oldest, serves all. `asyncio.timeout` would cost each of them more
    than the rest of its way through a worker.
    """

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self._loop = asyncio.get_running_loop()
        self._running: dict[asyncio.Task[Any], float] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def run(self, context: Context) -> Success | Failure:
        """Make one attempt."""
        timeout = self._flow.timeout
        if timeout is not None:
            return await self._run_within(timeout, context)
        try:
            return Success(await invoke(self._flow, context))
        # SystemExit and the like are the flow's failure too: they must not end the worker.
        except BaseException as error:  # noqa: BLE001 - whatever it is becomes a value
            return _failed(error)

    async def close(self) -> None:
        """Do nothing: the runs are awaited by who started them."""

    async def _run_within(self, timeout: float, context: Context) -> Success | Failure:
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        context.begin(timeout)
        ends = self._running[task] = self._loop.time() + timeout
        if self._timer is None:
            self._timer = self._loop.call_at(ends, self._end_the_oldest)
        try:
            end: Success | Failure = Success(await invoke(self._flow, context))
        except BaseException as error:  # noqa: BLE001 - whatever it is becomes a value
            if self._running.pop(task, None) is None and not task.uncancel():
                end = Failure.of(error)
                if isinstance(error, asyncio.CancelledError):
                    end = end._replace(error=Failure.out_of_time(timeout).error)
                return end
            return _failed(error)
        if self._running.pop(task, None) is None:
            task.uncancel()  # it came to its end all the same
        return end

    def _end_the_oldest(self) -> None:
        """Cancel what is out of time, and set the timer for what is next."""
        self._timer = None
        now = self._loop.time()
        for task, ends in list(self._running.items()):
            if ends > now:
                self._timer = self._loop.call_at(ends, self._end_the_oldest)
                return
            del self._running[task]
            task.cancel()


class Threads:
    """Runs a plain function in threads, as many as there may be runs.

    A thread whose attempt was abandoned keeps its place until it ends: an attempt that finds no
    free thread waits for one, and has not begun.
    """

    def __init__(
        self, flow: Flow, limit: int, on_abandoned: Callable[[int], None] = _ignore
    ) -> None:
        self._flow = flow
        self._pool = ThreadPoolExecutor(limit, thread_name_prefix=flow.address)
        self._free = asyncio.Semaphore(limit)
        self._loop = asyncio.get_running_loop()
        self._abandoned = 0
        self._on_abandoned = on_abandoned

    async def run(self, context: Context) -> Success | Failure:
        """Make one attempt."""
        await self._free.acquire()
        timeout = self._flow.timeout
        if timeout is not None:
            context.begin(timeout)
        end: asyncio.Future[Success | Failure] = self._loop.create_future()
        # For what is bound to the run, and what it logs.
        here = contextvars.copy_context()
        self._pool.submit(here.run, self._work, context, end)
        try:
            await asyncio.wait([end], timeout=timeout)
        finally:
            if not end.done():
                end.cancel()
                self._count(1)
        if not end.cancelled() or timeout is None:
            return end.result()
        logger.warning(
            "thread is abandoned", flow=self._flow.address, still_at_work=self._abandoned
        )
        return Failure.out_of_time(timeout, "; its thread goes on")

    async def close(self) -> None:
        """Wait for the threads, those that were abandoned too."""
        await self._loop.run_in_executor(None, self._pool.shutdown)

    def _work(self, context: Context, end: "asyncio.Future[Success | Failure]") -> None:
        done = call(self._flow, context)
        self._loop.call_soon_threadsafe(self._ended, end, done)

    def _ended(self, end: "asyncio.Future[Success | Failure]", done: Success | Failure) -> None:
        self._free.release()
        if end.cancelled():
            self._count(-1)
        else:
            end.set_result(done)

    def _count(self, more: int) -> None:
        self._abandoned += more
        self._on_abandoned(self._abandoned)


async def with_logs(attempt: Awaitable[Success | Failure]) -> Success | Failure:
    """Make an attempt for somebody who waits for what it logs, too."""
    with logs.collecting() as lines:
        end = await attempt
    return end._replace(logs=(*end.logs, *lines))


def _failed(error: BaseException) -> Failure:
    """Take what a flow raised for its failure, unless it is the worker that gives it up."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise error
    return Failure.of(error)
