"""One attempt: the flow's function is called, and whatever comes of it becomes a value."""

import inspect
import sysconfig
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from turnout.shared import keys
from turnout.shared.errors import FlowError
from turnout.workers.context import Context
from turnout.workers.errors import Reject, Retry
from turnout.workers.flow import Flow

#: Greatest number of characters of an error, a traceback and a place that are kept.
_ERROR = 500
_TRACEBACK = 8000
_PLACE = 200

#: Frames of these files lead to the function, and say nothing about it.
_OURS = str(Path(__file__).parent)

#: Where code is that the author of a flow has not written.
_LIBRARIES = tuple(
    sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")
)

_HIDDEN = (
    "it returned a coroutine that nobody awaits: a decorator below @flow hides that the function "
    "is an `async def`"
)


class Success(NamedTuple):
    """The flow returned."""

    result: Any
    logs: tuple[str, ...] = ()
    """What it logged, if it was a test."""


class Failure(NamedTuple):
    """The flow raised, or took too long."""

    error: str
    """The exception in one line."""
    traceback: str = ""
    place: str = ""
    """Where in the author's code it came from: "orders/flows.py:42 in charge"."""
    logs: tuple[str, ...] = ()
    """What it logged, if it was a test."""
    is_final: bool = False
    """The flow has rejected the event."""
    after: float | None = None
    """Seconds after which the flow wants to be tried again."""

    @classmethod
    def of(cls, error: BaseException) -> Self:
        """Describe an exception that was caught where the flow was called."""
        line = " ".join("".join(traceback.format_exception_only(error)).split())
        theirs = error.__traceback__
        while theirs is not None and theirs.tb_frame.f_code.co_filename.startswith(_OURS):
            theirs = theirs.tb_next
        told = traceback.format_exception(type(error), error, theirs)
        return cls(
            _plain(line)[:_ERROR],
            _plain("".join(told))[-_TRACEBACK:],
            _plain(_place(theirs))[:_PLACE],
            is_final=isinstance(error, Reject),
            after=error.after if isinstance(error, Retry) else None,
        )

    @classmethod
    def out_of_time(cls, seconds: float, consequence: str = "") -> Self:
        """Say that the flow took too long, and what that means for what is still at work."""
        return cls(f"TimeoutError: not done within {seconds:g} s{consequence}")


def call(flow: Flow, context: Context) -> Success | Failure:
    """Call a plain function, in its thread or process.

    A future cannot carry every exception (StopIteration), so none leaves it. SystemExit and the
    like are the flow's failure too: they must not end the worker.
    """
    try:
        result = invoke(flow, context)
    except BaseException as error:  # noqa: BLE001 - whatever it is becomes a value
        return Failure.of(error)
    if inspect.iscoroutine(result):
        result.close()
        return Failure.of(FlowError(_HIDDEN))
    return Success(result)


def invoke(flow: Flow, context: Context) -> Any:
    """Call the function with what it takes."""
    if flow.takes_context:
        return flow.function(context.event, context)
    return flow.function(context.event)


def _place(raised: TracebackType | None) -> str:
    """Return where an exception came from: the last line of the author's own, or of the flow."""
    frames = traceback.extract_tb(raised)
    if not frames:
        return ""
    own = [each for each in frames if not each.filename.startswith(_LIBRARIES)]
    last = (own or frames[:1])[-1]
    file = "/".join(Path(last.filename).parts[-2:])
    return f"{file}:{last.lineno} in {last.name}"


def _plain(text: str) -> str:
    """Take out keys, and what UTF-8 cannot carry."""
    return keys.scrub(text).encode("utf-8", "replace").decode()
