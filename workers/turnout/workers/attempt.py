"""One attempt: the flow's function is called, and whatever comes of it becomes a value."""

import asyncio
import inspect
import traceback
from concurrent.futures import Executor
from typing import Any, NamedTuple, Self

from turnout.shared import keys
from turnout.shared.errors import FlowError
from turnout.workers.event import Event
from turnout.workers.flow import Flow

#: Greatest number of characters of an error and of a traceback that are kept.
_ERROR = 500
_TRACEBACK = 8000

_HIDDEN = (
    "it returned a coroutine that nobody awaits: a decorator below @flow hides that the function "
    "is an `async def`"
)


class Success(NamedTuple):
    """The flow returned."""

    result: Any


class Failure(NamedTuple):
    """The flow raised, or took too long."""

    error: str
    """The exception in one line."""
    traceback: str

    @classmethod
    def of(cls, error: BaseException) -> Self:
        """Describe an exception that was caught where the flow was called."""
        line = " ".join("".join(traceback.format_exception_only(error)).split())
        own = error.__traceback__
        told = traceback.format_exception(type(error), error, own.tb_next if own else None)
        return cls(_plain(line)[:_ERROR], _plain("".join(told))[-_TRACEBACK:])


async def attempt(flow: Flow, event: Event, threads: Executor | None) -> Success | Failure:
    """Call the flow's function.

    Args:
        flow: whose function is called.
        event: its argument.
        threads: where a plain function runs.

    Raises:
        asyncio.CancelledError: the worker gives the attempt up.
    """
    limit = asyncio.timeout(flow.timeout)
    try:
        async with limit:
            if flow.is_async:
                return Success(await flow.function(event))
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(threads, _call, flow, event)
    # SystemExit and the like are the flow's failure too: they must not end the worker.
    except BaseException as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        failure = Failure.of(error)
        if limit.expired() and isinstance(error, TimeoutError):
            failure = failure._replace(error=f"TimeoutError: not done within {flow.timeout} s")
        return failure


def _call(flow: Flow, event: Event) -> Success | Failure:
    """Call a plain function, in its thread.

    A future cannot carry every exception (StopIteration), so none leaves the thread.
    """
    try:
        result = flow.function(event)
    except BaseException as error:  # noqa: BLE001 - whatever it is becomes a value
        return Failure.of(error)
    if inspect.iscoroutine(result):
        result.close()
        return Failure.of(FlowError(_HIDDEN))
    return Success(result)


def _plain(text: str) -> str:
    """Take out keys, and what UTF-8 cannot carry."""
    return keys.scrub(text).encode("utf-8", "replace").decode()
