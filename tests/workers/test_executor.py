import asyncio
import json
import logging
import re
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog
from tests.workers.making import context, event

from turnout.shared import keys
from turnout.shared import log as log_to
from turnout.workers import Context, Event, Reject, Retry, attempt, executor, flow, logs
from turnout.workers.attempt import Failure, Success
from turnout.workers.executor import Executor, executor_of, with_logs
from turnout.workers.flow import declared


@asynccontextmanager
async def executing(
    function: Callable[..., Any], *, limit: int = 1, timeout: float | None = None
) -> AsyncIterator[Executor]:
    found = declared(flow("demo/hello", timeout=timeout)(function))
    assert found is not None
    made = executor_of(found, limit)
    yield made
    await made.close()


async def run(
    function: Callable[..., Any], *, timeout: float | None = None, **fields: Any
) -> Success | Failure:
    async with executing(function, timeout=timeout) as made:
        return await made.run(context(**fields))


async def test_what_the_flow_returns_is_its_result() -> None:
    async def on_the_loop(event: Event) -> Any:
        return event.id, threading.current_thread() is threading.main_thread()

    def in_a_thread(event: Event) -> Any:
        return event.id, threading.current_thread() is threading.main_thread()

    assert await run(on_the_loop) == Success((event().id, True))
    assert await run(in_a_thread) == Success((event().id, False))


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (ValueError, "wrong"),
        (SystemExit, "3"),
        (KeyboardInterrupt, ""),
        (StopIteration, ""),
        (asyncio.CancelledError, ""),
        (TimeoutError, "of the flow's own"),
    ],
)
@pytest.mark.parametrize("is_async", [True, False])
async def test_whatever_the_flow_raises_is_its_failure(
    kind: type[BaseException], text: str, is_async: bool
) -> None:
    async def on_the_loop(event: Event) -> None:
        raise kind(text)

    def in_a_thread(event: Event) -> None:
        raise kind(text)

    end = await run(on_the_loop if is_async else in_a_thread)

    assert isinstance(end, Failure)
    assert kind.__name__ in end.error
    assert text in end.error
    assert "raise kind(text)" in end.traceback
    assert not {attempt.__file__, executor.__file__} & set(re.findall('"(.*?)"', end.traceback))


async def test_a_failure_names_the_last_line_of_the_authors_own_code() -> None:
    def helper(text: str) -> None:
        json.loads(text)

    def function(event: Event) -> None:
        helper("{")

    end = await run(function)

    assert isinstance(end, Failure)
    line = helper.__code__.co_firstlineno + 1
    assert end.place == f"workers/test_executor.py:{line} in helper"


async def test_an_async_flow_that_takes_too_long_is_cancelled() -> None:
    cancelled = False

    async def slow(event: Event) -> None:
        nonlocal cancelled
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled = True
            raise

    end = await run(slow, timeout=0.02)

    assert isinstance(end, Failure)
    assert end.error == "TimeoutError: not done within 0.02 s"
    assert cancelled


async def test_each_of_many_attempts_has_its_own_time() -> None:
    async def runs(event: Event) -> None:
        if event.attempt > 1:
            await asyncio.sleep(0.05 if event.attempt == 2 else 60)

    async with executing(runs, timeout=0.2) as made:
        begun = []
        for attempt_ in (3, 1, 2, 3):
            begun.append(asyncio.create_task(made.run(context(attempt=attempt_))))
            await asyncio.sleep(0.05)
        ends = await asyncio.gather(*begun)

    out_of_time = "TimeoutError: not done within 0.2 s"
    assert [getattr(each, "error", None) for each in ends] == [
        *(out_of_time, None, None, out_of_time),
    ]


