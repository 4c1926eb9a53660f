"""The processor: what happens to a message of one flow, from its delivery to its acknowledgement.

    delivery ── not an envelope ─────────────▶ turnout.dead ──────────────────────────▶ ack
        │
        └─ attempt ── returned ──────────────────────────────▶ outcome "succeeded" ──▶ ack
              ├────── raised, attempts left ─▶ turnout.delay.<s> ─▶ "retrying" ──────▶ ack
              └────── raised, none left ─────▶ turnout.dead ───────▶ "dead" ─────────▶ ack

Each arrow to the right is a publish that the broker has confirmed. A worker that dies between two
of them leaves a duplicate behind, never a loss. A bucket returns the message to the flow's queue
after its delay. Outcomes and acknowledgements go in batches, see `reports` and `consumer`.

A slot is free again when the flow has ended; the delivery counts against the prefetch until it is
acknowledged.
"""

import asyncio
import logging
import time
from collections import Counter, deque

from turnout.shared import envelope as kinds
from turnout.shared import log, names, outcome
from turnout.shared.amqp import Delivery
from turnout.shared.backoff import Backoff
from turnout.shared.envelope import TYPE, Envelope
from turnout.shared.errors import InvalidEnvelope
from turnout.shared.outcome import Outcome
from turnout.shared.publisher import Publisher, Verdict
from turnout.workers.answers import Answers
from turnout.workers.attempt import Failure, Success
from turnout.workers.consumer import Consumer
from turnout.workers.context import Context
from turnout.workers.decision import Bury, decide
from turnout.workers.executor import executor_of, with_logs
from turnout.workers.flow import Flow
from turnout.workers.once import Marks
from turnout.workers.reports import Reports
from turnout.workers.resources import Resources
from turnout.workers.result import kept
from turnout.workers.run import Abandoned, Orphans, Run
from turnout.workers.slots import Slots

logger = log.get(__name__)

#: The AMQP property `type` of a dead letter that is no envelope.
UNREADABLE = "turnout.unreadable"

_MOST_ERROR = 500


