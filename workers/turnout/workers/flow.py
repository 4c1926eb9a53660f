"""What a flow is: a function, the address it answers to, how it is run and retried."""

import inspect
import math
import os
import re
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeVar, cast

from turnout.shared import names, ordering
from turnout.shared.errors import FlowError, InvalidName
from turnout.workers.context import Context
from turnout.workers.event import Event

#: The attribute that `@flow` sets on a function. Nothing is registered anywhere else: who loads a
#: module collects the functions that carry it.
_MARK = "__turnout_flow__"

Function = TypeVar("Function", bound=Callable[[Event], Any] | Callable[[Event, Context], Any])

#: Where the function of a flow runs.
Executor = Literal["loop", "thread", "process"]

#: Each run of a plain function needs a thread or a process of its own. Of more threads than this
#: nobody has anything in one process, unless the flow's author knows better.
MOST_THREADS = 32

_VERSION = re.compile(r"[!-~]{1,64}")


class Flow(NamedTuple):
    """A declared flow."""

    group: str
    name: str
    function: Callable[..., Any]
    source: str
    """Where it is declared: "file:line"."""
    executor: Executor = "loop"
    takes_context: bool = False
    retries: int = 3
    """How many further attempts follow a failed first one."""
    backoff: float = 1.0
    """Seconds; the greatest delay before the second attempt. It doubles with each further one."""
    timeout: float | None = None
    """Seconds that one attempt may take; None: any time."""
    concurrency: int | None = None
    """How many runs may be in progress at once in one process; None: as the worker is set."""
    version: str = ""
    ordered_by: str | None = None
    """Where the key stands in the body, if runs of one key go one after the other."""
    partitions: int | None = None
    """How many queues it has then."""

    @property
    def address(self) -> str:
        """Its name for people: "group/flow"."""
        return f"{self.group}/{self.name}"

    @property
    def queue(self) -> str:
        """The name of its queue."""
        return names.flow_queue(self.group, self.name)

    @property
    def queues(self) -> tuple[str, ...]:
        """The names of its queues: one, or one for each partition."""
        return ordering.queues(self.group, self.name, self.partitions)

    def limit(self, default: int) -> int:
        """Return how many runs of it may be in progress at once in one process.

        Args:
            default: for a flow whose author says nothing.
        """
        if self.concurrency is not None:
            return self.concurrency
        return min(
            default, {"thread": MOST_THREADS, "process": _cores()}.get(self.executor, default)
        )


