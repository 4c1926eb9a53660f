"""The runner: publishes the items of one replay, and none again that is known to be published.

    load items ──▶ read their events ──▶ intent ──▶ publish ──▶ all confirmed ──▶ position, history
                     (the next ones meanwhile)                     │
                                     ▲──── again, what is not ◀────┘

The id of a run follows from the replay and the run that it repeats. After a crash the items between
position and intent are looked for in the history, which knows those that have begun; the others are
published again with the ids that they had. The id is the run's idempotency key too, by which a
worker can tell a second copy.

It never gets far ahead of the workers: while many runs wait in a flow's queue, live ones among
them, it waits as well.
"""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from turnout.router.database import DatabaseUnavailable
from turnout.router.depth import Depth
from turnout.router.history.archive import Archive, Place
from turnout.router.replay import plan
from turnout.router.replay.edit import Edit, Uneditable
from turnout.router.replay.plan import Item
from turnout.router.replay.replay import Replay
from turnout.router.replay.store import Progress, Store
from turnout.shared import envelope, ids, log, names
from turnout.shared.backoff import Backoff
from turnout.shared.envelope import Envelope
from turnout.shared.errors import BrokerError, InvalidEnvelope
from turnout.shared.publisher import UNROUTABLE, Publisher, Verdict

logger = log.get(__name__)

#: Items whose events are read at once.
_CHUNK = 2000
#: Items that are published together; all of them may be in doubt after a crash.
_BATCH = 500
#: Batches a second, if the rate is low: an abort, or another rate, is obeyed within that time.
_BATCHES_A_SECOND = 10

#: Runs that may wait in a flow's queue before the replay waits too.
MOST_WAITING = 10_000
#: Seconds for which a look at a queue holds, and between two looks at one that is too full.
_LOOK = 0.5

#: Looks at the history, after a crash, for what was published before it.
_LOOKS_IN_DOUBT = 20

#: RabbitMQ 4 hands such a message out after others; 3.x takes no notice of it.
PRIORITY = 0


class _Due(NamedTuple):
    """An item whose turn it is."""

    number: int
    item: Item
    event: Envelope | None
    """What it repeats; None: it is gone."""
    published: bool = False
    """Before a crash."""


class Gate(Protocol):
    """What an operator says while the replay runs."""

    rate: float

    async def open(self) -> bool:
        """Wait while it is paused; tell whether it is to go on."""

    async def sleep(self, seconds: float) -> None:
        """Sleep, but for no longer than until the operator says something."""