async def test_an_attempt_that_ends_well_when_it_is_cancelled_has_ended_well() -> None:
    async def stubborn(event: Event) -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "tidied up"
        return "never"

    async def tidies(event: Event) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("broken on the way")

    assert await run(stubborn, timeout=0.02) == Success("tidied up")
    end = await run(tidies, timeout=0.02)
    assert isinstance(end, Failure)
    assert end.error == "ValueError: broken on the way"
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_thread_that_takes_too_long_is_abandoned_and_keeps_its_place() -> None:
    released = threading.Event()
    calls = []

    def slow(event: Event) -> None:
        calls.append(event)
        released.wait()

    async with executing(slow, timeout=0.05) as made:
        end = await made.run(context())
        second = asyncio.create_task(made.run(context()))
        await asyncio.sleep(0.1)  # longer than the timeout, which does not run for who waits

        assert isinstance(end, Failure)
        assert end.error == "TimeoutError: not done within 0.05 s; its thread goes on"
        assert len(calls) == 1
        released.set()
        assert await second == Success(None)


async def test_an_attempt_that_is_given_up_is_no_failure() -> None:
    started = asyncio.Event()

    async def slow(event: Event) -> None:
        started.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(run(slow))
    await started.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_hidden_async_function_is_not_taken_for_a_success() -> None:
    async def hidden(event: Event) -> None: ...

    def decorated(event: Event) -> Any:
        return hidden(event)

    end = await run(decorated)

    assert isinstance(end, Failure)
    assert "returned a coroutine that nobody awaits" in end.error


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def test_an_error_is_one_bounded_line_without_secrets() -> None:
    key = keys.new_key().text

    assert Failure.of(ValueError("two\n lines")).error == "ValueError: two lines"
    long = Failure.of(ValueError("long" * 5000))
    assert (len(long.error), len(long.traceback)) == (500, 8000)
    assert key not in Failure.of(ValueError(f"refused: {key}")).error
    assert Failure.of(ValueError("\udcff")).error == "ValueError: ?"
    assert "Unspeakable" in Failure.of(Unspeakable()).error


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_context_tells_about_the_attempt(is_async: bool) -> None:
    def tell(event: Event, context: Context) -> Any:
        assert context.event is event
        assert context.remaining is not None
        assert context.deadline is not None
        told = (context.run_id, context.attempt, context.redelivered)
        return *told, context.is_test, context.is_replay, 29 < context.remaining <= 30

    async def on_the_loop(event: Event, context: Context) -> Any:
        return tell(event, context)

    end = await run(
        on_the_loop if is_async else tell,
        timeout=30,
        attempt=2,
        kind="replay",
        redelivered=True,
    )

    run_id = "run_019a0000000070008000000000000001"
    assert end == Success((run_id, 2, True, False, True, True))


def test_a_context_says_when_its_attempt_goes_on_for_nobody() -> None:
    one = context()
    assert not one.is_abandoned
    one.begin(60.0)
    assert not one.is_abandoned
    one.begin(0.0)
    assert one.is_abandoned


async def test_without_a_timeout_an_attempt_may_take_any_time() -> None:
    async def tell(event: Event, context: Context) -> Any:
        return context.remaining, context.deadline

    assert await run(tell) == Success((None, None))


@pytest.mark.parametrize("is_async", [True, False])
async def test_what_a_test_logs_is_collected(is_async: bool) -> None:
    def log(event: Event, context: Context) -> None:
        logging.getLogger("of.a.library").warning("%s", keys_text)
        context.logger.warning("from the flow", number=1)

    async def on_the_loop(event: Event, context: Context) -> None:
        log(event, context)

    keys_text = keys.new_key().text
    log_to.use_logging()
    root = logging.getLogger()
    handler = logs.Collector()
    root.addHandler(handler)
    try:
        async with executing(on_the_loop if is_async else log) as made:
            end = await with_logs(made.run(context(kind="once")))
            logging.getLogger().warning("nobody's")
    finally:
        root.removeHandler(handler)
        structlog.reset_defaults()

    assert isinstance(end, Success), end.error
    first, second = end.logs
    assert keys_text not in first
    assert keys_text[:13] in first
    assert "from the flow" in second
    assert "run_id=run_019a" in second


def test_an_error_says_what_the_flow_has_decided() -> None:
    assert Failure.of(ValueError()).is_final is False
    assert Failure.of(Reject("no such lead")).is_final
    assert Failure.of(Reject("no such lead")).error.endswith("Reject: no such lead")
    assert Failure.of(Retry(after=90, reason="busy")).after == 90
    assert Failure.of(Retry(90, "busy")).error.endswith("Retry: after 90 s: busy")
