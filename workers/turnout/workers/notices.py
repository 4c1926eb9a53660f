"""What the notice board says of a worker's flows: their limits, pauses and cancelled runs.

The router writes it, see `turnout.shared.notices`; the truth is in SQL. All of a process is read in
one round trip, and nothing is asked for a run. While the cache does not answer, or is empty because
it was flushed and the router has not filled it again, what was known goes on to hold.
"""

import asyncio
from collections.abc import Iterable

from redis.asyncio import Redis

from turnout.shared import cache, log, names
from turnout.shared.errors import InvalidRecord
from turnout.shared.notices import Cancelled, FlowRecord
from turnout.workers.flow import Flow

logger = log.get(__name__)

#: Seconds between two looks: a pause holds everywhere within a second.
_INTERVAL = 0.4


class Notices:
    """What the board says about some flows.

    Args:
        client: the cache.
        flows: their addresses.

    Attributes:
        looked: set when the board was looked at once, with or without an answer: no run starts
            before.
    """

    def __init__(self, client: Redis, flows: Iterable[str]) -> None:
        self.looked = asyncio.Event()
        self._client = client
        self._flows = tuple(flows)
        self._paused: frozenset[str] = frozenset()
        self._cancelled: dict[str, Cancelled] = {}
        self._registered: dict[str, FlowRecord] = {}

    def objection(self, flow: Flow) -> str | None:
        """Say why a flow is not to be served, as far as that is known, or None.

        One whose order is another than registered would break the one that there is.
        """
        found = self._registered.get(flow.address)
        if found is None or found[:2] == (flow.ordered_by, flow.partitions):
            return None
        return (
            f"it is registered with ordered_by={found.ordered_by!r}, "
            f"partitions={found.partitions!r}, and declared with ordered_by={flow.ordered_by!r}, "
            f"partitions={flow.partitions!r}: both are fixed at registration, so declare it like "
            "that, or give it another name"
        )

    def is_paused(self, flow: str) -> bool:
        """Tell whether no run of a flow may start."""
        return flow in self._paused

    def limit(self, flow: str) -> int | None:
        """Return how many runs of a flow may be in progress over all workers; None: any number."""
        found = self._registered.get(flow)
        return None if found is None else found.max_running

    def cancelled(self, flow: str, run_id: str) -> str | None:
        """Return why a run is not to start, or None."""
        if not self._cancelled:
            return None
        found = self._cancelled.get(flow)
        return found.reason(run_id) if found else None

    async def follow(self) -> None:
        """Read the board again and again."""
        while True:
            try:
                await self._read()
            except cache.ERRORS as error:
                logger.debug("notices are not read", reason=str(error))
            except InvalidRecord as error:
                logger.warning("a notice is not understood", reason=str(error))
            self.looked.set()
            await asyncio.sleep(_INTERVAL)

    async def _read(self) -> None:
        async with self._client.pipeline(transaction=False) as pipe:
            pipe.get(names.AUTH_EPOCH)
            pipe.hkeys(names.PAUSED)
            pipe.hmget(names.FLOWS, self._flows)
            for flow in self._flows:
                pipe.hgetall(names.cancelled(flow))
            epoch, paused, registered, *cancelled = await pipe.execute()
        if epoch is None:
            return
        self._registered = {
            flow: FlowRecord.decode(record)
            for flow, record in zip(self._flows, registered, strict=True)
            if record
        }
        self._paused = frozenset(each.decode() for each in paused)
        self._cancelled = {
            flow: Cancelled(fields)
            for flow, fields in zip(self._flows, cancelled, strict=True)
            if fields
        }
