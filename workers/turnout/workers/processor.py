"""The processor: what happens to a message of one flow, from its delivery to its acknowledgement.

    delivery ── not an envelope ─────────────▶ turnout.dead ──────────────────────────▶ ack
        │
        └─ attempt ── returned ──────────────────────────────▶ outcome "succeeded" ──▶ ack
              ├────── raised, attempts left ─▶ turnout.delay.<s> ─▶ "retrying" ──────▶ ack
              └────── raised, none left ─────▶ turnout.dead ───────▶ "dead" ─────────▶ ack

Each arrow to the right is a publish that the broker has confirmed. A worker that dies between two
of them leaves a duplicate behind, never a loss. A bucket returns the message to the flow's queue
after its delay.
"""

import asyncio
import json
import reprlib
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from turnout.shared import envelope as kinds
from turnout.shared import log, names, outcome
from turnout.shared.amqp import Delivery
from turnout.shared.backoff import Backoff
from turnout.shared.envelope import TYPE, Envelope
from turnout.shared.errors import InvalidEnvelope
from turnout.shared.outcome import Outcome
from turnout.shared.publisher import Publisher, Verdict
from turnout.workers import policy
from turnout.workers.answers import Answers
from turnout.workers.attempt import Failure, attempt
from turnout.workers.consumer import Consumer
from turnout.workers.event import Event
from turnout.workers.flow import Flow

logger = log.get(__name__)

#: The AMQP property `type` of a dead letter that is no envelope.
UNREADABLE = "turnout.unreadable"

#: A plain function needs a thread for each run: more than this help nobody in one process.
MOST_THREADS = 32

#: Greatest number of characters of a result, as JSON, that is kept.
_MOST_RESULT = 65_536
_MOST_ERROR = 500


