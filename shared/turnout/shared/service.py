"""How a service runs: settings, logging, an event loop, and the signal that ends it."""

import asyncio
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import Any, TypeVar

import uvloop

from turnout.shared import log, parent
from turnout.shared.errors import SettingsError, TurnoutError
from turnout.shared.settings import Settings, load

SettingsType = TypeVar("SettingsType", bound=Settings)

#: Containers that are allocated, and not freed, between two collections; Python's default is 700.
_ALLOCATIONS = 20_000

#: Seconds after which what was cancelled, and has not ended, is cancelled again.
_CANCELLING = 0.5


def run(
    settings_class: type[SettingsType],
    serve: Callable[[SettingsType, asyncio.Event], Coroutine[Any, Any, None]],
    **given: object,
) -> None:
    """Run a service until SIGTERM or SIGINT; exit with 2 for wrong settings, 1 for a failure.

    Under a supervisor it ends with that too, and SIGHUP, which is meant for that, does nothing.

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
    if (supervisor := parent.find()) is not None:
        log.always(slot=supervisor.slot, pid=os.getpid())
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
    if (supervisor := parent.find()) is not None:
        supervisor.on_end(stop.set)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    await serve(settings, stop)


def ready() -> None:
    """Tell the supervisor, if there is one, that this process does its work.

    From here on the garbage collector looks at what is new, and less often: what a call or run
    needs is freed without it.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS, 20, 20)
    if (supervisor := parent.find()) is not None:
        supervisor.say_ready()


def sockets() -> Sequence[socket.socket]:
    """Return the sockets that a supervisor has given us to listen on."""
    supervisor = parent.find()
    return supervisor.sockets if supervisor is not None else ()


async def until(stop: asyncio.Event, *background: Coroutine[Any, Any, None]) -> None:
    """Run background work until `stop` is set; when one part of it ends, the service ends.

    Raises:
        Exception: what ended that part: a service must not go on half alive.
    """
    tasks = [asyncio.create_task(each) for each in (stop.wait(), *background)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        await cancel(tasks)


async def cancel(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel tasks, and wait until they have ended, in whatever way."""
    # Again and again: up to Python 3.11 a cancelled asyncio.wait_for, as in redis-py, goes on as if
    # nothing had been, when what it waits for ends in the same turn of the loop.
    while not all(task.done() for task in tasks):
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=_CANCELLING)
    await asyncio.gather(*tasks, return_exceptions=True)
