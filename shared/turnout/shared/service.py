"""How a service runs: an event loop, a signal that ends it, background tasks that must not die."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import uvloop


def run(main: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    """Run a service until SIGTERM or SIGINT.

    Args:
        main: receives an event that is set when the service has to stop; it returns when it has.
    """
    uvloop.run(_run(main))


async def _run(main: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await main(stop)


async def wait(event: asyncio.Event, timeout: float) -> bool:
    """Wait for an event, at most `timeout` seconds; tell whether it is set."""
    try:
        async with asyncio.timeout(timeout):
            await event.wait()
    except TimeoutError:
        pass
    return event.is_set()


async def until(stop: asyncio.Event, *background: Awaitable[None]) -> None:
    """Run background tasks until `stop` is set; the failure of one of them ends the service.

    Raises:
        BaseExceptionGroup: a background task failed; a service must not go on half alive.
    """
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_forever(each)) for each in background]
        await stop.wait()
        for task in tasks:
            task.cancel()


async def _forever(work: Awaitable[None]) -> None:
    await work
    raise RuntimeError(f"background task {work!r} ended")
