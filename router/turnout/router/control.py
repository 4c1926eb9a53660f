"""Control: keeps broker and cache in line with the registry, for as long as the router runs.

registry ──snapshot──▶ topology ──▶ broker        (declare what is missing)
                  └──▶ projection ──▶ cache       (write what changed; all of it after a flush)
cache ──announcements──▶ registry                 (flows that running workers serve)
"""

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence

from redis.asyncio import Redis

from turnout.router import topology
from turnout.router.database import DatabaseUnavailable
from turnout.router.declare import declare, unbind
from turnout.router.lease import Lease
from turnout.router.management import Management
from turnout.router.projection import Projection, check_eviction
from turnout.router.registry import Registry, Snapshot, Trigger, differences
from turnout.router.settings import RouterSettings
from turnout.router.stale import Stale
from turnout.router.topology import Binding, Missing, Topology
from turnout.shared import cache, log, names
from turnout.shared.amqp import Link
from turnout.shared.announcement import Announcement, Served
from turnout.shared.backoff import Backoff
from turnout.shared.errors import BrokerError, InvalidName

logger = log.get(__name__)

#: Seconds between two looks at the broker, and at the cache.
_BROKER_INTERVAL = 5.0
_CACHE_INTERVAL = 0.5
_WORKERS_INTERVAL = 1.0
#: How much longer the pause between two looks at the broker is than a look, at least.
_REST = 5

_TEMPORARY = (BrokerError, DatabaseUnavailable, *cache.ERRORS)


