"""The execution of one run: from the bytes of its message to its outcome.

    message ── not an envelope ────────────────▶ turnout.dead
       │
       ├─ cancelled, or a duplicate ────────────────────────────────▶ outcome "cancelled"
       ├─ its twin is at work, or it is
       │  for another version of the flow ─────▶ turnout.delay.<s> ─▶ "retrying", the same attempt
       └─ attempt ── returned ──────────────────────────────────────▶ "succeeded"
             ├────── raised, attempts left ────▶ turnout.delay.<s> ─▶ "retrying"
             └────── raised, none left ────────▶ turnout.dead ──────▶ "dead"

Each arrow to the right is a publish that the broker has confirmed before the next step. A worker
that dies between two of them leaves a duplicate behind, never a loss. A bucket returns the message
to the flow's queue after its delay.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from turnout.shared import envelope as kinds
from turnout.shared import log, names, outcome
from turnout.shared.backoff import Backoff
from turnout.shared.envelope import TYPE, Envelope
from turnout.shared.errors import InvalidEnvelope
from turnout.shared.outcome import Outcome
from turnout.shared.publisher import Verdict
from turnout.workers.attempt import Failure, Success
from turnout.workers.context import Context
from turnout.workers.decision import Bury, decide
from turnout.workers.executor import executor_of, with_logs
from turnout.workers.flow import Flow
from turnout.workers.result import kept
from turnout.workers.run import Run
from turnout.workers.settings import TIMEOUT_SHARE
from turnout.workers.twins import Claim
from turnout.workers.worker import Worker

logger = log.get(__name__)
_levels = logging.getLogger(__name__)

#: The AMQP property `type` of a dead letter that is no envelope.
UNREADABLE = "turnout.unreadable"

_MOST_ERROR = 500

#: Seconds between two attempts of an ordered flow at most.
_LONGEST_IN_PLACE = 60

#: Seconds that a lease lasts beyond the longest attempt, and after which a run is looked at again
#: that another copy, or another version, stands against.
_LEASE = 60.0
_LOOK_AGAIN = 5


class Unreadable(NamedTuple):
    """The message is no envelope."""

    error: str


class Skipped(NamedTuple):
    """The flow was not called."""

    state: str
    """Of the outcome."""
    reason: str | None
    delay: int | None = None
    """Seconds after which it is tried again."""


End = Success | Failure | Skipped | Unreadable


class Execution:
    """Executes the runs of one flow.

    Args:
        flow: what is run.
        worker: that runs it.
        limit: how many runs may be in progress at once.
        on_abandoned: see `executor_of`.

    Attributes:
        ended: how many attempts ended, by the state of their outcome.
    """

    def __init__(
        self, flow: Flow, worker: Worker, limit: int, on_abandoned: Callable[[int], None]
    ) -> None:
        self.ended: Counter[str] = Counter()
        self._flow = flow
        self._address = flow.address
        self._worker = worker
        self._executor = executor_of(flow, limit, on_abandoned)
        self._longest = worker.settings.delivery_timeout * TIMEOUT_SHARE
        self._lease = (flow.timeout or self._longest) + _LEASE

    async def attempt(self, run: Run) -> End:
        """Call the flow, unless something stands against it."""
        try:
            envelope = run.envelope = run.envelope or Envelope.decode(run.delivery.body)
        except InvalidEnvelope as error:
            return Unreadable(str(error))
        reason = self._worker.notices.cancelled(self._address, envelope.run_id)
        if reason is not None:
            return Skipped(outcome.CANCELLED, reason)
        if envelope.idempotency is not None and (skipped := await self._claim(run, envelope)):
            return skipped
        context = Context(
            envelope,
            self._worker.resources,
            self._worker.marks,
            redelivered=run.is_redelivered,
            held=run,
        )
        run.started_at = time.time_ns()
        ending = self._executor.run(context)
        try:
            return await (ending if envelope.kind != kinds.ONCE else with_logs(ending))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or not run.is_overdue:
                raise
            task.uncancel()
            return Failure.out_of_time(
                self._longest,
                f"; after {self._worker.settings.delivery_timeout:g} s the broker would start it "
                "elsewhere (TURNOUT_DELIVERY_TIMEOUT)",
            )

    async def close(self) -> None:
        """Wait for what the executor has to end, such as threads that were abandoned."""
        await self._executor.close()

    def again(self, run: Run, end: End) -> float | None:
        """Tell after how many seconds an ordered flow tries again in place; None: not at all.

        Its partition waits meanwhile, so the delay is short; and all attempts have to be over
        before the broker would start the run elsewhere.
        """
        envelope = run.envelope
        if not self._flow.partitions or envelope is None or not isinstance(end, Failure):
            return None
        decision = decide(self._flow, envelope.attempt, envelope.kind, end)
        if isinstance(decision, Bury):
            return None
        delay = min(decision.seconds, _LONGEST_IN_PLACE)
        now = time.time_ns()
        if (now - run.taken_at) / 1e9 + delay + (self._flow.timeout or 0.0) > self._longest:
            return None
        report = self._report(run, envelope, now)._replace(
            state=outcome.RETRYING,
            error=end.error,
            traceback=end.traceback,
            logs=end.logs,
            delay=delay,
        )
        logger.warning("attempt failed", **_told(report), error=end.error, next_in=delay)
        self._worker.reports.mention([outcome.pack(report)])
        run.envelope = envelope._replace(attempt=envelope.attempt + 1)
        run.started_at, run.is_told = 0, False  # this one has not
        return delay

    async def settle(self, run: Run, end: End) -> None:
        """Publish what follows from an attempt, and pack its outcome.

        Raises:
            Abandoned: the delivery is not ours any more.
        """
        ended_at = time.time_ns()
        envelope = run.envelope
        if isinstance(end, Unreadable) or envelope is None:
            error = end.error if isinstance(end, Unreadable) else ""
            logger.warning("message is no envelope", flow=self._address, error=error)
            await self._bury(run, UNREADABLE, "no envelope", error)
            return
        report = self._report(run, envelope, ended_at)
        if isinstance(end, Success):
            report = _with_result(report, end)
            if envelope.idempotency is not None:
                await self._worker.twins.finish(envelope.idempotency, envelope.run_id)
            if _levels.isEnabledFor(logging.DEBUG):
                logger.debug("run succeeded", **_told(report))
        elif isinstance(end, Failure):
            report = await self._fail(run, envelope, report, end)
        else:
            report = report._replace(state=end.state, error=end.reason, delay=end.delay)
            logger.info("run is skipped", **_told(report), state=end.state, reason=end.reason)
            if end.delay is not None:
                await self._delay(run, envelope, end.delay)
        self.ended[report.state] += 1
        run.packed = outcome.pack(report)
        if envelope.reply_to is not None:
            self._worker.answers.tell(envelope.reply_to, report)

    def _report(self, run: Run, envelope: Envelope, ended_at: int) -> Outcome:
        # By position, since one is made for every run: names would take half as long again.
        return Outcome(
            outcome.SUCCEEDED,
            envelope.event_id,
            envelope.run_id,
            envelope.attempt,
            envelope.group,
            envelope.flow,
            self._worker.id,
            run.started_at or ended_at,
            ended_at,
            self._flow.version,
            run.is_redelivered,
        )

    async def _claim(self, run: Run, envelope: Envelope) -> Skipped | None:
        """Claim the idempotency key of a run; tell if it is not to run, or not now."""
        if envelope.version not in {None, self._flow.version}:  # of replays, which all have a key
            return Skipped(
                outcome.RETRYING,
                f"waits for version {envelope.version!r} of the flow: this worker has "
                f"{self._flow.version!r}",
                _LOOK_AGAIN,
            )
        is_first = envelope.attempt == 1 and not run.delivery.redelivered
        found = await self._worker.twins.claim(
            envelope.idempotency or "", envelope.run_id, self._lease, is_first=is_first
        )
        if found.claim in {Claim.DONE, Claim.DEAD}:
            if is_first:
                return Skipped(
                    outcome.CANCELLED, f"a copy: this run is {found.claim.value} already"
                )
            state = outcome.SUCCEEDED if found.claim is Claim.DONE else outcome.DEAD
            return Skipped(state, None)
        if found.claim is Claim.DUPLICATE:
            return Skipped(
                outcome.CANCELLED, f"duplicate: {found.run_id} ran for its idempotency key"
            )
        if found.claim is Claim.BUSY:
            return Skipped(
                outcome.RETRYING,
                f"waits: {found.run_id} is in progress for its idempotency key",
                _LOOK_AGAIN,
            )
        return None

    async def _fail(
        self, run: Run, envelope: Envelope, report: Outcome, failure: Failure
    ) -> Outcome:
        """Publish the next attempt or the dead letter; return the outcome."""
        report = report._replace(
            error=failure.error, traceback=failure.traceback, logs=failure.logs
        )
        told = {**_told(report), "error": report.error, "exception": report.traceback}
        decision = decide(self._flow, envelope.attempt, envelope.kind, failure)
        if self._flow.partitions and not isinstance(decision, Bury):
            decision = Bury("there is no time left for another attempt in place")
        if isinstance(decision, Bury):
            logger.error("run is dead", **told)
            await self._bury(run, TYPE, decision.reason, failure.error, failure.place)
            if envelope.idempotency is not None:
                await self._worker.twins.bury(envelope.idempotency, envelope.run_id)
            return report._replace(state=outcome.DEAD)
        delay = decision.seconds
        logger.warning("attempt failed", **told, next_in=delay)
        if envelope.idempotency is not None:
            await self._worker.twins.extend(
                envelope.idempotency, envelope.run_id, delay + self._lease
            )
        await self._delay(run, envelope._replace(attempt=envelope.attempt + 1), delay)
        return report._replace(state=outcome.RETRYING, delay=delay)

    async def _delay(self, run: Run, envelope: Envelope, seconds: int) -> None:
        """Publish an attempt that is to come, and say in it if it may come twice.

        It may if this one did, because another worker was at it as well.
        """
        envelope = envelope._replace(repeated=run.is_redelivered)
        again = envelope._replace(repeated=True)
        await self._publish(run, names.delay(seconds), envelope.encode(), TYPE, again=again)

    async def _bury(self, run: Run, kind: str, reason: str, error: str, place: str = "") -> None:
        """Publish the message, byte for byte, as a dead letter."""
        headers: dict[str, str | int] = {
            "turnout-reason": reason,
            "turnout-error": error[:_MOST_ERROR],
            "turnout-place": place,
        }
        await self._publish(run, names.DEAD, run.delivery.body, kind, headers=headers)

    async def _publish(
        self,
        run: Run,
        exchange: str,
        body: bytes,
        kind: str,
        *,
        headers: dict[str, str | int] | None = None,
        again: Envelope | None = None,
    ) -> None:
        """Publish, while the delivery is ours, until the broker has confirmed it.

        The routing key is always the name of the queue that it came from: a bucket sends its
        messages back there, and a dead letter shows it.

        Raises:
            Abandoned: the delivery is not ours any more.
        """
        backoff = Backoff()
        while True:
            await run.ours()
            confirm = await self._worker.publisher.publish(
                exchange, run.consumer.queue, body, kind=kind, headers=headers
            )
            if confirm.verdict is Verdict.ACCEPTED:
                return
            logger.warning(
                "publishing again", flow=self._address, to=exchange, reason=confirm.reason
            )
            if again is not None and confirm.verdict is Verdict.UNKNOWN:
                body = again.encode()
            await asyncio.wait([run.consumer.closed], timeout=backoff.delay())


def _told(report: Outcome) -> dict[str, str | int | float]:
    """Return what each log line about an attempt says."""
    return {
        "event_id": report.event_id,
        "flow": f"{report.group}/{report.flow}",
        "attempt": report.attempt,
        "milliseconds": round((report.ended_at - report.started_at) / 1e6, 1),
    }


def _with_result(report: Outcome, end: Success) -> Outcome:
    """Add what the flow returned, as far as it can be kept, and what a test logged."""
    if end.result is None and not end.logs:
        return report
    value, reason = kept(end.result)
    if reason is not None:
        logger.warning("result is not kept as it is", **_told(report), reason=reason)
    return report._replace(result=value, logs=end.logs)
