"""`turnout worker MODULE…`: flows and settings, then the pool until a signal."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

from turnout.shared import log, service
from turnout.shared.errors import FlowError
from turnout.workers import loading, logs, resources, selection
from turnout.workers.flow import Flow
from turnout.workers.pool import Pool
from turnout.workers.reload import Reload
from turnout.workers.settings import TIMEOUT_SHARE, WorkerSettings

logger = log.get(__name__)


def main(
    modules: Sequence[str],
    concurrency: int | None = None,
    patterns: str | None = None,
    *,
    reload: bool = False,
) -> None:
    """Run the flows of some modules until SIGTERM or SIGINT.

    The first signal drains: no further message is taken, and runs in progress have the grace time
    to finish. A second signal, or the end of that time, ends the process with status 1; the
    broker then hands the unfinished runs to another worker.

    Args:
        modules: each a path to a .py file, or a dotted name.
        concurrency: how many runs of each flow are in progress at once; None: as in the settings.
        patterns: which of the flows are served, see `selection`; None: all.
        reload: start again when a file has changed.

    Raises:
        SystemExit: with status 2, if a module or a setting is wrong; the message is printed.
    """
    watch = Reload(modules) if reload else None
    try:
        _run(modules, concurrency, patterns, watch)
    except SystemExit:
        if watch is None:
            raise
        watch.wait()
    if watch is not None and watch.is_due:
        watch.start_again()


def _run(
    modules: Sequence[str], concurrency: int | None, patterns: str | None, watch: Reload | None
) -> None:
    try:
        # Before there is an event loop: a module may well start one while it is imported.
        flows = selection.choose(loading.load(modules), patterns)
    except FlowError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    if watch is not None:
        watch.look()

    async def serve(settings: WorkerSettings, stop: asyncio.Event) -> None:
        await _serve(flows, settings, stop, watch)

    service.run(WorkerSettings, serve, concurrency=concurrency)


async def _serve(
    flows: Mapping[str, Flow], settings: WorkerSettings, stop: asyncio.Event, watch: Reload | None
) -> None:
    _refuse_too_long(flows, settings)
    helpers = [asyncio.create_task(_exit_at_next_signal(stop), name="second signal")]
    if watch is not None:
        helpers.append(asyncio.create_task(watch.set_when_due(stop), name="reload"))
    logs.install()
    async with resources.opened(resources.declared()) as opened:
        drained = await Pool(flows, settings, opened).run(stop)
        if not drained:
            if watch is not None and watch.is_due:
                watch.start_again()
            _exit("grace time is over")
    await service.cancel(helpers)


def _refuse_too_long(flows: Mapping[str, Flow], settings: WorkerSettings) -> None:
    """Refuse flows that the broker would start elsewhere while they run.

    Raises:
        SystemExit: with status 2; what is wrong is printed.
    """
    longest = settings.delivery_timeout * TIMEOUT_SHARE
    refused = [each for each in flows.values() if each.timeout and each.timeout > longest]
    for each in refused:
        print(
            f"flow {each.address} at {each.source}: timeout is {each.timeout:g} s, but RabbitMQ "
            f"takes a message back after {settings.delivery_timeout:g} s and starts it elsewhere. "
            f"Make it at most {longest:g} s, or raise RabbitMQ's consumer_timeout and then "
            "TURNOUT_DELIVERY_TIMEOUT",
            file=sys.stderr,
        )
    if refused:
        raise SystemExit(2)


async def _exit_at_next_signal(stop: asyncio.Event) -> None:
    await stop.wait()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _exit, "second signal")


def _exit(reason: str) -> NoReturn:
    """End now. An orderly exit would wait for the threads of runs, however long they take."""
    logger.warning("worker exits with runs in progress", reason=reason)
    os._exit(1)