def flow(
    address: str,
    *,
    retries: int = 3,
    backoff: float = 1.0,
    timeout: float | None = None,
    concurrency: int | None = None,
    version: str = "",
    executor: Literal["thread", "process"] = "thread",
    ordered_by: str | None = None,
    partitions: int | None = None,
) -> Callable[[Function], Function]:
    """Declare a function to be a flow. The function itself stays as it is, and can be called.

    It takes the event, and a `Context` too if it has a second parameter. An `async def` runs on the
    worker's event loop; a `def` runs in a thread or a process. Any exception is a failed attempt;
    what is returned, if JSON can carry it, is kept with the run.

    Args:
        address: "group/flow", each 1 to 40 of a-z, 0-9 and "-".
        retries: how many further attempts follow a failed first one.
        backoff: seconds; the greatest delay before the second attempt, doubled with each further
            one. The delay is drawn at random below it, and is from 1 second to 1 hour.
        timeout: seconds after which an attempt has failed; None: when nine tenths of
            TURNOUT_DELIVERY_TIMEOUT are over. An `async def` is cancelled then, and a process
            killed. A thread cannot be stopped: it is abandoned, and may still be at work when the
            next attempt runs.
        concurrency: how many runs may be in progress at once in one worker process; None: as many
            as the worker is told, but at most 32 in threads, and in processes one for each core.
        version: of the code, at most 64 characters without spaces; shown with each run.
        executor: where a `def` runs: in a "thread", or, if it computes for long, in a "process" of
            its own, so that it does not hold up the others.
        ordered_by: where the key stands in the JSON body, for example "customer.id": events of one
            key run strictly one after the other, those of other keys beside them. A failed attempt
            is repeated in place, and its key waits for it.
        partitions: of an ordered flow: into how many queues the keys are spread, which is also how
            many worker processes can share it; 8 if nothing is said. Both are fixed when the flow
            is registered.

    Raises:
        FlowError: the address, an option or the function cannot work; says which and why.
    """
    if not isinstance(address, str):
        raise FlowError(
            f"@flow stands without an address: write @flow('group/name'), not {address!r}"
        )
    try:
        group, name = names.flow_address(address)
    except InvalidName as error:
        raise FlowError(str(error)) from None
    is_endless, is_any = timeout is None, concurrency is None
    for option, value, is_right, use in (
        ("retries", retries, _is_count(retries, 0), "a whole number, 0 or more"),
        ("backoff", backoff, _is_time(backoff), "seconds, more than 0"),
        ("timeout", timeout, is_endless or _is_time(timeout), "seconds, more than 0, or None"),
        ("concurrency", concurrency, is_any or _is_count(concurrency, 1), "1 or more, or None"),
        ("version", version, _is_version(version), "at most 64 ASCII characters without spaces"),
        ("executor", executor, executor in {"thread", "process"}, "'thread' or 'process'"),
        ("ordered_by", ordered_by, isinstance(ordered_by, str | None), "'customer.id', or None"),
        ("partitions", partitions, isinstance(partitions, int | None), "a whole number, or None"),
    ):
        if not is_right:
            raise FlowError(f"flow {address}: {option} is {value!r:.80}; use {use}")
    try:
        partitions = ordering.count(ordered_by, partitions)
    except InvalidName as error:
        raise FlowError(f"flow {address}: {error}") from None

    def declare(function: Function) -> Function:
        _check(address, function, executor)
        declared = Flow(
            group=group,
            name=name,
            function=function,
            source=_source(function),
            executor="loop" if inspect.iscoroutinefunction(function) else executor,
            takes_context=_takes_context(address, function),
            retries=retries,
            backoff=backoff,
            timeout=timeout,
            concurrency=concurrency,
            version=version,
            ordered_by=ordered_by,
            partitions=partitions,
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


def _is_count(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def _is_version(value: object) -> bool:
    return isinstance(value, str) and (not value or _VERSION.fullmatch(value) is not None)


def _check(address: str, function: Callable[..., Any], executor: Executor) -> None:
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
    if executor == "process":
        if inspect.iscoroutinefunction(function):
            raise FlowError(
                f"flow {address}: {function.__name__} is an `async def`, which runs on the event "
                "loop; write `def`, or leave out executor='process'"
            )
        if "<locals>" in function.__qualname__:
            raise FlowError(
                f"flow {address}: {function.__name__} is inside another function, where its "
                "process cannot find it; move it to the top level of the module"
            )


def _takes_context(address: str, function: Callable[..., Any]) -> bool:
    """Tell whether it is called with a context too; a second parameter with a default is its own.

    Raises:
        FlowError: it can be called neither way.
    """
    signature = inspect.signature(function)
    second = [each for each in signature.parameters.values() if each.kind in _POSITIONAL][1:2]
    takes_context = any(
        _is_context(each.annotation)
        or (each.annotation is each.empty and each.default is each.empty)
        for each in second
    )
    try:
        signature.bind(*(None, None) if takes_context else (None,))
    except TypeError:
        raise FlowError(
            f"flow {address}: {function.__name__} must take the event, or the event and a Context"
        ) from None
    return takes_context


_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def _is_context(annotation: object) -> bool:
    # With `from __future__ import annotations` it is the text.
    return annotation is Context or (
        isinstance(annotation, str) and annotation.rpartition(".")[2] == Context.__name__
    )


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _is_elsewhere_in_its_file(other: Flow, function: Callable[..., Any]) -> bool:
    """Tell a name that is used twice from a module that is read again."""
    source = _source(function)
    return other.source != source and _file(other.source) == _file(source)


def _file(source: str) -> str:
    return source.rpartition(":")[0]


def _source(function: Callable[..., Any]) -> str:
    code = inspect.unwrap(function).__code__
    return f"{code.co_filename}:{code.co_firstlineno}"
