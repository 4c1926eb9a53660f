"""Lifespans: what a worker process opens once for its flows, such as a pool of connections.

@lifespan
async def database() -> AsyncIterator[Pool]:
    async with create_pool(URL) as pool:
        yield pool

@flow("crm/update")
async def update(event: Event, context: Context) -> None:
    await context.resources[database].execute(...)

opened, one after the other ──▶ runs ──▶ drained ──▶ closed, the last one first
   └── one fails: the others are closed, and the worker ends with the reason
"""

import inspect
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any, Generic, TypeVar, cast

from turnout.shared import log
from turnout.shared.errors import FlowError

logger = log.get(__name__)

Resource = TypeVar("Resource")

#: All that were ever declared, in order. Those of modules that nobody has any more are not live.
_declared: list["Lifespan[Any]"] = []


class Lifespan(Generic[Resource]):
    """How a resource is opened and closed, and the key under which flows find it.

    Called, it returns an asynchronous context manager, for whoever wants the resource elsewhere.

    Attributes:
        name: of its function.
        source: where it is declared: "file:line".
    """

    def __init__(
        self, function: Callable[[], AsyncIterator[Resource] | Iterator[Resource]]
    ) -> None:
        self.name = function.__name__
        self.source = f"{function.__code__.co_filename}:{function.__code__.co_firstlineno}"
        self._function = function

    def __repr__(self) -> str:
        return f"<lifespan {self.name} at {self.source}>"

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[Resource]:
        """Open the resource; leaving the context closes it."""
        if inspect.isasyncgenfunction(self._function):
            async with asynccontextmanager(self._function)() as resource:
                yield resource
        else:
            with contextmanager(self._function)() as resource:  # type: ignore[arg-type]
                yield resource

    @property
    def is_live(self) -> bool:
        """Whether its module still has it; one that stands inside a function is nobody's."""
        module = sys.modules.get(self._function.__module__)
        return getattr(module, self._function.__qualname__, None) is self


def lifespan(
    function: Callable[[], AsyncIterator[Resource]] | Callable[[], Iterator[Resource]],
) -> Lifespan[Resource]:
    """Declare a resource that is open as long as the worker process lives.

    The function takes nothing and yields once, as for `contextlib.asynccontextmanager` or
    `contextlib.contextmanager`. It stands at the top level of a module; a worker opens those of all
    modules that it has imported.

    Raises:
        FlowError: the function cannot be a lifespan; says why.
    """
    made = Lifespan(function)
    if not (inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)):
        raise FlowError(f"lifespan {made.name}: it must `yield` the resource, once")
    if inspect.signature(function).parameters:
        raise FlowError(f"lifespan {made.name}: it must take no arguments")
    other = next((each for each in declared() if _would_replace(made, each)), None)
    if other is not None:
        raise FlowError(
            f"lifespan {made.name} would replace the one of that name at {other.source}; "
            "call it something else"
        )
    _declared.append(made)
    return made


def declared() -> list[Lifespan[Any]]:
    """Return the lifespans of all modules that are imported, in the order of their declaration."""
    return [each for each in _declared if each.is_live]


class Resources:
    """What lifespans have opened.

    Args:
        opened: the resources.
        remedy: what to do about a lifespan that is not among them.
    """

    def __init__(self, opened: Mapping[Lifespan[Any], Any], remedy: str) -> None:
        self._opened = opened
        self._remedy = remedy

    def __getitem__(self, lifespan: Lifespan[Resource]) -> Resource:
        """Return the resource of a lifespan.

        Raises:
            FlowError: it is not open; says what to do.
        """
        if lifespan not in self._opened:
            raise FlowError(f"{lifespan!r} is not open here: {self._remedy}")
        return cast("Resource", self._opened[lifespan])


@asynccontextmanager
async def opened(lifespans: Iterable[Lifespan[Any]]) -> AsyncIterator[Resources]:
    """Open lifespans one after the other; leaving the context closes them, the last one first.

    Raises:
        FlowError: one of them cannot be opened; those before it are closed again.
    """
    resources: dict[Lifespan[Any], Any] = {}
    open_ones: list[tuple[Lifespan[Any], AbstractAsyncContextManager[Any]]] = []
    try:
        for each in lifespans:
            manager = each()
            try:
                resources[each] = await manager.__aenter__()
            except Exception as error:
                raise FlowError(
                    f"{each!r} cannot be opened: {type(error).__name__}: {error}"
                ) from error
            open_ones.append((each, manager))
        yield Resources(resources, "declare it at the top level of a module")
    finally:
        # No exit stack: that would throw what went wrong in one into the others.
        for each, manager in reversed(open_ones):
            try:
                await manager.__aexit__(None, None, None)
            except Exception:
                logger.exception("lifespan was not closed in order", lifespan=each.name)


def _would_replace(made: Lifespan[Any], other: Lifespan[Any]) -> bool:
    """Tell a name that is used twice in a file from a module that is read again."""
    return (
        made.name == other.name
        and made.source != other.source
        and made.source.rpartition(":")[0] == other.source.rpartition(":")[0]
    )
