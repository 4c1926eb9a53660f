"""How a service runs: settings, logging, an event loop, and the signal that ends it."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import uvloop

from turnout.shared import log
from turnout.shared.errors import SettingsError, TurnoutError
from turnout.shared.settings import Settings, load

SettingsType = TypeVar("SettingsType", bound=Settings)


def run(
    settings_class: type[SettingsType],
    serve: Callable[[SettingsType, asyncio.Event], Coroutine[Any, Any, None]],
    **given: object,
) -> None:
    """Run a service until SIGTERM or SIGINT; exit with 2 for wrong settings, 1 for a failure.

    Args:
        settings_class: what the service reads from the environment.
        serve: receives the settings and an event that is set when it has to stop; it returns when
            it has.
        given: values that come before the environment; those that are None do not.
    """
    try:
        settings = load(settings_class, **given)
    except SettingsError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    log.configure(settings.log_level, settings.log_format)
    try:
        uvloop.run(_until_signal(settings, serve))
    except TurnoutError as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from None


async def _until_signal(
    settings: SettingsType,
    serve: Callable[[SettingsType, asyncio.Event], Coroutine[Any, Any, None]],
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(settings, stop)


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
