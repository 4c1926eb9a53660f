"""One call, and what is known of it so far."""

import time

from aiohttp import web

from turnout.ingress import auth, idempotency
from turnout.ingress.auth import Presented
from turnout.ingress.refused import Caller
from turnout.shared import ids, ordering
from turnout.shared.envelope import Envelope
from turnout.shared.records import KeyRecord, TriggerRecord

PREFIX = "/t/"

#: Characters of a routing key that others than its owner may see.
_SHOWN = 6

#: No method is longer; what is no method may be anything.
_METHOD = 16


class Call:
    """A call of a trigger.

    Args:
        request: whose path starts with `PREFIX`.

    Attributes:
        routing_key: what the path says of it; it may be any text.
        tail: of the path, after the routing key.
        presented: the key that it brought.
        key: the record of that key.
        trigger: the record of its trigger.
    """

    __slots__ = ("key", "presented", "request", "routing_key", "tail", "trigger")

    def __init__(self, request: web.BaseRequest) -> None:
        self.request = request
        path = request.rel_url.raw_path
        end = path.find("/", len(PREFIX))
        self.routing_key = path[len(PREFIX) :] if end < 0 else path[len(PREFIX) : end]
        self.tail = "" if end < 0 else path[end:]
        self.presented: Presented | None = None
        self.key: KeyRecord | None = None
        self.trigger: TriggerRecord | None = None

    def caller(self) -> Caller:
        """Say whose call it is, without anything that is secret."""
        return Caller(
            method=self.request.method[:_METHOD],
            remote=self.request.remote or "",
            # It may be anything: only a routing key is surely text.
            route=self.routing_key[:_SHOWN].encode("ascii", "replace").decode(),
            prefix=self.presented.prefix if self.presented else "",
            key_id=self.key.key_id if self.key else "",
            trigger_id=self.trigger.trigger_id if self.trigger else "",
        )

    def envelope(self, body: bytes, key: KeyRecord, trigger: TriggerRecord) -> Envelope:
        """Make the event of an accepted call."""
        request = self.request
        headers = request.headers
        event_id = ids.new(ids.EVENT)
        return Envelope(
            event_id=event_id,
            run_id=ids.same_uuid(event_id, ids.RUN),
            routing_key=ordering.route(
                trigger.route or self.routing_key, body, trigger.ordered_by, trigger.partitions
            ),
            trigger_id=trigger.trigger_id,
            key_id=key.key_id,
            flow_id=trigger.flow_id,
            group_id=trigger.group_id,
            group=trigger.group,
            flow=trigger.flow,
            received_at=time.time_ns(),
            method=request.method,
            path=self.tail,
            query=auth.query_without_credentials(request.rel_url.raw_query_string),
            headers=auth.headers_without_credentials(headers),
            content_type=headers.get("Content-Type", ""),
            remote=request.remote or "",
            body=body,
            idempotency=idempotency.digest(headers, trigger.group_id, trigger.trigger_id),
        )


def stranger(request: web.BaseRequest) -> Caller:
    """Say who sent what is no call of a trigger, without anything that is secret."""
    presented = auth.presented_key(request.headers, request.rel_url.raw_query_string)
    return Caller(
        method=request.method[:_METHOD],
        remote=request.remote or "",
        prefix=presented.prefix if presented else "",
    )
