"""The spread: which worker is to have which partition of an ordered flow.

Each partition has one active consumer, and the first worker that comes is that of all. So those
that serve a flow, by their announcements, divide it: sorted by id, partition k is for number k
modulo their count. A worker to which messages of another one's partition come gives it up when
its run has ended, and stands in the line of that partition again, behind all others.

    A, B   p0 → A   p1 → B   p2 → A   p3 → B        C comes:   p2 → C   p3 → A   the others stay

Nobody waits for an answer, and no partition is ever without a consumer: a worker that dies is
succeeded at once by the next in line, whoever that is. Damped: nothing is given up before two looks
have found the same workers, and one partition by one worker once in `_PATIENCE` seconds, should the
one whose turn it is not take it. Without the cache nothing is given up.
"""

import asyncio
from collections.abc import Iterable

from redis.asyncio import Redis

from turnout.shared import announcement, cache, log
from turnout.shared.announcement import Announcement
from turnout.workers.flow import Flow

logger = log.get(__name__)

#: Seconds for which a worker keeps a partition that came back to it.
_PATIENCE = 30.0


class Spread:
    """Tells which partitions are to be given up.

    Args:
        client: the cache.
        worker_id: of this process.
        flows: that it serves.
    """

    def __init__(self, client: Redis, worker_id: str, flows: Iterable[Flow]) -> None:
        self._client = client
        self._worker_id = worker_id
        self._ordered = [each for each in flows if each.partitions]
        self._loop = asyncio.get_running_loop()
        self._owners: dict[str, str] = {}
        self._given_up: dict[str, float] = {}

    def gives_up(self, queue: str) -> bool:
        """Tell whether a partition is to be given up now; if so, it is taken for done."""
        if self._owners.get(queue, self._worker_id) == self._worker_id:
            return False
        now = self._loop.time()
        if now - self._given_up.get(queue, -_PATIENCE) < _PATIENCE:
            return False
        self._given_up[queue] = now
        return True

    async def follow(self) -> None:
        """Look at the announcements again and again."""
        before: dict[str, str] = {}
        while self._ordered:
            try:
                owners = self._divide(await Announcement.read_all(self._client))
            except cache.ERRORS as error:
                logger.debug("announcements are not read", reason=str(error))
                owners = {}
            self._owners, before = (owners if owners == before else {}), owners
            await asyncio.sleep(announcement.INTERVAL)

    def _divide(self, announced: Iterable[Announcement]) -> dict[str, str]:
        """Return the worker of each partition, by queue."""
        found = {each.worker_id: each.flows for each in announced}
        owners: dict[str, str] = {}
        for flow in self._ordered:
            workers = sorted(one for one, flows in found.items() if flow.address in flows)
            if self._worker_id in workers:
                owners |= {
                    queue: workers[number % len(workers)]
                    for number, queue in enumerate(flow.queues)
                }
        return owners