class Control:
    """Reconciles; the admin API asks it.

    Args:
        settings: of the router.
        registry: what is wanted.
        client: the cache.
        management: shows what is at the broker.
        lease: without it, nothing is written to broker and cache.
    """

    def __init__(
        self,
        settings: RouterSettings,
        registry: Registry,
        client: Redis,
        management: Management,
        lease: Lease,
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._client = client
        self._management = management
        self._lease = lease
        self._projection = Projection(client, lambda: lease.epoch)
        self._stale = Stale()
        self._link: Link | None = None
        self._host = 0
        self._live: frozenset[str] = frozenset()
        self._routes: frozenset[str] = frozenset()
        self._wanted = Topology()
        self._followed: Snapshot | None = None
        """What is wanted at the broker follows from it."""
        self._reconciled: Snapshot | None = None
        """What the broker was last found, or made, to be like."""
        self._found: Topology | None = None
        """What it was found, or made, to have then; None: that is not known."""
        self._declaring = asyncio.Lock()
        self._projecting = asyncio.Lock()
        self._settled = False

    @property
    def active(self) -> bool:
        """Whether this router is the active one of several."""
        return self._lease.held

    @property
    def settled(self) -> bool:
        """Whether broker and cache were in line with the registry at least once."""
        return self._settled

    @property
    def routes(self) -> frozenset[str]:
        """The routing keys whose queue and binding existed at the last look at the broker."""
        return self._routes

    def is_live(self, trigger_id: str) -> bool:
        """Tell whether queue and binding of a trigger existed at the last look at the broker."""
        return trigger_id in self._live

    async def check(self) -> list[Missing]:
        """Name what is missing at the broker, and change nothing.

        Raises:
            BrokerError: the broker cannot be asked.
        """
        wanted = topology.of(await self._registry.snapshot(), self._settings)
        return wanted.without(await self._management.survey()).listed()

    async def apply(self) -> list[Missing]:
        """Declare what is missing at the broker, and name it.

        Raises:
            BrokerError: the broker cannot be reached.
        """
        return (await self._reconcile()).listed()

    async def settle(self, timeout: float) -> None:
        """Bring broker and cache in line now, if that works within `timeout` seconds.

        If not, the background loops go on trying. What needs nothing of the broker holds at once.
        """
        try:
            async with asyncio.timeout(timeout):
                await self._project()
                await self._reconcile(look=False)
                await self._project()
        except _TEMPORARY as error:
            logger.warning("not settled yet", reason=str(error) or type(error).__name__)

    async def withdraw(self, records: Collection[str]) -> None:
        """Remove records from the cache at once, whatever else is under way.

        Raises:
            redis.RedisError, OSError: the cache does not answer; they go as soon as it does.
        """
        await self._projection.withdraw(records)

    def admit(self, records: Collection[str]) -> None:
        """Let records that were withdrawn be written again, where the registry has them."""
        self._projection.admit(records)

    async def declare(self, bindings: Collection[Binding]) -> None:
        """Make sure that bindings exist before anything is published by them.

        Raises:
            BrokerError: the broker cannot be reached, or refuses.
        """
        wanted = Topology(bindings=frozenset(bindings))
        async with self._declaring:
            declared = await declare(await self._connected(), wanted)
        if declared != wanted:
            raise BrokerError("the queue of the flow does not exist yet")

    async def watch_broker(self) -> None:
        """Repair the topology for ever."""
        await check_eviction_when_possible(self._client)
        backoff = Backoff(0.2, _BROKER_INTERVAL)
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                await self._reconcile()
                await self._project()
                self._settled = True
                backoff.reset()
                # A broker with very many bindings takes its time to list them.
                await asyncio.sleep(max(_BROKER_INTERVAL, _REST * (loop.time() - began)))
            except _TEMPORARY as error:
                logger.warning("reconciling failed", reason=str(error) or type(error).__name__)
                await asyncio.sleep(backoff.delay())

    async def watch_cache(self) -> None:
        """Fill the cache again after a flush, for ever."""
        while True:
            await asyncio.sleep(_CACHE_INTERVAL)
            try:
                if not await self._projection.is_complete():
                    await self._project()
            except _TEMPORARY as error:
                logger.warning("projecting failed", reason=str(error) or type(error).__name__)
                await asyncio.sleep(_CACHE_INTERVAL)

    async def watch_workers(self) -> None:
        """Register the flows that workers announce, for ever."""
        known: set[str] = set()
        while True:
            await asyncio.sleep(_WORKERS_INTERVAL)
            try:
                announced = {
                    served.address: served
                    for each in await Announcement.read_all(self._client)
                    for served in each.served
                    if served.address not in known
                }
                if not announced:
                    continue
                added = await self._registry.register_flows(_legal(announced, known))
                known |= announced.keys()
            except _TEMPORARY as error:
                logger.warning("workers cannot be read", reason=str(error))
            else:
                if added:
                    logger.info("flows registered", flows=[flow.address for flow in added])
                    await self.settle(_BROKER_INTERVAL)

    async def close(self) -> None:
        """Close the connection to the broker."""
        if self._link is not None:
            await self._link.close()

    async def _reconcile(self, *, look: bool = True) -> Topology:
        """Declare what is missing and note which triggers are live; return what was declared.

        Args:
            look: at what the broker has; else only what was changed is declared, if it is known
                what it had at the last look.
        """
        async with self._declaring:
            snapshot = await self._registry.snapshot()
            self._follow(snapshot)
            if look or self._found is None:
                present = await self._survey()
                await self._remove_stale(present)
                before = None
            else:
                present, before = self._found, self._reconciled
            missing = self._wanted.without(present)
            if not missing and snapshot is self._reconciled:
                self._found = present
                return missing
            declared = await self._declare(missing)
            self._found = present.together_with(declared)
            await self._note_live(snapshot, before)
            self._reconciled = snapshot
        return declared

    async def _declare(self, missing: Topology) -> Topology:
        """Declare something and return what the broker took of it."""
        if not missing:
            return missing
        self._lease.require()
        try:
            declared = await declare(await self._connected(), missing)
        except BrokerError:
            # Nothing is known to exist.
            self._live, self._routes = frozenset(), frozenset()
            self._reconciled = self._found = None
            raise
        logger.info(
            "topology declared",
            exchanges=len(declared.exchanges),
            queues=len(declared.queues),
            bindings=len(declared.bindings),
        )
        return declared

    async def _remove_stale(self, present: Topology) -> None:
        """Remove the bindings that nothing asks for any more."""
        stale = self._stale.due(present.bindings, self._wanted.bindings, time.monotonic())
        if stale:
            self._lease.require()
            await unbind(await self._connected(), stale)
            logger.info("stale bindings removed", bindings=len(stale))

    async def _note_live(self, snapshot: Snapshot, before: Snapshot | None) -> None:
        """Note which triggers have all of their bindings.

        Args:
            snapshot: of the registry.
            before: the snapshot of which that was noted last; None: all of them are looked at.
        """
        bindings = self._found.bindings if self._found else frozenset()
        pairs = differences(before or Snapshot(0, (), (), ()), snapshot)
        gone, live = set(), []
        for was, present in pairs:
            if was is not None:
                gone.add(was.id)
            if isinstance(present, Trigger) and bindings.issuperset(topology.bindings_of(present)):
                live.append(present)
        kept = frozenset() if before is None else self._live - gone
        self._live = kept.union(trigger.id for trigger in live)
        self._routes = frozenset(
            each.routing_key for each in bindings if each.exchange == names.TRIGGERS
        )
        await self._registry.mark_live(
            [trigger.id for trigger in live if trigger.live_since is None]
        )

    def _follow(self, snapshot: Snapshot) -> None:
        """Let what is wanted at the broker follow from a snapshot."""
        if self._followed is None:
            self._wanted = topology.of(snapshot, self._settings)
        elif snapshot is not self._followed:
            self._wanted = topology.following(
                self._wanted, self._followed, snapshot, self._settings
            )
        self._followed = snapshot

    async def _survey(self) -> Topology:
        """Look at the broker; without its management API, declare everything each time."""
        try:
            return await self._management.survey()
        except BrokerError as error:
            logger.warning("the topology cannot be compared, so it is declared", reason=str(error))
            return Topology()

    async def _project(self) -> None:
        async with self._projecting:
            await self._projection.write(await self._registry.snapshot())

    async def _connected(self) -> Link:
        """Return the connection to the broker, a new one if it was lost."""
        if self._link is None or self._link.closed.done():
            urls: Sequence[str] = self._settings.amqp_urls
            self._host += 1
            self._link = await Link.connect(urls[self._host % len(urls)], name="turnout-router")
        return self._link


def _legal(announced: Mapping[str, Served], known: set[str]) -> dict[str, Served]:
    """Return those flows that can be registered; the others are told once, and known from then on.

    Workers of another version may have some: they are no reason to leave out the rest.
    """
    legal = {}
    for address, served in announced.items():
        try:
            served.check()
        except InvalidName as error:
            logger.warning("a worker announces what is no flow", reason=str(error))
            known.add(address)
        else:
            legal[address] = served
    return legal


async def check_eviction_when_possible(client: Redis) -> None:
    """Check the eviction policy once the cache answers.

    Raises:
        SettingsError: the cache may drop records.
    """
    while True:
        try:
            await check_eviction(client)
            return
        except cache.ERRORS as error:
            logger.warning("cache does not answer", reason=str(error))
            await asyncio.sleep(_CACHE_INTERVAL)
