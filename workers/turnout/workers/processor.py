"""The processor: holds the deliveries of one flow, and decides which of them run when.

    take() ──▶ waiting ──slot──▶ executing ──▶ settling ──outcome confirmed──▶ acknowledged
                  │
                  └── paused, stopping, waited too long ──▶ given back to the queue

A slot is free again when the flow has ended, and of an abandoned thread when that has; the delivery
counts against the prefetch until it is acknowledged. What an execution is: see `execution`; what
happens to a lost delivery: see `run`.
"""

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from typing import cast

from turnout.shared import log, outcome
from turnout.shared.amqp import Delivery, properties_of
from turnout.shared.outcome import Outcome
from turnout.workers import prefetch
from turnout.workers.consumer import Consumer
from turnout.workers.execution import Execution
from turnout.workers.flow import Flow
from turnout.workers.relay import Relay
from turnout.workers.run import Abandoned, Orphans, Run
from turnout.workers.settings import TIMEOUT_SHARE
from turnout.workers.worker import Worker

logger = log.get(__name__)

#: An outcome "started" is published for a run that lasts longer, in nanoseconds. For a shorter one
#: it would tell what its end tells a moment later, at the price of a second outcome for each run.
_LONG = 500_000_000


class Processor:
    """Runs one flow.

    Args:
        flow: what is run.
        worker: that runs it.

    Attributes:
        most: how many runs may be in progress here at once.
        share: the same of the limit over all workers, see `shares`; None: the flow has none.
        limit: what follows from both.
        consumers: that take its messages.
        is_paused: none of them does, because somebody wants it so.
        attention: set when the prefetch has to be looked at now.
    """

    def __init__(self, flow: Flow, worker: Worker) -> None:
        self.flow = flow
        self.limit = self.most = flow.limit(worker.settings.concurrency)
        self.share: int | None = None
        self.consumers: set[Consumer] = set()
        self.is_paused = False
        self.attention = asyncio.Event()
        self._worker = worker
        self._execution = Execution(flow, worker, self.limit, self._note_abandoned)
        self._abandoned = 0  # attempts that are over, while their threads go on
        self._relay = Relay(self._process)
        self._loop = asyncio.get_running_loop()
        self._longest = int(worker.settings.delivery_timeout * TIMEOUT_SHARE * 1e9)
        # All whose delivery is ours; those of them that wait; and those that execute, ours or not.
        self._runs: set[Run] = set()
        self._waiting: deque[Run] = deque()
        self._executing: dict[Run, None] = {}
        self._orphans = Orphans()
        self._idle: asyncio.Future[None] | None = None
        # Until the first delivery nobody knows what the last worker died of.
        self._is_careful = True
        self._pace = _Pace()

    @property
    def running(self) -> int:
        """How many runs are in progress, with those of threads that were abandoned and go on."""
        return len(self._executing) + self._abandoned

    @property
    def held(self) -> int:
        """How many of the limit over all workers others cannot have: our share, or what runs."""
        return max(self.share or 0, self.running)

    @property
    def ended(self) -> Mapping[str, int]:
        """How many attempts ended, by the state of their outcome."""
        return self._execution.ended

    def allow(self, share: int | None) -> None:
        """Have no more runs in progress than these from now on; None: as many as there may be."""
        if share == self.share:
            return
        before, self.share = self.limit, share
        self.limit = self.most if share is None else min(self.most, share)
        self.attention.set()
        for _ in range(self.limit - before):
            self.start_one()

    def take(self, consumer: Consumer, delivery: Delivery) -> None:
        """Process a delivery as soon as there is a slot."""
        if delivery.redelivered and self._orphans:
            run = self._orphans.adopt(consumer, delivery)
            if run is not None:
                self._runs.add(run)
                if run.packed is not None:
                    self._worker.reports.add(run.packed, run)
                return
        run = Run(consumer, delivery, self._settled)
        run.is_suspect = delivery.redelivered and _deliveries(delivery) >= prefetch.SUSPECT
        if run.is_suspect is not self._is_careful:
            self._is_careful = run.is_suspect
            self.attention.set()
        self._runs.add(run)
        self._waiting.append(run)
        self.start_one()

    def start_one(self) -> bool:
        """Start a run that waits, if there may be one more; tell whether others could start."""
        if self._may_start() and self._worker.slots.take(self):
            run = self._waiting.popleft()
            self._executing[run] = None
            self._relay.add(run)
        return self._may_start()

    def give_back(self, consumer: Consumer | None = None) -> None:
        """Put the runs that wait back into the queue, for whoever is there to take them.

        Args:
            consumer: only those that it took; None: all.
        """
        waiting, self._waiting = self._waiting, deque()
        for run in waiting:
            if consumer in {None, run.consumer}:
                self._settled(run)
                run.consumer.give_back(run.delivery.tag)
            else:
                self._waiting.append(run)

    def lost(self, consumer: Consumer) -> None:
        """Note that the deliveries of a consumer are the broker's again.

        Those that wait are forgotten; what has started goes on, and is kept for its redelivery.
        """
        self._waiting = deque(each for each in self._waiting if each.consumer is not consumer)
        for run in [each for each in self._runs if each.consumer is consumer]:
            self._settled(run)
            if not self.flow.partitions:
                self._orphans.add(run)
            elif run.task is not None:
                run.task.cancel()  # another worker has the partition now: nobody overtakes it

    def look_after(self) -> None:
        """Tell which runs have started, and end those that the broker would start elsewhere."""
        now = time.time_ns()
        started = []
        for run in self._executing:
            if run.envelope is None or not run.started_at:
                continue
            if not run.is_told and now - run.started_at > _LONG:
                run.is_told = True
                started.append(outcome.pack(self._started(run)))
            if now - run.taken_at > self._longest and run.is_ours and not run.is_overdue:
                run.is_overdue = True
                if run.task is not None:
                    run.task.cancel()
        self._worker.reports.mention(started)
        if self._waiting and now - self._waiting[0].taken_at > self._longest / 2:
            self.give_back()

    def prefetch(self) -> int:
        """Choose how many deliveries may be here; see `prefetch`. Of a partition, one."""
        limit = max(0, self.limit - self._abandoned)
        if self.flow.partitions or self._is_careful:
            return min(1, limit)
        oldest = next(iter(self._executing), None)
        age = (time.time_ns() - oldest.started_at) / 1e9 if oldest and oldest.started_at else 0.0
        return prefetch.choose(limit, self._pace.duration(age), self._pace.size)

    async def finish(self) -> None:
        """Wait for all that is in progress, and for what else the executor has to end."""
        if self._executing or self._runs:
            self._idle = self._loop.create_future()
            await self._idle
        await self._execution.close()

    async def _process(self, run: Run) -> None:
        if run.consumer.closed.done():  # lost before it began: it begins where it comes next
            self._leave(run)
            return
        try:
            try:
                end = await self._execution.attempt(run)
                while (delay := self._execution.again(run, end)) is not None:
                    await asyncio.sleep(delay)
                    end = await self._execution.attempt(run)
            finally:
                self._leave(run)
            await self._execution.settle(run, end)
        except Abandoned:
            logger.info("run is left to another worker", flow=self.flow.address)
            return
        # Not the flow's failure but ours. The queue's delivery limit ends a loop of these.
        except Exception:
            logger.exception("processing failed", flow=self.flow.address)
            if run.is_ours and self._settled(run):
                run.consumer.give_back(run.delivery.tag)
            return
        if run.packed is None:
            run.confirmed()
        elif run.is_ours:
            self._worker.reports.add(run.packed, run)

    def _may_start(self) -> bool:
        if not self._waiting or self.running >= self.limit:
            return False
        # A suspect runs alone: if the worker dies of it, nothing else counts one delivery more.
        return not self._waiting[0].is_suspect or len(self._runs) == len(self._waiting)

    def _leave(self, run: Run) -> None:
        """Give the slot to the next run."""
        del self._executing[run]
        if run.started_at:
            self._pace.note(time.time_ns() - run.started_at, len(run.delivery.body))
        self._worker.slots.free()
        self.start_one()
        self._note_idle()

    def _note_abandoned(self, number: int) -> None:
        """Have abandoned threads keep their slots until they end."""
        is_more = number > self._abandoned
        self._abandoned = number
        self.attention.set()
        if not is_more:
            self._worker.slots.free()
            self.start_one()
            return
        self._worker.slots.keep()
        if number >= self.limit:
            logger.error(
                "flow waits for its threads: all were abandoned at their timeout and go on",
                flow=self.flow.address,
                still_at_work=number,
            )

    def _settled(self, run: Run) -> bool:
        """Note that nothing more happens with a delivery; tell whether that is new."""
        if run not in self._runs:
            return False
        self._runs.remove(run)
        if self._waiting and self._waiting[0].is_suspect:
            self.start_one()
        self._note_idle()
        return True

    def _note_idle(self) -> None:
        if self._idle is not None and not (self._executing or self._runs or self._idle.done()):
            self._idle.set_result(None)

    def _started(self, run: Run) -> Outcome:
        envelope = run.envelope
        assert envelope is not None  # noqa: S101 - it has started
        return Outcome(
            state=outcome.STARTED,
            event_id=envelope.event_id,
            run_id=envelope.run_id,
            attempt=envelope.attempt,
            group=envelope.group,
            flow=envelope.flow,
            worker_id=self._worker.id,
            started_at=run.started_at,
            ended_at=0,
            version=self.flow.version,
            redelivered=run.is_redelivered,
        )


class _Pace:
    """How long runs took, and how large their messages were, since the last look."""

    def __init__(self) -> None:
        self.size = 0.0
        self._duration = 0.0
        self._count = self._nanoseconds = self._bytes = 0

    def note(self, nanoseconds: int, size: int) -> None:
        """Count a run that has ended."""
        self._count += 1
        self._nanoseconds += nanoseconds
        self._bytes += size

    def duration(self, oldest: float) -> float:
        """Return the mean duration in seconds, and begin anew.

        Args:
            oldest: seconds since the start of a run that is in progress: those that have not ended
                count as well.
        """
        if self._count:
            self._duration = max(self._nanoseconds, 1) / self._count / 1e9
            self.size = self._bytes / self._count
            self._count = self._nanoseconds = self._bytes = 0
        else:
            self._duration = max(self._duration, oldest)
        return self._duration


def _deliveries(delivery: Delivery) -> int:
    """Return how often a quorum queue handed out a message before."""
    headers = properties_of(delivery).headers or {}
    return cast("int", headers.get("x-delivery-count", 0))
