import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.workers.making import event

from turnout.shared import keys
from turnout.workers import Event, attempt, flow
from turnout.workers.attempt import Failure, Success
from turnout.workers.flow import declared


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


async def run(
    function: Callable[[Event], Any], threads: ThreadPoolExecutor, timeout: float | None = None
) -> Success | Failure:
    found = declared(flow("demo/hello", timeout=timeout)(function))
    assert found is not None
    return await attempt.attempt(found, event(), threads)


async def test_what_the_flow_returns_is_its_result(threads: ThreadPoolExecutor) -> None:
    async def on_the_loop(event: Event) -> Any:
        return event.id, threading.current_thread() is threading.main_thread()

    def in_a_thread(event: Event) -> Any:
        return event.id, threading.current_thread() is threading.main_thread()

    assert await run(on_the_loop, threads) == Success((event().id, True))
    assert await run(in_a_thread, threads) == Success((event().id, False))


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
    threads: ThreadPoolExecutor, kind: type[BaseException], text: str, is_async: bool
) -> None:
    async def on_the_loop(event: Event) -> None:
        raise kind(text)

    def in_a_thread(event: Event) -> None:
        raise kind(text)

    end = await run(on_the_loop if is_async else in_a_thread, threads)

    assert isinstance(end, Failure)
    assert kind.__name__ in end.error
    assert text in end.error
    assert "raise kind(text)" in end.traceback
    assert attempt.__file__ not in end.traceback


async def test_an_async_flow_that_takes_too_long_is_cancelled(threads: ThreadPoolExecutor) -> None:
    cancelled = False

    async def slow(event: Event) -> None:
        nonlocal cancelled
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled = True
            raise

    end = await run(slow, threads, timeout=0.02)

    assert isinstance(end, Failure)
    assert end.error == "TimeoutError: not done within 0.02 s"
    assert cancelled


async def test_a_thread_that_takes_too_long_is_abandoned(threads: ThreadPoolExecutor) -> None:
    released = threading.Event()

    def slow(event: Event) -> None:
        released.wait()

    end = await run(slow, threads, timeout=0.02)
    released.set()

    assert isinstance(end, Failure)
    assert end.error == "TimeoutError: not done within 0.02 s"


async def test_an_attempt_that_is_given_up_is_no_failure(threads: ThreadPoolExecutor) -> None:
    started = asyncio.Event()

    async def slow(event: Event) -> None:
        started.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(run(slow, threads))
    await started.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_hidden_async_function_is_not_taken_for_a_success(
    threads: ThreadPoolExecutor,
) -> None:
    async def hidden(event: Event) -> None: ...

    def decorated(event: Event) -> Any:
        return hidden(event)

    end = await run(decorated, threads)

    assert isinstance(end, Failure)
    assert "returned a coroutine that nobody awaits" in end.error


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def test_an_error_is_one_bounded_line_without_secrets() -> None:
    key = keys.new_key().text

    assert Failure.of(ValueError("two\n lines")).error == "ValueError: two lines"
    assert len(Failure.of(ValueError("long" * 1000)).error) == 500
    assert key not in Failure.of(ValueError(f"refused: {key}")).error
    assert Failure.of(ValueError("\udcff")).error == "ValueError: ?"
    assert "Unspeakable" in Failure.of(Unspeakable()).error
