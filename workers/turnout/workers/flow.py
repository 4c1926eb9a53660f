"""What a flow is: a function, the address it answers to, and how it is retried."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

from turnout.shared import names
from turnout.shared.errors import FlowError, InvalidName
from turnout.workers.event import Event

#: The attribute that `@flow` sets on a function. Nothing is registered anywhere else: who loads a
#: module collects the functions that carry it.
_MARK = "__turnout_flow__"

Function = TypeVar("Function", bound=Callable[[Event], Any])


class Flow(NamedTuple):
    """A declared flow."""

    group: str
    name: str
    function: Callable[[Event], Any]
    is_async: bool
    retries: int
    """How many further attempts follow a failed first one."""
    backoff: float
    """Seconds; the greatest delay before the second attempt. It doubles with each further one."""
    timeout: float | None
    """Seconds that one attempt may take; None: any time."""
    source: str
    """Where it is declared: "file:line"."""

    @property
    def address(self) -> str:
        """Its name for people: "group/flow"."""
        return f"{self.group}/{self.name}"

    @property
    def queue(self) -> str:
        """The name of its queue."""
        return names.flow_queue(self.group, self.name)


def flow(
    address: str, *, retries: int = 3, backoff: float = 1.0, timeout: float | None = None
) -> Callable[[Function], Function]:
    """Declare a function to be a flow. The function itself stays as it is, and can be called.

    An `async def` runs on the worker's event loop; a `def` runs in a thread. Any exception is a
    failed attempt; what is returned, if JSON can carry it, is kept with the run.

    Args:
        address: "group/flow", each 1 to 40 of a-z, 0-9 and "-".
        retries: how many further attempts follow a failed first one.
        backoff: seconds; the greatest delay before the second attempt, doubled with each further
            one. The delay is drawn at random below it, and is from 1 second to 1 hour.
        timeout: seconds after which an attempt has failed; None: never. An `async def` is
            cancelled then. A thread cannot be stopped: it is abandoned, and may still be at work
            when the next attempt runs.

    Raises:
        FlowError: the address, an option or the function cannot work; says which and why.
    """
    try:
        group, name = names.flow_address(address)
    except InvalidName as error:
        raise FlowError(str(error)) from None
    if retries < 0:
        raise FlowError(f"flow {address}: retries is {retries!r}; use 0 or more")
    if backoff <= 0:
        raise FlowError(f"flow {address}: backoff is {backoff!r}; use seconds, more than 0")
    if timeout is not None and timeout <= 0:
        raise FlowError(
            f"flow {address}: timeout is {timeout!r}; use seconds, more than 0, or None"
        )

    def declare(function: Function) -> Function:
        _check(address, function)
        declared = Flow(
            group=group,
            name=name,
            function=function,
            is_async=inspect.iscoroutinefunction(function),
            retries=retries,
            backoff=backoff,
            timeout=timeout,
            source=_source(function),
        )
        setattr(function, _MARK, declared)
        return function

    return declare


def declared(value: object) -> Flow | None:
    """Return the flow that `@flow` made of a function; None for anything else.

    Raises:
        FlowError: another decorator stands above `@flow`, and would not run.
    """
    if not inspect.isfunction(value):
        return None
    found = cast("Flow | None", getattr(value, _MARK, None))
    if found is not None and found.function is not value:
        raise FlowError(
            f"flow {found.address} at {found.source}: @flow must be the topmost decorator, "
            "or those above it would not run"
        )
    return found


def _check(address: str, function: Callable[[Event], Any]) -> None:
    if not inspect.isfunction(function):
        raise FlowError(f"flow {address}: @flow stands above a function, not {function!r}")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise FlowError(f"flow {address}: {function.__name__} is a generator; return, do not yield")
    if _MARK in vars(function):
        raise FlowError(
            f"flow {address}: {function.__name__} is a flow already; write two functions"
        )
    # The module's name still stands for the function that this one would replace.
    other = declared(function.__globals__.get(function.__qualname__))
    if other is not None and _is_elsewhere_in_its_file(other, function):
        raise FlowError(
            f"flow {address}: {function.__name__} would replace the function of that name at "
            f"{other.source}, which is flow {other.address}; call it something else"
        )
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        raise FlowError(
            f"flow {address}: {function.__name__} must be callable with one argument, the event"
        ) from None


def _is_elsewhere_in_its_file(other: Flow, function: Callable[[Event], Any]) -> bool:
    """Tell a name that is used twice from a module that is read again."""
    source = _source(function)
    return other.source != source and _file(other.source) == _file(source)


def _file(source: str) -> str:
    return source.rpartition(":")[0]


def _source(function: Callable[[Event], Any]) -> str:
    code = inspect.unwrap(function).__code__
    return f"{code.co_filename}:{code.co_firstlineno}"
