"""Several worker processes, and their supervisor; with `--autoscale`, as many as the queues need.

The supervisor loads no flow and takes no message. What waits it reads from the notice board, which
the router writes; while that is silent, the number of processes stays as it is.
"""

import asyncio
import os
import socket
import sys
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from redis.asyncio import Redis

from turnout.shared import backlog, cache, log, service
from turnout.shared.announcement import Announcement
from turnout.shared.processes import Processes
from turnout.workers.autoscale import Autoscale, Load
from turnout.workers.settings import WorkerSettings

logger = log.get(__name__)

#: Seconds that a process has beyond its own grace time.
_MARGIN = 5.0


class Count(NamedTuple):
    """How many processes there are: at first and at least, and at most."""

    fewest: int
    most: int


def main(count: Count, arguments: Sequence[str]) -> None:
    """Run worker processes and their supervisor until a signal ends them.

    Args:
        count: how many.
        arguments: of `turnout worker` for each of them.
    """
    service.run(WorkerSettings, partial(_supervise, count, arguments))


async def _supervise(
    count: Count, arguments: Sequence[str], settings: WorkerSettings, stop: asyncio.Event
) -> None:
    # -P: a module of the working directory takes the place of none of ours.
    command = [sys.executable, "-P", "-m", "turnout.workers", *arguments]
    processes = Processes(
        command, [()] * count.most, grace=settings.shutdown_grace + _MARGIN, wanted=count.fewest
    )
    if count.fewest == count.most:
        await processes.run(stop)
        return
    board = cache.connect(settings.redis_url.get_secret_value())
    scaling = asyncio.create_task(_scale(processes, count, board), name="autoscale")
    try:
        await processes.run(stop)
    finally:
        scaling.cancel()
        await asyncio.gather(scaling, return_exceptions=True)
        await board.aclose()


async def _scale(processes: Processes, count: Count, board: Redis) -> None:
    loop = asyncio.get_running_loop()
    autoscale = Autoscale(*count)
    while True:
        await asyncio.sleep(backlog.INTERVAL)
        try:
            load = await _load(board)
        except cache.ERRORS as error:
            logger.debug("the load is not known", reason=str(error))
            continue
        before = autoscale.count
        if load is not None and autoscale.decide(load, loop.time()) != before:
            logger.info(
                "workers are scaled", processes=autoscale.count, was=before, **load._asdict()
            )
            processes.scale(autoscale.count)


async def _load(board: Redis) -> Load | None:
    """Add up what waits for the flows of our processes; None if it is not known."""
    waiting = await backlog.read(board)
    here = (socket.gethostname(), os.getpid())
    announced = await Announcement.read_all(board)
    ours = [each for each in announced if (each.host, each.supervisor) == here]
    return None if waiting is None or not ours else Load.of(waiting, ours, announced)
