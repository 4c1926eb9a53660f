"""The presence of a worker on the notice board: what it serves, how busy it is, until it stops."""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Sequence

from redis.asyncio import Redis

from turnout.shared import announcement, cache, log, parent
from turnout.shared.announcement import Announcement, Served
from turnout.workers.notices import Notices
from turnout.workers.processor import Processor

logger = log.get(__name__)


class Presence:
    """Announces one process; without the cache flows run all the same.

    Args:
        client: the cache.
        worker_id: of the process.
        notices: say which flows it does not serve.
        processors: of all its flows.
        concurrency: as the process was told.
    """

    def __init__(
        self,
        client: Redis,
        worker_id: str,
        notices: Notices,
        processors: Sequence[Processor],
        concurrency: int,
    ) -> None:
        self._client = client
        self._worker_id = worker_id
        self._notices = notices
        self._processors = processors
        self._concurrency = concurrency
        self._started_at = time.time()

    async def keep(self) -> None:
        """Announce it again and again, and withdraw in the end."""
        reachable = True
        await self._notices.looked.wait()
        try:
            while True:
                try:
                    await self._announcement().write(self._client)
                    reachable = True
                except cache.ERRORS as error:
                    if reachable:
                        logger.warning("cache lost: worker is not announced", reason=str(error))
                    reachable = False
                await asyncio.sleep(announcement.INTERVAL)
        finally:
            with contextlib.suppress(*cache.ERRORS):
                await self._announcement().withdraw(self._client)

    def _announcement(self) -> Announcement:
        served = [each for each in self._processors if not self._notices.objection(each.flow)]
        return Announcement(
            worker_id=self._worker_id,
            host=socket.gethostname(),
            pid=os.getpid(),
            started_at=self._started_at,
            flows=tuple(each.flow.address for each in served),
            concurrency=self._concurrency,
            busy=sum(each.running for each in self._processors),
            served=tuple(
                Served(
                    each.flow.address,
                    each.flow.version,
                    each.limit,
                    each.running,
                    each.flow.ordered_by,
                    each.flow.partitions,
                    self._notices.limit(each.flow.address),
                )
                for each in served
            ),
            supervisor=0 if parent.find() is None else os.getppid(),
        )
