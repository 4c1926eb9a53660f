"""What the router tells Prometheus; `turnout.shared.metrics` serves it.

A router on standby tells that it is one, and nothing of the flows.
"""

import time
from collections.abc import Iterable

from prometheus_client.core import Metric
from redis.asyncio import Redis
from sqlalchemy import func, select

from turnout.router.database import Database, DatabaseUnavailable
from turnout.router.depth import Depth
from turnout.router.duties import Duties
from turnout.router.history.models import StreamOffset
from turnout.router.lease import Lease
from turnout.router.letters.dead import KEPT
from turnout.router.letters.models import DeadLetter, Unrouted
from turnout.router.monitor import loads
from turnout.router.registry import Registry
from turnout.shared import log, names
from turnout.shared.errors import BrokerError
from turnout.shared.metrics import Values, counter, gauge, one

logger = log.get(__name__)


class Metrics:
    """Asks registry, cache and broker when somebody asks for it.

    Args:
        lease: which router is active.
        duties: what that one does.
        database: how far the history is.
        registry: which flows there are.
        client: the cache, where the load of flows is.
        depth: counts what waits in queues.
    """

    def __init__(
        self,
        lease: Lease,
        duties: Duties,
        *,
        database: Database,
        registry: Registry,
        client: Redis,
        depth: Depth,
    ) -> None:
        self._lease = lease
        self._duties = duties
        self._database = database
        self._registry = registry
        self._client = client
        self._depth = depth

    async def read(self) -> Iterable[Metric]:
        """Tell what can be known at this moment; what cannot is left out."""
        found = [one("active", "1 in the active router, 0 on standby.", float(self._lease.held))]
        if not self._lease.held:
            return found
        found += self._of_duties()
        for part in (self._flows, self._streams, self._parked):
            try:
                found += await part()
            except (BrokerError, DatabaseUnavailable) as error:
                logger.warning("some metrics are not known", reason=str(error))
        return found

    def _of_duties(self) -> list[Metric]:
        label = ("duty",)
        failing = self._duties.failing
        return [
            counter(
                "duty_failures",
                "How often a duty of the router ended with an error that it did not expect.",
                label,
                {(name,): count for name, count in self._duties.failures.items()},
            ),
            gauge(
                "duty_failing",
                "1 for a duty that failed within the last minute.",
                label,
                {(name,): float(name in failing) for name in self._duties.failures},
            ),
        ]

    async def _flows(self) -> list[Metric]:
        flows = await self._registry.list_flows()
        found = await loads(self._client, flows)
        waiting = {(address,): load.backlog for address, load in found.items() if load.backlog}
        workers: Values = {
            (address,): load.workers for address, load in found.items() if load.workers is not None
        }
        label = ("flow",)
        return [
            gauge(
                "runs_queued",
                "Runs that no worker has.",
                label,
                {flow: each.queued for flow, each in waiting.items()},
            ),
            gauge(
                "runs_wait_seconds",
                "For how long a run waits at present, about.",
                label,
                {flow: each.wait for flow, each in waiting.items()},
            ),
            gauge("workers", "Worker processes that serve a flow.", label, workers),
            gauge(
                "flow_paused",
                "1 for a paused flow.",
                label,
                {(flow.address,): float(flow.paused_at is not None) for flow in flows},
            ),
        ]

    async def _streams(self) -> list[Metric]:
        statement = select(StreamOffset.stream, StreamOffset.written_at, StreamOffset.missed)
        async with self._database.reading() as connection:
            rows = (await connection.execute(statement)).all()
        return [
            gauge(
                "recorded_age_seconds",
                "How old the newest thing is that the history has of a stream.",
                ("stream",),
                {(row.stream,): time.time() - row.written_at / 1e9 for row in rows},
            ),
            gauge(
                "recorder_missed",
                "Messages of a stream that were gone before they were recorded.",
                ("stream",),
                {(row.stream,): row.missed for row in rows},
            ),
        ]

    async def _parked(self) -> list[Metric]:
        dead = select(func.count()).where(DeadLetter.state == KEPT)
        unrouted = select(func.count()).select_from(Unrouted)
        async with self._database.reading() as connection:
            kept = {
                names.UNROUTED: await connection.scalar(unrouted) or 0,
                names.DEAD: await connection.scalar(dead) or 0,
            }
        return [
            gauge(
                "parked",
                "Unrouted events and dead letters that nobody has settled.",
                ("queue",),
                {(name,): await self._depth.of(name) + count for name, count in kept.items()},
            )
        ]