class Processor:
    """Runs one flow.

    Args:
        flow: what is run.
        publisher: for retries and dead letters.
        reports: for outcomes.
        answers: for those who wait for an outcome.
        slots: of the process.
        resources: that the flow may use.
        marks: of the side effects that it guards.
        worker_id: named in the outcomes.
        concurrency: how many runs may be in progress at once, if the flow does not say.

    Attributes:
        limit: how many runs may be in progress at once.
        running: how many are.
        ended: how many attempts ended, by the state of their outcome.
    """

    def __init__(
        self,
        flow: Flow,
        publisher: Publisher,
        reports: Reports,
        answers: Answers,
        slots: Slots,
        *,
        resources: Resources,
        marks: Marks,
        worker_id: str,
        concurrency: int,
    ) -> None:
        self.flow = flow
        self.limit = flow.limit(concurrency)
        self.running = 0
        self.ended: Counter[str] = Counter()
        self._publisher = publisher
        self._reports = reports
        self._answers = answers
        self._slots = slots
        self._worker_id = worker_id
        self._loop = asyncio.get_running_loop()
        # All whose delivery is ours, in the order in which they came; and those that wait of them.
        self._runs: dict[Run, None] = {}
        self._waiting: deque[Run] = deque()
        self._orphans = Orphans()
        self._tasks: set[asyncio.Task[None]] = set()
        self._idle: asyncio.Future[None] | None = None
        self._resources = resources
        self._marks = marks
        self._executor = executor_of(flow, self.limit)

    def take(self, consumer: Consumer, delivery: Delivery) -> None:
        """Process a delivery in a task of its own, as soon as there is a slot."""
        if delivery.redelivered and self._orphans:
            run = self._orphans.adopt(consumer, delivery)
            if run is not None:
                self._runs[run] = None
                if run.packed is not None:
                    self._reports.add(run.packed, run)
                return
        run = Run(consumer, delivery, self._settled)
        self._runs[run] = None
        self._waiting.append(run)
        self.start_one()

    def start_one(self) -> bool:
        """Start a run that waits, if there may be one more; tell whether others could start."""
        if self._waiting and self.running < self.limit and self._slots.take(self):
            self.running += 1
            run = self._waiting.popleft()
            run.is_executing = True
            task = self._loop.create_task(self._process(run))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return bool(self._waiting) and self.running < self.limit

    def give_back(self) -> None:
        """Put the runs that wait back into the queue, for whoever is there to take them."""
        waiting, self._waiting = self._waiting, deque()
        for run in waiting:
            del self._runs[run]
            run.consumer.give_back(run.delivery.tag)

    def lost(self, consumer: Consumer) -> None:
        """Note that the deliveries of a consumer are the broker's again.

        Those that wait are forgotten; what has started goes on, and is kept for its redelivery.
        """
        self._waiting = deque(each for each in self._waiting if each.consumer is not consumer)
        for run in [each for each in self._runs if each.consumer is consumer]:
            self._settled(run)
            self._orphans.add(run)

    async def finish(self) -> None:
        """Wait for all that is in progress, and for what else the executor has to end."""
        if self.running or self._runs:
            self._idle = self._loop.create_future()
            await self._idle
        await self._executor.close()

    # -- one run

    async def _process(self, run: Run) -> None:
        try:
            await self._perform(run)
        except Abandoned:
            logger.info("run is left to another worker", flow=self.flow.address)
        # Not the flow's failure but ours. The queue's delivery limit ends a loop of these.
        except Exception:
            logger.exception("processing failed", flow=self.flow.address)
            if run.is_ours and self._settled(run):
                run.consumer.give_back(run.delivery.tag)

    async def _perform(self, run: Run) -> None:
        """Run the flow, and hand on what came of it."""
        try:
            delivery = run.delivery
            try:
                envelope = run.envelope = Envelope.decode(delivery.body)
            except InvalidEnvelope as error:
                logger.warning("message is no envelope", flow=self.flow.address, error=str(error))
                await self._bury(run, delivery.body, UNREADABLE, "no envelope", str(error))
                run.confirmed()
                return
            run.started_at = time.time_ns()
            context = Context(
                envelope, self._resources, self._marks, redelivered=delivery.redelivered
            )
            ending = self._executor.run(context)
            end = await (ending if envelope.kind != kinds.ONCE else with_logs(ending))
            ended_at = time.time_ns()
        finally:
            self._leave(run)
        report = Outcome(
            state=outcome.SUCCEEDED,
            event_id=envelope.event_id,
            run_id=envelope.run_id,
            attempt=envelope.attempt,
            group=envelope.group,
            flow=envelope.flow,
            worker_id=self._worker_id,
            started_at=run.started_at,
            ended_at=ended_at,
            version=self.flow.version,
            redelivered=delivery.redelivered,
            logs=end.logs,
        )
        if isinstance(end, Success):
            if logging.getLogger(__name__).isEnabledFor(logging.DEBUG):
                logger.debug("run succeeded", **_told(report))
            if end.result is not None:
                value, reason = kept(end.result)
                report = report._replace(result=value)
                if reason is not None:
                    logger.warning("result is not kept as it is", **_told(report), reason=reason)
        else:
            report = await self._fail(run, envelope, report, end)
        self.ended[report.state] += 1
        run.packed = outcome.pack(report)
        if envelope.reply_to is not None:
            self._answers.tell(envelope.reply_to, report)
        if run.is_ours:
            self._reports.add(run.packed, run)

    async def _fail(
        self, run: Run, envelope: Envelope, report: Outcome, failure: Failure
    ) -> Outcome:
        """Publish the next attempt or the dead letter; return the outcome."""
        report = report._replace(error=failure.error, traceback=failure.traceback)
        told = {**_told(report), "error": report.error, "exception": report.traceback}
        decision = decide(self.flow, envelope.attempt, envelope.kind, failure)
        if isinstance(decision, Bury):
            logger.error("run is dead", **told)
            await self._bury(run, run.delivery.body, TYPE, decision.reason, failure.error)
            return report._replace(state=outcome.DEAD)
        delay = decision.seconds
        logger.warning("attempt failed", **told, next_in=delay)
        body = envelope._replace(attempt=envelope.attempt + 1).encode()
        await self._publish(run, names.delay(delay), body, TYPE)
        return report._replace(state=outcome.RETRYING, delay=delay)

    async def _bury(self, run: Run, body: bytes, kind: str, reason: str, error: str) -> None:
        """Publish the message, byte for byte, as a dead letter."""
        headers: dict[str, str | int] = {
            "turnout-reason": reason,
            "turnout-error": error[:_MOST_ERROR],
        }
        await self._publish(run, names.DEAD, body, kind, headers)

    async def _publish(
        self,
        run: Run,
        exchange: str,
        body: bytes,
        kind: str,
        headers: dict[str, str | int] | None = None,
    ) -> None:
        """Publish, while the delivery is ours, until the broker has confirmed it.

        The routing key is always the name of the flow's queue: a bucket sends its messages there,
        and a dead letter shows by it where it came from.

        Raises:
            Abandoned: the delivery is not ours any more.
        """
        backoff = Backoff()
        while True:
            await run.ours()
            confirm = await self._publisher.publish(
                exchange, self.flow.queue, body, kind=kind, headers=headers
            )
            if confirm.verdict is Verdict.ACCEPTED:
                return
            logger.warning(
                "publishing again", flow=self.flow.address, to=exchange, reason=confirm.reason
            )
            await asyncio.wait([run.consumer.closed], timeout=backoff.delay())

    def _leave(self, run: Run) -> None:
        """Give the slot to the next run."""
        run.is_executing = False
        self.running -= 1
        self._slots.free()
        self.start_one()
        self._note_idle()

    def _settled(self, run: Run) -> bool:
        """Note that nothing more happens with a delivery; tell whether that is new."""
        if run not in self._runs:
            return False
        del self._runs[run]
        self._note_idle()
        return True

    def _note_idle(self) -> None:
        if self._idle is not None and not (self.running or self._runs or self._idle.done()):
            self._idle.set_result(None)


def _told(report: Outcome) -> dict[str, str | int | float]:
    """Return what each log line about an attempt says."""
    return {
        "event_id": report.event_id,
        "flow": f"{report.group}/{report.flow}",
        "attempt": report.attempt,
        "milliseconds": round((report.ended_at - report.started_at) / 1e6, 1),
    }