class Processor:
    """Runs one flow.

    Args:
        flow: what is run.
        publisher: for outcomes, retries and dead letters.
        answers: for those who wait for an outcome.
        worker_id: named in the outcomes.
        concurrency: how many runs may be in progress at once; of a plain function, at most
            `MOST_THREADS`.

    Attributes:
        limit: how many runs may be in progress at once.
        runs: the tasks of those that are.
    """

    def __init__(
        self,
        flow: Flow,
        publisher: Publisher,
        answers: Answers,
        *,
        worker_id: str,
        concurrency: int,
    ) -> None:
        self.flow = flow
        self.limit = concurrency if flow.is_async else min(concurrency, MOST_THREADS)
        self.runs: set[asyncio.Task[None]] = set()
        self._publisher = publisher
        self._answers = answers
        self._worker_id = worker_id
        # The broker holds to the limit for each channel; runs of a lost one may still go on.
        self._slots = asyncio.Semaphore(self.limit)
        self._threads = (
            None
            if flow.is_async
            else ThreadPoolExecutor(self.limit, thread_name_prefix=flow.address)
        )

    def take(self, consumer: Consumer, delivery: Delivery) -> None:
        """Process a delivery in a task of its own."""
        run = asyncio.create_task(self._process(consumer, delivery))
        self.runs.add(run)
        run.add_done_callback(self.runs.discard)

    async def finish(self) -> None:
        """Wait for the runs in progress, and for threads that were abandoned at a timeout."""
        if self.runs:
            await asyncio.wait(self.runs)
        if self._threads is not None:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(None, self._threads.shutdown)

    async def _process(self, consumer: Consumer, delivery: Delivery) -> None:
        async with self._slots:
            if consumer.stopped:  # it waited for a slot; unstarted, it goes back to the queue
                return
            try:
                if await self._settle(consumer, delivery):
                    consumer.ack(delivery.tag)
            # Not the flow's failure but ours. The queue's delivery limit ends a loop of these.
            except Exception:
                logger.exception("processing failed", flow=self.flow.address)
                consumer.reject(delivery.tag, requeue=True)

    async def _settle(self, consumer: Consumer, delivery: Delivery) -> bool:
        """Run the flow and publish what follows; tell whether all of it is confirmed."""
        try:
            envelope = Envelope.decode(delivery.body)
        except InvalidEnvelope as error:
            logger.warning("message is no envelope", flow=self.flow.address, error=str(error))
            return await self._bury(consumer, delivery, UNREADABLE, "no envelope", str(error))

        started_at = time.time_ns()
        end = await attempt(
            self.flow, Event(envelope, redelivered=delivery.redelivered), self._threads
        )
        report = Outcome(
            state=outcome.SUCCEEDED,
            event_id=envelope.event_id,
            run_id=envelope.run_id,
            attempt=envelope.attempt,
            group=envelope.group,
            flow=envelope.flow,
            worker_id=self._worker_id,
            started_at=started_at,
            ended_at=time.time_ns(),
            redelivered=delivery.redelivered,
        )
        if isinstance(end, Failure):
            report = report._replace(error=end.error, traceback=end.traceback)
            return await self._fail(consumer, delivery, envelope, report)
        logger.info("run succeeded", **_told(report))
        report = report._replace(result=_kept(report, end.result))
        self._answer(envelope, report)
        body = outcome.encode([report])
        return await self._publish(consumer, names.OUTCOMES, body, outcome.TYPE)

    async def _fail(
        self, consumer: Consumer, delivery: Delivery, envelope: Envelope, report: Outcome
    ) -> bool:
        """Publish the next attempt or the dead letter, then the outcome."""
        # Whoever runs a test sees how it failed, and decides whether to try again.
        delay = None if envelope.kind == kinds.ONCE else policy.delay(self.flow, envelope.attempt)
        told = {**_told(report), "error": report.error, "exception": report.traceback}
        if delay is None:
            logger.error("run is dead", **told)
            report = report._replace(state=outcome.DEAD)
            reason = f"attempt {envelope.attempt} of {self.flow.retries + 1} failed"
            moved = await self._bury(consumer, delivery, TYPE, reason, report.error or "")
        else:
            logger.warning("attempt failed", **told, next_in=delay)
            report = report._replace(state=outcome.RETRYING, delay=delay)
            body = envelope._replace(attempt=envelope.attempt + 1).encode()
            moved = await self._publish(consumer, names.delay(delay), body, TYPE)
        self._answer(envelope, report)
        return moved and await self._publish(
            consumer, names.OUTCOMES, outcome.encode([report]), outcome.TYPE
        )

    def _answer(self, envelope: Envelope, report: Outcome) -> None:
        if envelope.reply_to is not None:
            self._answers.tell(envelope.reply_to, report)

    async def _bury(
        self, consumer: Consumer, delivery: Delivery, kind: str, reason: str, error: str
    ) -> bool:
        """Publish the message, byte for byte, as a dead letter."""
        headers: dict[str, str | int] = {
            "turnout-reason": reason,
            "turnout-error": error[:_MOST_ERROR],
        }
        return await self._publish(consumer, names.DEAD, delivery.body, kind, headers)

    async def _publish(
        self,
        consumer: Consumer,
        exchange: str,
        body: bytes,
        kind: str,
        headers: dict[str, str | int] | None = None,
    ) -> bool:
        """Publish until the broker has confirmed it, or has the delivery back; tell which.

        The routing key is always the name of the flow's queue: a bucket sends its messages there,
        and a dead letter shows by it where it came from.
        """
        backoff = Backoff()
        while not consumer.closed.done():
            confirm = await self._publisher.publish(
                exchange, self.flow.queue, body, kind=kind, headers=headers
            )
            if confirm.verdict is Verdict.ACCEPTED:
                return True
            logger.warning(
                "publishing again", flow=self.flow.address, to=exchange, reason=confirm.reason
            )
            await asyncio.wait([consumer.closed], timeout=backoff.delay())
        return False


def _told(report: Outcome) -> dict[str, str | int | float]:
    """Return what each log line about an attempt says."""
    return {
        "event_id": report.event_id,
        "flow": f"{report.group}/{report.flow}",
        "attempt": report.attempt,
        "milliseconds": round((report.ended_at - report.started_at) / 1e6, 1),
    }


def _kept(report: Outcome, result: Any) -> Any:
    """Return the flow's result as JSON carries it, or else how it looks."""
    if result is None:
        return None
    try:
        text = json.dumps(result, allow_nan=False)
        if len(text) <= _MOST_RESULT:
            return json.loads(text)
        reason = f"as JSON it has {len(text)} characters, more than {_MOST_RESULT}"
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the run has succeeded
        reason = str(error)
    logger.warning("result is not kept", **_told(report), reason=reason)
    return reprlib.repr(result)
