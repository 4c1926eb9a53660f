"""One call: checked, read, put into an envelope, published, answered."""

import asyncio
import time

from aiohttp import ClientError, web

from turnout.ingress import auth, responses
from turnout.ingress.archive import Archive
from turnout.ingress.lookup import Lookup
from turnout.ingress.responses import Answer, Refusal
from turnout.shared import envelope, ids, keys, log, names
from turnout.shared.batch import Unavailable
from turnout.shared.envelope import Envelope
from turnout.shared.publisher import Publisher, Verdict
from turnout.shared.records import KeyRecord, TriggerRecord

logger = log.get(__name__)

PREFIX = "/t/"


class Acceptor:
    """Takes the calls of triggers.

    Args:
        lookup: finds the records of keys and triggers.
        publisher: publishes events.
        archive: writes them into the archive.
        max_body_bytes: the largest body that is read.
    """

    def __init__(
        self, lookup: Lookup, publisher: Publisher, archive: Archive, *, max_body_bytes: int
    ) -> None:
        self._lookup = lookup
        self._publisher = publisher
        self._archive = archive
        self._max_body_bytes = max_body_bytes

    async def __call__(self, request: web.BaseRequest) -> Answer:
        """Answer one call whose path starts with `PREFIX`."""
        routing_key, slash, tail = request.rel_url.raw_path[len(PREFIX) :].partition("/")
        decided = await self._authorize(request, routing_key)
        if isinstance(decided, Refusal):
            return decided.answer()
        key, trigger = decided
        if (request.content_length or 0) > self._max_body_bytes:
            return responses.body_too_large(self._max_body_bytes).answer()
        body = await _read(request, self._max_body_bytes)
        if isinstance(body, Refusal):
            return body.answer()
        return await self._publish(
            _envelope(request, body, key=key, trigger=trigger, route=(routing_key, slash + tail))
        )

    async def _authorize(
        self, request: web.BaseRequest, routing_key: str
    ) -> Refusal | tuple[KeyRecord, TriggerRecord]:
        presented = auth.presented_key(request.headers, request.rel_url.raw_query_string)
        if presented is None:
            return responses.BAD_KEY
        try:
            # One after the other: how long a bad key takes tells nothing of the trigger.
            key = await self._lookup.key(presented.digest, time.time())
            if key is None:
                return responses.BAD_KEY
            trigger = (
                await self._lookup.trigger(routing_key)
                if keys.is_routing_key(routing_key)
                else None
            )
        except Unavailable as error:
            logger.warning("a key cannot be checked", reason=str(error))
            return responses.CACHE_UNAVAILABLE
        refusal = auth.decide(presented, key, trigger, method=request.method)
        if refusal is not None or trigger is None:
            return refusal or responses.NO_TRIGGER
        return key, trigger

    async def _publish(self, event: Envelope) -> Answer:
        encoded = event.encode()
        # The archive comes first: its block then leaves in the same write as the events.
        archived = self._archive.add(event.received_at, encoded)
        routed = self._publisher.publish(
            names.TRIGGERS, event.routing_key, encoded, kind=envelope.TYPE
        )
        in_queue, in_archive = await routed, await archived
        verdicts = {in_queue.verdict, in_archive.verdict}
        if verdicts == {Verdict.ACCEPTED}:
            return responses.accepted(event.event_id)
        reason = in_queue.reason if in_queue.verdict is not Verdict.ACCEPTED else in_archive.reason
        logger.warning("an event is not accepted", event_id=event.event_id, reason=reason)
        if verdicts == {Verdict.REFUSED}:
            return responses.NOT_PUBLISHED.answer()
        if in_archive.verdict is not Verdict.REFUSED:
            self._archive.retract(event.event_id, in_queue.verdict)
        return responses.UNKNOWN.answer(event_id=event.event_id)


async def _read(request: web.BaseRequest, limit: int) -> bytes | Refusal:
    """Read the body, and stop at the limit: a chunked one declares no size."""
    if not request.can_read_body:
        return b""
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    parts = []
    size = 0
    try:
        async for part in request.content.iter_any():
            size += len(part)
            if size > limit:
                return responses.body_too_large(limit)
            parts.append(part)
    except (web.RequestPayloadError, ClientError, asyncio.IncompleteReadError):
        return responses.BAD_BODY
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _envelope(
    request: web.BaseRequest,
    body: bytes,
    *,
    key: KeyRecord,
    trigger: TriggerRecord,
    route: tuple[str, str],
) -> Envelope:
    routing_key, path = route
    event_id = ids.new(ids.EVENT)
    return Envelope(
        event_id=event_id,
        run_id=ids.same_uuid(event_id, ids.RUN),
        routing_key=routing_key,
        trigger_id=trigger.trigger_id,
        key_id=key.key_id,
        flow_id=trigger.flow_id,
        group_id=trigger.group_id,
        group=trigger.group,
        flow=trigger.flow,
        received_at=time.time_ns(),
        method=request.method,
        path=path,
        query=auth.without_credentials(request.rel_url.raw_query_string),
        headers=tuple(
            (name, value)
            for name, value in request.headers.items()
            if name.lower() not in auth.CREDENTIAL_HEADERS
        ),
        content_type=request.headers.get("Content-Type", ""),
        remote=request.remote or "",
        body=body,
    )
