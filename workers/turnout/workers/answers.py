"""Answers: outcomes for those who wait for a run, over a channel of the cache.

Best effort, and never in the way of a run: it is told in a task of its own, and what cannot be told
is in the outcomes all the same.
"""

import asyncio

from redis.asyncio import Redis

from turnout.shared import cache, log, outcome
from turnout.shared.outcome import Outcome

logger = log.get(__name__)

#: How many may be under way: beyond it, the cache does not answer.
_MOST = 1000


class Answers:
    """Tells outcomes.

    Args:
        client: the cache.
    """

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._tasks: set[asyncio.Task[None]] = set()

    def tell(self, channel: str, report: Outcome) -> None:
        """Tell what became of an attempt to whoever listens; returns at once."""
        if len(self._tasks) < _MOST:
            task = asyncio.create_task(self._tell(channel, report))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _tell(self, channel: str, report: Outcome) -> None:
        try:
            await self._client.publish(channel, outcome.encode([report]))
        except cache.ERRORS as error:
            logger.warning("nobody is told", event_id=report.event_id, reason=str(error))
