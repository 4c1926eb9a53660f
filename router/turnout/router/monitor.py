"""The monitor: what waits for each flow, who serves it, and whether that is an alarm.

RabbitMQ's management API ──┐
workers' announcements ─────┼──▶ backlog, state ──▶ notice board · log (when a state changes)
registry (paused?) ─────────┘

ok ⇄ backlog      runs wait longer than a minute
ok ⇄ no workers   runs wait and no worker serves the flow: an alarm
paused            on purpose; nothing else is said
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from redis.asyncio import Redis

from turnout.router.database import DatabaseUnavailable
from turnout.router.management import Depth, Management
from turnout.router.registry import Flow, Registry
from turnout.shared import backlog, cache, log, names
from turnout.shared.announcement import Announcement
from turnout.shared.backlog import Backlog
from turnout.shared.errors import BrokerError

logger = log.get(__name__)

State = Literal["ok", "paused", "no workers", "backlog"]

#: Seconds that a run may wait before its flow has a backlog.
PATIENCE = 60.0

#: Seconds that a listing waits to say what is queued.
_ANSWER_WITHIN = 1.0


class Load(NamedTuple):
    """What one flow has to do and who does it; None: it is not known."""

    backlog: Backlog | None = None
    workers: int | None = None


UNKNOWN = Load()


def state(flow: Flow, load: Load) -> State:
    """Judge how a flow does; what is not known is no reason for an alarm."""
    if flow.paused_at is not None:
        return "paused"
    waiting = load.backlog
    if waiting is None or not waiting.queued:
        return "ok"
    if load.workers == 0:
        return "no workers"
    return "backlog" if waiting.wait > PATIENCE else "ok"


async def loads(client: Redis, flows: Iterable[Flow]) -> dict[str, Load]:
    """Return the load of flows by address; unknown if the cache does not answer."""
    try:
        async with asyncio.timeout(_ANSWER_WITHIN):
            return _loads(flows, await backlog.read(client), await Announcement.read_all(client))
    except cache.ERRORS as error:
        logger.warning("the load is not known", reason=str(error) or type(error).__name__)
        return {flow.address: UNKNOWN for flow in flows}


class Monitor:
    """Watches the flows of the registry.

    Args:
        client: the cache.
        registry: which flows there are.
        management: counts what is queued.
    """

    def __init__(self, client: Redis, registry: Registry, management: Management) -> None:
        self._client = client
        self._registry = registry
        self._management = management
        self._waits = Waits()
        self._states: dict[str, State] = {}

    async def run(self) -> None:
        """Report for ever."""
        told = ""
        while True:
            try:
                await self.report()
                told = ""
            except (BrokerError, DatabaseUnavailable, *cache.ERRORS) as error:
                reason = str(error) or type(error).__name__
                if reason != told:  # else each attempt of an outage would say it again
                    logger.warning("the backlog is not known", reason=reason)
                told = reason
            await asyncio.sleep(backlog.INTERVAL)

    async def report(self) -> None:
        """Look once, write it down, and say what has changed."""
        flows = await self._registry.list_flows()
        depths = _by_flow(await self._management.depths())
        found = self._waits.judge(depths, time.monotonic())
        await backlog.write(self._client, found)
        now = _loads(flows, found, await Announcement.read_all(self._client))
        for flow in flows:
            self._tell(flow, now[flow.address])

    def _tell(self, flow: Flow, load: Load) -> None:
        """Log when an alarm begins and when it ends, once."""
        now = state(flow, load)
        before = self._states.get(flow.address, "ok")
        self._states[flow.address] = now
        if now == before:
            return
        queued = load.backlog.queued if load.backlog else 0
        if now in ("no workers", "backlog"):
            logger.warning("flow is behind", flow=flow.address, state=now, queued=queued)
        elif before in ("no workers", "backlog"):
            logger.info("flow is behind no more", flow=flow.address, state=now, queued=queued)


class Waits:
    """Estimates how long runs wait, from how many there are and how fast they go.

    RabbitMQ does not tell the age of a quorum queue's oldest message. A queue that moves is as long
    as its length divided by its speed; one that stands still has waited since it was last empty.
    """

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def judge(self, depths: Mapping[str, Depth], now: float) -> dict[str, Backlog]:
        """Return the backlog of each flow.

        Args:
            depths: by address.
            now: seconds, of a clock that never goes back.
        """
        waiting = {address for address, depth in depths.items() if depth.ready}
        self._since = {address: self._since.get(address, now) for address in waiting}
        return {
            address: Backlog(
                depth.ready, depth.unacknowledged, round(self._wait(address, depth, now), 1)
            )
            for address, depth in depths.items()
        }

    def _wait(self, address: str, depth: Depth, now: float) -> float:
        if not depth.ready:
            return 0.0
        standing = now - self._since[address]
        return min(standing, depth.ready / depth.rate) if depth.rate > 0 else standing


def _by_flow(depths: Mapping[str, Depth]) -> dict[str, Depth]:
    """Add up the queues of each flow."""
    found: dict[str, Depth] = {}
    for queue, depth in depths.items():
        if (address := names.flow_of(queue)) is not None:
            found[address] = found.get(address, Depth()).plus(depth)
    return found


def _loads(
    flows: Iterable[Flow],
    backlogs: Mapping[str, Backlog] | None,
    announced: Iterable[Announcement],
) -> dict[str, Load]:
    workers = Counter(address for each in announced for address in each.flows)
    return {
        flow.address: Load(
            None if backlogs is None else backlogs.get(flow.address), workers[flow.address]
        )
        for flow in flows
    }
