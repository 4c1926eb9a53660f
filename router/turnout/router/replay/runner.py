"""The runner: publishes the items of one replay, and none again that is known to be published.

    items, read ahead ──▶ publish ──▶ … some batches under way … ──▶ confirmed ──▶ position, history
                            ▲                                            │
                            └────────────── again, what is not ◀─────────┘

Nothing is published before SQL says so (`intent`): one transaction ends a batch and lets others
begin. After a crash the items between position and intent are looked for in the history, which
knows those that have begun; the others are published again with the ids that they had.

It never gets far ahead of the workers: while many runs wait in a flow's queue, live ones among
them, it waits as well. Where the order counts, a run is published when the one before has ended.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from turnout.router.database import DatabaseUnavailable
from turnout.router.depth import Depth
from turnout.router.history.archive import Archive
from turnout.router.replay.edit import Uneditable
from turnout.router.replay.items import Due, Items, reading
from turnout.router.replay.repeat import Repeat
from turnout.router.replay.replay import Replay
from turnout.router.replay.store import Progress, Store
from turnout.shared import envelope, log, names
from turnout.shared.backoff import Backoff
from turnout.shared.envelope import Envelope
from turnout.shared.errors import BrokerError
from turnout.shared.publisher import UNROUTABLE, Confirm, Publisher, Verdict

logger = log.get(__name__)

#: Items that are published together, and how many times that many may be published and not noted in
#: SQL: so many may be in doubt after a crash.
_BATCH = 500
_UNDER_WAY = 12
#: Batches a second, if the rate is low: an abort, or another rate, is obeyed within that time.
_BATCHES_A_SECOND = 10

#: Runs that may wait in a flow's queue before the replay waits too.
MOST_WAITING = 10_000
#: Seconds for which a look at a queue holds, and between two looks at one that is too full.
_LOOK = 0.5

#: Looks at the history, after a crash, for what was published before it.
_LOOKS_IN_DOUBT = 20

#: Seconds between two looks at whether a run has ended that the next one waits for.
_TURN = 0.1

#: Lower than that of live events where quorum queues know priorities; others take no notice.
PRIORITY = 0


class Gate(Protocol):
    """What an operator says while the replay runs."""

    rate: float

    @property
    def is_open(self) -> bool:
        """Whether it is to go on, and now."""

    async def open(self) -> bool:
        """Wait while it is paused; tell whether it is to go on."""

    async def sleep(self, seconds: float) -> None:
        """Sleep, but for no longer than until the operator says something."""


class _Batch(NamedTuple):
    """Items that are being published."""

    end: int
    """The number of the item after them."""
    runs: Sequence[Envelope]
    """What they became."""
    confirms: Sequence[asyncio.Future[Confirm]]
    """Of the last of these runs; those before were published before a crash."""
    skipped: int
    note: str
    """Why the last one was skipped."""


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
        self._repeat = Repeat(replay)
        self._most = 1 if replay.in_order else _UNDER_WAY
        self._intent: int = replay.intent
        self._due = 0.0
        self._looked: dict[str, float] = {}
        self._published: frozenset[str] = frozenset()
        self._under_way: deque[_Batch] = deque()
        self._noting: asyncio.Task[None] | None = None
        self.position: int = replay.position
        self.waits = ""

    async def run(self) -> bool:
        """Publish all that is left; tell whether it was all, or an operator ended it.

        Raises:
            DatabaseUnavailable, BrokerError: another runner can go on where this one was.
        """
        if self._intent > self.position:
            await self._settle_doubt()
        await self._note(Progress(self.position, self.position))
        try:
            async with reading(self._replay, self._store, self._archive, self.position) as items:
                return await self._publish(items)
        finally:
            if self._noting is not None:
                await asyncio.wait([self._noting])

    async def _publish(self, items: Items) -> bool:
        """Publish items; tell whether it was all of them."""
        while batch := await items.first(self._size):
            is_busy = bool(self._under_way or self._noting)
            if is_busy and not self._may_begin(batch):
                await self._end_some()
            elif not await self._gate.open():
                return False
            elif batch[-1].number >= self._intent:  # the rate has grown
                await self._note(Progress(self.position, self.position))
            elif await self._may_go(batch):
                self._under_way.append(self._begin(batch))
                items.drop(len(batch))
            elif is_busy:
                await self._end_some()
        while self._under_way or self._noting:
            await self._end_some()
        return await self._gate.open()

    @property
    def _size(self) -> int:
        """How many items are published together."""
        if self._replay.in_order:
            return 1
        rate = self._gate.rate
        return _BATCH if not rate else max(1, min(_BATCH, int(rate / _BATCHES_A_SECOND)))

    async def _settle_doubt(self) -> None:
        """Find out what was published before a crash, as far as the history knows it."""
        doubtful = self._intent - self.position
        items = await self._store.items(self._replay.id, self.position, doubtful)
        run_ids = [
            self._repeat.run_id(number, item) for number, item in enumerate(items, self.position)
        ]
        # The recorder has begun again as well, and has to read what was published meanwhile.
        for _ in range(_LOOKS_IN_DOUBT):
            self._published = await self._store.begun(run_ids)
            if len(self._published) == len(run_ids):
                break
            await asyncio.sleep(_LOOK)
        logger.warning(
            "the replay goes on after a crash",
            replay=self._replay.id,
            in_doubt=len(items),
            surely_published=len(self._published),
        )

    def _may_begin(self, batch: Sequence[Due]) -> bool:
        """Tell whether a batch may be published before those that are under way have ended."""
        return (
            self._gate.is_open
            and batch[-1].number < self._intent
            and self._due <= asyncio.get_running_loop().time()
        )

    async def _may_go(self, batch: Sequence[Due]) -> bool:
        """Wait for the batch's turn, a short time; tell whether it has come."""
        loop = asyncio.get_running_loop()
        queues = {self._repeat.queue(each.event) for each in batch if each.event is not None}
        unknown = [each for each in queues if self._looked.get(each, 0.0) + _LOOK <= loop.time()]
        # All at once: the broker is busy with what is published, and takes its time to answer.
        for queue, waiting in zip(
            unknown, await asyncio.gather(*map(self._depth.of, unknown)), strict=True
        ):
            if waiting > MOST_WAITING:
                self.waits = f"{waiting} runs wait in {names.flow_of(queue)}"
                await self._gate.sleep(_LOOK)
                return False
            self._looked[queue] = loop.time()
        self.waits = ""
        rate, early = self._gate.rate, self._due - loop.time()
        if rate and early > 0:
            await self._gate.sleep(early)
            if self._due > loop.time():
                return False  # an operator has said something
        # Time that was lost is not made up for: the rate is a limit.
        self._due = max(self._due, loop.time() - 1 / _BATCHES_A_SECOND)
        self._due += len(batch) / rate if rate else 0.0
        return True

    def _begin(self, batch: Sequence[Due]) -> _Batch:
        """Publish a batch."""
        before: list[Envelope] = []
        runs: list[Envelope] = []
        skipped, note = 0, ""
        for each in batch:
            try:
                run = self._repeat.run(each)
            except Uneditable as error:
                skipped, note = skipped + 1, str(error)
            else:
                (before if run.run_id in self._published else runs).append(run)
        confirms = [self._send(each) for each in runs]
        return _Batch(batch[-1].number + 1, [*before, *runs], confirms, skipped, note)

    async def _end_some(self) -> None:
        """Wait for the oldest batch, and have it noted with those that have ended meanwhile."""
        ended = []
        if self._under_way:
            ended.append(await self._ended(self._under_way.popleft()))
        if self._noting is not None:
            noting, self._noting = self._noting, None
            await noting
        while self._under_way and all(each.done() for each in self._under_way[0].confirms):
            ended.append(await self._ended(self._under_way.popleft()))
        if ended:
            runs = [run for each in ended for run in each.runs]
            note = next((each.note for each in reversed(ended) if each.note), "")
            skipped = sum(each.skipped for each in ended)
            end = ended[-1].end
            self._noting = asyncio.create_task(
                self._note(Progress(end, end, runs, skipped, note)), name="replay notes"
            )
            if self._replay.in_order:
                await self._noting
                await self._wait_for(runs)

    async def _ended(self, batch: _Batch) -> _Batch:
        """Publish a batch again until all of it is confirmed, or an operator ends the replay."""
        published = batch.runs[len(batch.runs) - len(batch.confirms) :]
        left = await self._refused(published, batch.confirms)
        backoff = Backoff()
        while left and await self._gate.open():
            await self._gate.sleep(backoff.delay())
            left = await self._refused(left, [self._send(each) for each in left])
        self.waits = ""
        refused = {each.run_id for each in left}
        runs = [each for each in batch.runs if each.run_id not in refused] if left else batch.runs
        return batch._replace(runs=runs)

    async def _refused(
        self, runs: Sequence[Envelope], confirms: Sequence[asyncio.Future[Confirm]]
    ) -> list[Envelope]:
        """Wait for confirmations, and return the runs that have to be published again."""
        left = []
        for run, future in zip(runs, confirms, strict=True):
            confirm = await future
            if confirm.verdict is not Verdict.ACCEPTED:
                left.append(run)
                self.waits = confirm.reason
                if confirm is UNROUTABLE:
                    self.waits = f"the flow {run.group}/{run.flow} has no queue"
        return left

    async def _note(self, progress: Progress) -> None:
        """Write how far it is, and that some more may be published."""
        intent = progress.position + self._most * self._size
        await self._store.advance(self._replay, progress._replace(intent=intent))
        self.position, self._intent = progress.position, intent

    async def _wait_for(self, runs: Sequence[Envelope]) -> None:
        """Wait until runs have ended, or an operator ends the replay."""
        run_ids = [each.run_id for each in runs]
        while await self._gate.open() and not await self._store.have_ended(run_ids):
            self.waits = f"{run_ids[0]} has not ended"
            await self._gate.sleep(_TURN)

    def _send(self, run: Envelope) -> asyncio.Future[Confirm]:
        return self._publisher.publish(
            "", self._repeat.queue(run), run.encode(), kind=envelope.TYPE, priority=PRIORITY
        )


#: What ends a runner, and lets it begin again.
TEMPORARY = (BrokerError, DatabaseUnavailable)
