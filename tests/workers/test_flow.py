import functools
import os
from collections.abc import Callable
from typing import Any

import pytest
from tests.workers.making import event

from turnout import workers
from turnout.shared.errors import FlowError
from turnout.workers import Context, Event, flow
from turnout.workers.flow import declared


def test_a_flow_stays_a_function_that_can_be_called() -> None:
    @flow("demo/hello", retries=5, backoff=2.5, timeout=30)
    def hello(event: Event) -> str:
        return event.id

    assert hello(event()) == event().id
    found = declared(hello)
    assert found is not None
    assert (found.address, found.queue) == ("demo/hello", "turnout.flow.demo.hello")
    assert (found.retries, found.backoff, found.timeout) == (5, 2.5, 30)
    assert found.executor == "thread"
    assert found.source.startswith(__file__)


def test_an_async_function_is_known_as_such() -> None:
    @flow("demo/hello")
    async def hello(event: Event) -> None: ...

    found = declared(hello)
    assert found is not None
    assert found.executor == "loop"
    assert (found.retries, found.backoff, found.timeout) == (3, 1.0, None)
    assert (found.concurrency, found.version) == (None, "")


def _computes(event: Event) -> None: ...


@pytest.mark.parametrize(
    ("function", "options", "default", "limit"),
    [
        (_computes, {}, 10, 10),
        (_computes, {}, 100, 32),
        (_computes, {"concurrency": 50}, 100, 50),
        (_computes, {"executor": "process"}, 100, len(os.sched_getaffinity(0))),
        (_computes, {"executor": "process", "concurrency": 7}, 100, 7),
    ],
)
def test_its_author_or_else_the_worker_says_how_many_runs_are_in_progress(
    function: Callable[[Event], Any], options: dict[str, Any], default: int, limit: int
) -> None:
    def same(event: Event) -> None: ...

    same.__qualname__ = function.__qualname__
    found = declared(flow("demo/hello", **options)(same))
    assert found is not None
    assert found.limit(default) == limit


def test_a_flow_may_take_the_context_too() -> None:
    def takes(event: Event, context: Context) -> None: ...

    def takes_by_text(event: Event, anything: "workers.Context") -> None: ...

    def takes_untold(event, context): ...  # type: ignore[no-untyped-def]

    def takes_none(event: Event, dry_run: bool = False) -> None: ...

    for function, takes_context in (
        *((takes, True), (takes_by_text, True), (takes_untold, True), (takes_none, False)),
    ):
        found = declared(flow("demo/hello")(function))
        assert found is not None
        assert found.takes_context is takes_context


@pytest.mark.parametrize("value", [None, 1, print, Event, declared])
def test_anything_else_is_no_flow(value: object) -> None:
    assert declared(value) is None


@pytest.mark.parametrize(
    ("address", "options", "message"),
    [
        ("hello", {}, "no group"),
        ("demo/Hello", {}, "'Hello' is not a slug"),
        ("demo/hello/world", {}, "not a slug"),
        (print, {}, "stands without an address: write @flow"),
        *(
            ("demo/hello", {option: value}, f"^flow demo/hello: {option} is {value!r}; use ")
            for option, values in {
                "retries": (-1, 2.5, "5", None, True),
                "backoff": (0, -1, float("inf"), "1", None),
                "timeout": (0.0, float("nan"), "30", True),
                "concurrency": (0, 1.5, "4"),
                "version": ("a b", "x" * 65, 3, None),
                "executor": ("fiber", None),
                "ordered_by": ("", "a..b", 3),
            }.items()
            for value in values
        ),
        ("demo/hello", {"partitions": 4}, "^flow demo/hello: partitions go with ordered_by"),
        *(
            ("demo/hello", {"ordered_by": "id", "partitions": value}, f"partitions is {value!r}")
            for value in (0, 65, "4", 2.0)
        ),
    ],
)
def test_what_cannot_work_is_refused(address: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(FlowError, match=message):
        flow(address, **options)


def _generator(event: Event) -> Any:
    yield event


async def _async_generator(event: Event) -> Any:
    yield event


def _no_argument() -> None: ...


def _two_arguments(event: Event, more: int) -> None: ...


def _keyword(*, event: Event) -> None: ...


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (_generator, "_generator is a generator"),
        (_async_generator, "_async_generator is a generator"),
        (_no_argument, "_no_argument must take the event"),
        (_two_arguments, "_two_arguments must take the event"),
        (_keyword, "_keyword must take the event"),
        (Event, "stands above a function, not <class"),
    ],
)
def test_a_function_that_cannot_be_a_flow_is_refused(
    function: Callable[[Event], Any], message: str
) -> None:
    with pytest.raises(FlowError, match=message):
        flow("demo/hello")(function)


async def _asynchronous(event: Event) -> None: ...


def test_what_cannot_run_in_a_process_is_refused() -> None:
    def inner(event: Event) -> None: ...

    with pytest.raises(FlowError, match="_asynchronous is an `async def`"):
        flow("demo/hello", executor="process")(_asynchronous)
    with pytest.raises(FlowError, match="inner is inside another function"):
        flow("demo/hello", executor="process")(inner)


def test_a_function_is_one_flow() -> None:
    with pytest.raises(FlowError, match="is a flow already"):

        @flow("demo/one")
        @flow("demo/two")
        def hello(event: Event) -> None: ...


def test_a_decorator_above_is_refused_because_it_would_not_run() -> None:
    def measured(function: Callable[[Event], None]) -> Callable[[Event], None]:
        @functools.wraps(function)
        def call(event: Event) -> None:
            function(event)

        return call

    @measured
    @flow("demo/hello")
    def hello(event: Event) -> None: ...

    with pytest.raises(FlowError, match="must be the topmost decorator"):
        declared(hello)