class Runner:
    """Publishes one replay.

    Args:
        replay: its row.
        gate: what an operator says.
        store: where its progress is written.
        archive: where events are.
        publisher: of the router.
        depth: counts what waits.

    Attributes:
        position: all items before it are done.
        waits: why it does not go on at present; "" when it does.
    """

    def __init__(
        self,
        replay: Replay,
        gate: Gate,
        *,
        store: Store,
        archive: Archive,
        publisher: Publisher,
        depth: Depth,
    ) -> None:
        self._replay = replay
        self._gate = gate
        self._store = store
        self._archive = archive
        self._publisher = publisher
        self._depth = depth
        self._edit = None if replay.edit is None else Edit.from_json(replay.edit)
        self._moment = replay.started_at // 1_000_000
        self._due = 0.0
        self._looked: dict[str, float] = {}
        self.position: int = replay.position
        self.waits = ""

    async def run(self) -> bool:
        """Publish all that is left; tell whether it was all, or an operator ended it.

        Raises:
            DatabaseUnavailable, BrokerError: it can be called again, and goes on where it was.
        """
        following = await self._load(self.position)
        doubtful = self._replay.intent - self.position
        if doubtful > 0:
            following = await self._settle_doubt(following, doubtful)
        while following:
            loading = asyncio.create_task(
                self._load(following[-1].number + 1), name="replay reads on"
            )
            try:
                if not await self._publish_all(following):
                    return False
                following = await loading
            finally:
                loading.cancel()
        await self._store.advance(self._replay, Progress(self.position, self.position))
        return True

    async def _load(self, position: int) -> Sequence[_Due]:
        """Read some items from a position on, with what they repeat."""
        items = await self._store.items(self._replay.id, position, _CHUNK)
        events = await self._events(items)
        for erased in await self._store.erased([each.event_id for each in items]):
            events.pop(erased, None)
        return [
            _Due(number, item, events.get(item.event_id))
            for number, item in enumerate(items, position)
        ]

    async def _events(self, items: Sequence[Item]) -> dict[str, Envelope]:
        if self._replay.source == plan.DEAD:
            bodies = await self._store.bodies([each.origin for each in items])
            letters = map(_decoded, bodies)
            return {event.event_id: event for event in letters if event is not None}
        places = [Place(each.stream_offset, each.stream_index, each.event_id) for each in items]
        return {
            place.event_id: event
            async for place, event in self._archive.pick(places)
            if event is not None
        }

    async def _settle_doubt(self, items: Sequence[_Due], doubtful: int) -> Sequence[_Due]:
        """Mark what was published before a crash, as far as the history knows it."""
        run_ids = [self._run_id(each) for each in items[:doubtful]]
        begun: set[str] = set()
        # The recorder has begun again as well, and has to read what was published meanwhile.
        for _ in range(_LOOKS_IN_DOUBT):
            begun = await self._store.begun(run_ids)
            if len(begun) == len(run_ids):
                break
            await asyncio.sleep(_LOOK)
        logger.warning(
            "the replay goes on after a crash",
            replay=self._replay.id,
            in_doubt=doubtful,
            surely_published=len(begun),
        )
        return [each._replace(published=self._run_id(each) in begun) for each in items]

    async def _publish_all(self, items: Sequence[_Due]) -> bool:
        """Publish items in batches; tell whether to go on."""
        begin = 0
        while begin < len(items):
            if not await self._gate.open():
                return False
            rate = self._gate.rate
            size = _BATCH if not rate else max(1, min(_BATCH, int(rate / _BATCHES_A_SECOND)))
            batch = items[begin : begin + size]
            if not await self._may_go(batch, rate):
                continue  # an operator has said something, or it is not the time
            if not await self._publish(batch):
                return False
            begin += size
        return True

    async def _may_go(self, batch: Sequence[_Due], rate: float) -> bool:
        """Wait for the batch's turn, a short time; tell whether it has come."""
        loop = asyncio.get_running_loop()
        for queue in {self._queue(each.event) for each in batch if each.event is not None}:
            if self._looked.get(queue, 0.0) + _LOOK > loop.time():
                continue
            waiting = await self._depth.of(queue)
            if waiting > MOST_WAITING:
                self.waits = f"{waiting} runs wait in {names.flow_of(queue)}"
                await self._gate.sleep(_LOOK)
                return False
            self._looked[queue] = loop.time()
        self.waits = ""
        early = self._due - loop.time()
        if rate and early > 0:
            await self._gate.sleep(early)
            return self._due <= loop.time()
        # Time that was lost is not made up for: the rate is a limit.
        self._due = max(self._due, loop.time() - 1 / _BATCHES_A_SECOND)
        self._due += len(batch) / rate if rate else 0.0
        return True

    async def _publish(self, batch: Sequence[_Due]) -> bool:
        """Publish a batch until all of it is confirmed; tell whether to go on."""
        runs, left, skipped, note = [], [], 0, ""
        for each in batch:
            try:
                run = self._run(each)
            except Uneditable as error:
                skipped, note = skipped + 1, str(error)
            else:
                runs.append(run)
                if not each.published:
                    left.append(run)
        end = batch[-1].number + 1
        await self._store.advance(self._replay, Progress(self.position, end))
        backoff = Backoff()
        while left := await self._publish_once(left):
            await self._gate.sleep(backoff.delay())
            if not await self._gate.open():
                return False
        self.waits = ""
        await self._store.advance(self._replay, Progress(end, end, runs, skipped, note))
        self.position = end
        return True

    async def _publish_once(self, runs: Sequence[Envelope]) -> list[Envelope]:
        """Publish runs, and return those that have to be published again."""
        confirms = await asyncio.gather(
            *(
                self._publisher.publish(
                    "", self._queue(run), run.encode(), kind=envelope.TYPE, priority=PRIORITY
                )
                for run in runs
            )
        )
        left = []
        for run, confirm in zip(runs, confirms, strict=True):
            if confirm.verdict is not Verdict.ACCEPTED:
                left.append(run)
                self.waits = confirm.reason
                if confirm is UNROUTABLE:
                    self.waits = f"the flow {run.group}/{run.flow} has no queue"
        return left

    def _run(self, due: _Due) -> Envelope:
        """Return the run that repeats an event.

        Raises:
            Uneditable: its event is gone, or its body is not what the edit works on.
        """
        event = due.event
        if event is None:
            raise Uneditable(f"{due.item.event_id} is gone")
        if self._edit is not None:
            event = self._edit.apply(event)
        group, flow = self._address(event)
        run_id = self._run_id(due)
        return event._replace(
            run_id=run_id,
            group=group,
            flow=flow,
            attempt=1,
            kind=envelope.ONCE if self._replay.dry_run else envelope.REPLAY,
            # Not the sender's: that one has been used. This one finds copies of this very run.
            idempotency=run_id,
            traceparent=None,
            reply_to=None,
            origin=due.item.origin,
            replay=self._replay.id,
        )

    def _run_id(self, due: _Due) -> str:
        text = f"{self._replay.id} {due.item.origin}"
        return ids.derived(ids.RUN, self._moment, due.number, text)

    def _address(self, event: Envelope) -> tuple[str, str]:
        target = self._replay.target
        return (event.group, event.flow) if target is None else names.flow_address(target)

    def _queue(self, event: Envelope) -> str:
        queue = names.flow_queue(*self._address(event))
        # An event of an ordered flow goes where it went before.
        target = self._replay.target
        return queue if target is not None else names.same_partition(queue, event.routing_key)


def _decoded(body: bytes) -> Envelope | None:
    try:
        return Envelope.decode(body)
    except InvalidEnvelope:
        return None


#: What ends a runner, and lets it begin again.
TEMPORARY = (BrokerError, DatabaseUnavailable)
