"""The express way of a call that is like the last one on its connection, and has come as a whole.

    as the last one? ──▶ all there? ──▶ room for it? ──▶ published ──confirmed──▶ answered
            └────────────────┴───────────────┴──no──▶ the way of all calls: accept.py

Nearly every call of a busy sender can go this way. All that it waits for is the broker, so it needs
no task, no future and no request object. What is decided here, accept.py would decide likewise;
what is to be refused at once is left to it.
"""

import time
from collections.abc import Callable
from functools import partial

from aiohttp import StreamReader
from aiohttp.http_parser import RawRequestMessage

from turnout.ingress import auth, idempotency, responses
from turnout.ingress.admission import Admission
from turnout.ingress.answer import Answer
from turnout.ingress.body import Bodies
from turnout.ingress.counts import Counts
from turnout.ingress.limits import Limits
from turnout.ingress.lookup import Lookup
from turnout.ingress.outbox import Outbox
from turnout.ingress.refused import Refused
from turnout.shared import ids, ordering
from turnout.shared.publisher import Confirm, Publisher, Verdict


class Express:
    """Takes calls that have to wait for nothing but the broker.

    Args:
        lookup: says whether what is known has changed.
        limits: what a key and a trigger may.
        bodies: holds them.
        publisher: the connection to the broker.
        outbox: publishes events on it.
        counts: counts what is accepted.
        refused: notes what is not.
    """

    def __init__(
        self,
        *,
        lookup: Lookup,
        limits: Limits,
        bodies: Bodies,
        publisher: Publisher,
        outbox: Outbox,
        counts: Counts,
        refused: Refused,
    ) -> None:
        self._lookup = lookup
        self._limits = limits
        self._bodies = bodies
        self._publisher = publisher
        self._outbox = outbox
        self._counts = counts
        self._refused = refused

    def take(
        self,
        last: Admission,
        message: RawRequestMessage,
        body: StreamReader,
        answer: Callable[[Answer], None],
    ) -> bool:
        """Take a call, unless it has to go the way of all calls; tell whether it was taken.

        Args:
            last: the call before it on its connection.
            message: its head.
            body: what has come of its body; it is read only if the call is taken.
            answer: called once, not before this returns, when its event is safe or is not.
        """
        key, trigger = last.key, last.trigger
        headers, size = message.headers, body.total_bytes
        if (
            not body.is_eof()
            or body.exception() is not None
            or not last.holds(message, generation=self._lookup.generation, now=time.monotonic())
            or idempotency.digest(headers, trigger.group_id, trigger.trigger_id) is not None
            or trigger.wait
            or trigger.max_header_bytes is not None
            or self._limits.are_paced(key, trigger)
            or size > self._limits.max_body_bytes(trigger)
            or self._publisher.trouble is not None
            or self._publisher.is_full(size)
            or not self._bodies.hold(size)
        ):
            return False
        if self._limits.enter(key) is not None:
            self._bodies.release(size)
            return False
        content = body.read_nowait()
        event_id, received_at = ids.new(ids.EVENT), time.time_ns()
        routing_key = ordering.route(
            trigger.route or last.call.routing_key, content, trigger.ordered_by, trigger.partitions
        )
        encoded = last.template.encode(
            event_id=event_id,
            run_id=ids.same_uuid(event_id, ids.RUN),
            routing_key=routing_key,
            received_at=received_at,
            headers=auth.headers_without_credentials(headers),
            content_type=headers.get("Content-Type", ""),
            body=content,
        )
        ended = partial(self._ended, last, event_id, size, answer)
        self._outbox.send(event_id, routing_key, received_at, encoded, ended)
        return True

    def _ended(
        self,
        last: Admission,
        event_id: str,
        size: int,
        answer: Callable[[Answer], None],
        confirm: Confirm,
    ) -> None:
        self._limits.leave(last.key)
        self._bodies.release(size)
        if confirm.verdict is Verdict.ACCEPTED:
            self._counts.accepted(last.trigger.trigger_id, last.key.key_id)
            answer(responses.accepted(event_id))
        else:
            refusal = responses.not_published(confirm, event_id)
            self._refused.note(refusal, last.call.caller())
            answer(refusal.answer())
