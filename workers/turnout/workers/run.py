"""A run as the worker holds it: one delivery of one attempt, until it is acknowledged.

    waiting ──slot──▶ executing ──ended──▶ reported ──outcome confirmed──▶ acknowledged
                          │                   │
                          └──connection lost──┴──▶ orphan ──redelivered to us──▶ goes on from there

RabbitMQ hands out again what was not acknowledged on a lost connection. When it comes back to the
process that has it in progress, or has ended it, the flow does not run a second time: the run goes
on with the new delivery.
"""

import asyncio
import time
from collections.abc import Callable

from turnout.shared.amqp import Delivery
from turnout.shared.envelope import Envelope
from turnout.shared.errors import InvalidEnvelope
from turnout.workers.consumer import Consumer

#: How many orphans of a flow are remembered; the oldest is forgotten first, and may run again.
_MOST = 5_000


class Abandoned(Exception):
    """The run's delivery is not ours any more, and will not be."""


class Run:
    """One delivery and what becomes of it.

    Attributes:
        consumer: that took the delivery.
        delivery: the message.
        envelope: once it is decoded.
        task: that processes it.
        taken_at: when the delivery came, in nanoseconds since the Unix epoch.
        started_at: when the flow was called for this attempt; 0: it was not.
        is_suspect: earlier workers may have died of it.
        is_told: an outcome "started" was published for this attempt.
        is_overdue: it was cancelled, because the broker would take its delivery back.
        packed: the outcome, when it has ended.
    """

    __slots__ = (
        *("_settled", "adopted", "consumer", "delivery", "envelope", "is_overdue", "is_suspect"),
        *("is_told", "packed", "started_at", "taken_at", "task"),
    )

    def __init__(
        self, consumer: Consumer, delivery: Delivery, settled: Callable[["Run"], bool]
    ) -> None:
        self.consumer = consumer
        self.delivery = delivery
        self.envelope: Envelope | None = None
        self.task: asyncio.Task[None] | None = None
        self.taken_at = time.time_ns()
        self.started_at = 0
        self.is_suspect = False
        self.is_told = False
        self.is_overdue = False
        self.packed: bytes | None = None
        self.adopted: asyncio.Future[bool] | None = None
        self._settled = settled

    @property
    def is_redelivered(self) -> bool:
        """Whether this attempt may have run before."""
        return self.delivery.redelivered or (self.envelope is not None and self.envelope.repeated)

    @property
    def is_ours(self) -> bool:
        """Whether it can still be acknowledged."""
        return not self.consumer.closed.done()

    @property
    def is_lost(self) -> bool:
        """Whether another worker may have it, or soon will; for any thread."""
        return self.consumer.closed.done() or self.consumer.link.is_silent

    def confirmed(self) -> None:
        """Acknowledge it: its outcome is safe."""
        if self.is_ours and self._settled(self):
            self.consumer.settle(self.delivery.tag)

    async def ours(self) -> None:
        """Wait, if the delivery was lost, until it comes back to us.

        Raises:
            Abandoned: it was forgotten.
        """
        while not self.is_ours:
            self.adopted = asyncio.get_running_loop().create_future()
            if not await self.adopted:
                raise Abandoned


class Orphans:
    """The runs of a flow whose deliveries were lost, by run id and attempt."""

    def __init__(self) -> None:
        self._runs: dict[tuple[str, int], Run] = {}

    def __len__(self) -> int:
        return len(self._runs)

    def add(self, run: Run) -> None:
        """Remember a run, and forget the oldest if there are too many."""
        envelope = run.envelope
        if envelope is None:
            return
        key = (envelope.run_id, envelope.attempt)
        self._forget(self._runs.pop(key, None))  # an attempt that was in the queue twice
        self._runs[key] = run
        while len(self._runs) > _MOST:
            self._forget(self._runs.pop(next(iter(self._runs))))

    def adopt(self, consumer: Consumer, delivery: Delivery) -> Run | None:
        """Find the run that a redelivery is about, and give it the new delivery."""
        try:
            envelope = Envelope.decode(delivery.body)
        except InvalidEnvelope:
            return None
        run = self._runs.pop((envelope.run_id, envelope.attempt), None)
        if run is not None:
            run.consumer, run.delivery = consumer, delivery
            if run.adopted is not None:
                run.adopted.set_result(True)
                run.adopted = None
        return run

    def _forget(self, run: Run | None) -> None:
        if run is not None and run.adopted is not None:
            run.adopted.set_result(False)
