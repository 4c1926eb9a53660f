"""Fold: what messages of both streams come to, as rows of the history. Pure, and hot.

All that one batch says of a run becomes one row, so that a run that begins and ends within a moment
is written once. What earlier batches wrote is merged by the statements of `write`, by the same
order: see `states`.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import msgpack

from turnout.router.history import states
from turnout.router.history.archive import block_of
from turnout.router.history.stream import Message
from turnout.shared import ids, log, outcome
from turnout.shared.envelope import VERSION
from turnout.shared.errors import InvalidEnvelope
from turnout.shared.outcome import Outcome

logger = log.get(__name__)

#: Characters of the name of an exception that are kept.
_MOST_ERROR_TYPE = 200

_UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, msgpack.UnpackException)

# Where a row of `runs` has what; the order is that of the table's columns.
_STATE, _ATTEMPT, _PROGRESS, _STARTED, _ENDED, _ERROR_TYPE, ERROR = range(9, 16)

Row = tuple[Any, ...]


@dataclass
class Rows:
    """Rows of the history, each in the order of the columns of its table."""

    events: list[Row]
    runs: list[list[Any]]
    """Whose event is in the batch."""
    progressed: list[list[Any]]
    """Of which only outcomes are."""
    retracted: list[Row]
    """Verdicts on events of earlier batches, as `write` wants them."""
    attempts: list[Row]


class Batch:
    """Folds messages.

    Attributes:
        newest_event: when the newest event came.
        newest_outcome: when the newest outcome did.
        bad_events: how many blocks or events cannot be read.
        bad_outcomes: how many messages or outcomes cannot be read.
    """

    def __init__(self) -> None:
        self.newest_event = self.newest_outcome = 0
        self.bad_events = self.bad_outcomes = 0
        self._events: dict[str, Row] = {}
        self._runs: dict[str, list[Any]] = {}
        self._progressed: dict[str, list[Any]] = {}
        self._retracted: dict[str, Row] = {}
        self._attempts: dict[tuple[str, int, int], Row] = {}

    @classmethod
    def of(cls, archive: Iterable[Message], outcomes: Iterable[Message]) -> Self:
        """Fold messages of both streams."""
        batch = cls()
        for message in archive:
            batch.take_block(message)
        for message in outcomes:
            batch.take_outcomes(message)
        return batch

    def rows(self) -> Rows:
        """Return what they came to."""
        return Rows(
            events=list(self._events.values()),
            runs=list(self._runs.values()),
            progressed=list(self._progressed.values()),
            retracted=list(self._retracted.values()),
            attempts=list(self._attempts.values()),
        )

    def take_block(self, message: Message) -> None:
        """Fold a message of the archive."""
        block = block_of(message)
        if block is None:
            self.bad_events += 1
            return
        self.newest_event = max(self.newest_event, block.last)
        for number, encoded in enumerate(block.events):
            try:
                self._take_event(encoded, message.offset, number)
            except _UNREADABLE as error:
                self.bad_events += 1
                logger.warning(
                    "an event cannot be recorded",
                    offset=message.offset,
                    number=number,
                    error=repr(error),
                )
        for event_id, verdict in block.verdicts:
            self._retract(ids.same_uuid(event_id, ids.RUN), verdict)

    def _take_event(self, encoded: bytes, offset: int, number: int) -> None:
        # Not Envelope.decode, which takes three times as long to check what ingress has written.
        fields = msgpack.unpackb(encoded, unicode_errors="surrogateescape")
        if fields["v"] != VERSION:
            raise ValueError(f"version {fields['v']!r} instead of {VERSION}")
        event_id, run_id = fields["event"], fields["run"]
        self._events[event_id] = (
            event_id,
            fields["received_at"],
            fields["method"],
            _text(fields["path"]),
            _text(fields["content_type"]),
            fields["remote"],
            len(fields["body"]),
            offset,
            number,
        )
        self._runs[run_id] = [
            run_id,
            event_id,
            fields["group"],
            fields["flow"],
            fields["trigger"],
            fields["key"],
            fields["kind"],
            fields.get("origin"),
            fields.get("replay"),
            states.QUEUED,
            0,
            0,
            0,
            0,
            None,
            None,
        ]

    def _retract(self, run_id: str, verdict: str) -> None:
        if verdict not in states.ALL:
            return
        progress = states.progress(verdict)
        run = self._runs.get(run_id)
        if run is None:
            self._retracted[run_id] = (verdict, progress, run_id, progress)
        elif progress > run[_PROGRESS]:
            run[_STATE], run[_PROGRESS] = verdict, progress

    def take_outcomes(self, message: Message) -> None:
        """Fold a message of the outcomes."""
        try:
            outcomes = outcome.decode(message.body)
        except InvalidEnvelope as error:
            self.bad_outcomes += 1
            logger.warning("outcomes cannot be read", offset=message.offset, error=str(error))
            return
        for each in outcomes:
            state = states.OF_OUTCOME.get(each.state)
            if state is None:
                self.bad_outcomes += 1
                logger.warning("an outcome of an unknown state", state=each.state)
            else:
                self._take_outcome(each, state)

    def _take_outcome(self, told: Outcome, state: str) -> None:
        run_id, attempt, started_at, ended_at = (
            told.run_id,
            told.attempt,
            told.started_at,
            told.ended_at,
        )
        self.newest_outcome = max(self.newest_outcome, ended_at or started_at)
        error = None if told.error is None else _text(told.error)
        progress = states.progress(state, attempt)
        run = self._runs.get(run_id) or self._progressed.get(run_id)
        if run is None:
            run = self._progressed[run_id] = [
                run_id,
                told.event_id,
                told.group,
                told.flow,
                *(None, None, None, None, None),
                *(state, attempt, 0, 0, 0, None, None),
            ]
        if [progress, started_at, ended_at] > run[_PROGRESS : _ENDED + 1]:
            run[_STATE:] = (
                state,
                attempt,
                progress,
                started_at,
                ended_at,
                error_type(error),
                error,
            )
        key = (run_id, attempt, started_at)
        known = self._attempts.get(key)
        if known is None or ended_at > known[3]:
            self._attempts[key] = (
                *key,
                ended_at,
                state,
                told.worker_id,
                _text(told.version),
                told.redelivered,
                error,
                None if told.traceback is None else _text(told.traceback),
                told.delay,
                None if told.result is None else json.dumps(told.result),
            )


def without_content(attempt: Row) -> Row:
    """Return a row of `attempts` without what a flow may have said of its event."""
    *kept, _, _, delay, _ = attempt
    return (*kept, None, None, delay, None)


def error_type(error: str | None) -> str | None:
    """Return the name of the exception that an error's line begins with."""
    if error is None:
        return None
    return error.partition(":")[0][:_MOST_ERROR_TYPE]


def _text(text: str) -> str:
    """Return a text that every database takes: without NUL, and nothing that UTF-8 cannot carry."""
    if text.isascii() and "\0" not in text:
        return text
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
