"""One call: checked, read, put into an envelope, published, answered."""

import time
from typing import cast

from aiohttp import web

from turnout.ingress import auth, content_type, responses, waiting
from turnout.ingress.admission import admission
from turnout.ingress.answer import Answer
from turnout.ingress.body import Bodies
from turnout.ingress.call import Call
from turnout.ingress.connection import Connection
from turnout.ingress.counts import Counts
from turnout.ingress.idempotency import Idempotency
from turnout.ingress.limits import Limits, header_bytes
from turnout.ingress.lookup import Lookup
from turnout.ingress.outbox import Outbox
from turnout.ingress.overlap import Overlaps
from turnout.ingress.refused import Refused
from turnout.ingress.responses import Refusal
from turnout.ingress.waiting import Waiting
from turnout.shared import keys
from turnout.shared.batch import Unavailable
from turnout.shared.envelope import Envelope
from turnout.shared.publisher import BUSY, Publisher, Verdict
from turnout.shared.records import KeyRecord, TriggerRecord


class Acceptor:
    """Takes the calls of triggers.

    Args:
        lookup: finds the records of keys and triggers.
        limits: what a key and a trigger may.
        bodies: reads them.
        idempotency: remembers idempotency keys.
        publisher: the connection to the broker.
        outbox: publishes events on it.
        counts: counts what is accepted.
        overlaps: counts who comes with what was replaced.
        refused: notes what is not.
        waiting: says which callers may wait for a result.
    """

    def __init__(
        self,
        *,
        lookup: Lookup,
        limits: Limits,
        bodies: Bodies,
        idempotency: Idempotency,
        publisher: Publisher,
        outbox: Outbox,
        counts: Counts,
        overlaps: Overlaps,
        refused: Refused,
        waiting: Waiting,
    ) -> None:
        self._lookup = lookup
        self._limits = limits
        self._bodies = bodies
        self._idempotency = idempotency
        self._publisher = publisher
        self._outbox = outbox
        self._counts = counts
        self._overlaps = overlaps
        self._refused = refused
        self._waiting = waiting

    async def __call__(self, request: web.BaseRequest) -> Answer:
        """Answer a call of a trigger."""
        call = Call.of(request)
        try:
            outcome = await self._admit(call, request)
        except Exception:
            self._refused.note(responses.INTERNAL_ERROR, call.caller())
            raise  # the connection answers it
        if isinstance(outcome, Refusal):
            self._refused.note(outcome, call.caller())
            return outcome.answer()
        return outcome

    async def _admit(self, call: Call, request: web.BaseRequest) -> Answer | Refusal:
        """Go on with a call as with the last one on its connection, if they are alike."""
        connection = cast("Connection", request.protocol)
        generation, now = self._lookup.generation, time.monotonic()
        last = connection.admission
        if last is not None and last.holds(call, generation=generation, now=now):
            key, trigger = last.key, last.trigger
            call.presented, call.key, call.trigger = last.call.presented, key, trigger
        else:
            connection.admission = None
            allowed = await self._authorize(call, request)
            if isinstance(allowed, Refusal):
                return allowed
            key, trigger = allowed
            connection.admission = admission(call, key, trigger, generation=generation, now=now)
        return await self._limit(call, request, key, trigger)

    async def _authorize(
        self, call: Call, request: web.BaseRequest
    ) -> Refusal | tuple[KeyRecord, TriggerRecord]:
        presented = auth.presented_key(call.headers, call.url.raw_query_string)
        if presented is None:
            return responses.BAD_KEY
        call.presented = presented
        try:
            # One after the other: how long a bad key takes tells nothing of the trigger.
            now = time.time()
            key = call.key = await self._lookup.key(presented.digest, now)
            if key is None:
                return responses.BAD_KEY
            if keys.is_routing_key(call.routing_key):
                call.trigger = await self._lookup.trigger(call.routing_key, now)
        except Unavailable as error:
            return responses.CACHE_UNAVAILABLE.because(str(error))
        refusal = auth.decide(presented, key, call.trigger, method=call.method)
        if refusal is not None or call.trigger is None:
            return refusal or responses.NO_TRIGGER
        types = call.trigger.content_types
        if types is not None and not content_type.is_accepted(request, types):
            return responses.unsupported_media_type(types)
        if key.old_since is not None or call.trigger.old_since is not None:
            self._overlaps.note(call, key, call.trigger)
        return key, call.trigger

    async def _limit(
        self, call: Call, request: web.BaseRequest, key: KeyRecord, trigger: TriggerRecord
    ) -> Answer | Refusal:
        """Go on with an allowed call, unless it is one too many or has too large headers."""
        if (refusal := self._limits.enter(key)) is not None:
            return refusal
        try:
            if self._limits.are_paced(key, trigger):
                refusal = await self._limits.check_rates(key, trigger)
                if refusal is not None:
                    return refusal
            most = trigger.max_header_bytes
            if most is not None and header_bytes(request.raw_headers) > most:
                return responses.headers_too_large(most)
            return await self._take(call, request, key, trigger)
        finally:
            self._limits.leave(key)

    async def _take(
        self, call: Call, request: web.BaseRequest, key: KeyRecord, trigger: TriggerRecord
    ) -> Answer | Refusal:
        limit = self._limits.max_body_bytes(trigger)
        if (request.content_length or 0) > limit:
            return responses.body_too_large(limit)
        if (trouble := self._publisher.trouble) is not None:
            return responses.NOT_PUBLISHED.because(trouble.reason)
        body = await self._bodies.read(request, limit, self._limits.read_timeout(trigger))
        if isinstance(body, Refusal):
            return body
        try:
            if self._publisher.is_full(len(body)) and not await self._publisher.room(len(body)):
                return responses.NOT_PUBLISHED.because(BUSY.reason)
            event = call.envelope(body, key, trigger)
            if trigger.wait and (seconds := self._waiting.seconds(call.headers)):
                return await self._accept_and_wait(event, seconds)
            accepted = await self._accept(event)
            return accepted if isinstance(accepted, Refusal) else _told(event, accepted)
        finally:
            self._bodies.release(len(body))

    async def _accept_and_wait(self, event: Envelope, seconds: int) -> Answer | Refusal:
        """Accept an event, and answer with what becomes of it within some seconds."""
        replies = self._waiting.replies
        with replies.expect(event.run_id) as outcomes:
            accepted = await self._accept(event._replace(reply_to=replies.channel))
            if isinstance(accepted, Refusal):
                return accepted
            if accepted != event.event_id:  # who sent it first may wait for it
                return _told(event, accepted)
            last = await waiting.end(outcomes, seconds)
        return responses.waited(event.event_id, last, seconds)

    async def _accept(self, event: Envelope) -> str | Refusal:
        """Publish an event unless one with its idempotency key was; return the id of either."""
        key = event.idempotency
        if key is None:
            return await self._publish(event) or event.event_id
        found = await self._idempotency.claim(key, event.event_id)
        if found is None:
            return responses.TWIN
        if found != event.event_id:
            return found
        refusal = await self._publish(event)
        if refusal is None:
            await self._idempotency.finish(key, event.event_id)
        elif not refusal.event_id:
            await self._idempotency.release(key, event.event_id)
        return refusal or event.event_id

    async def _publish(self, event: Envelope) -> Refusal | None:
        """Publish an event; None: it is safe in its queue and in the archive."""
        confirm = await self._outbox.publish(
            event.event_id, event.routing_key, event.received_at, event.encode()
        )
        if confirm.verdict is not Verdict.ACCEPTED:
            return responses.not_published(confirm, event.event_id)
        self._counts.accepted(event.trigger_id, event.key_id)
        return None


def _told(event: Envelope, accepted: str) -> Answer:
    """Answer a call whose event, or an earlier one with its idempotency key, is safe."""
    return responses.accepted(accepted, replayed=accepted != event.event_id)
