"""One call, and what is known of it so far."""

import time
from typing import Self

from aiohttp import web
from multidict import CIMultiDictProxy
from yarl import URL

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
        method: of HTTP.
        url: as sent; its path starts with `PREFIX`.
        headers: as sent.
        remote: address of the sender.

    Attributes:
        routing_key: what the path says of it; it may be any text.
        tail: of the path, after the routing key.
        presented: the key that it brought.
        key: the record of that key.
        trigger: the record of its trigger.
    """

    __slots__ = (
        *("headers", "method", "remote", "url"),
        *("key", "presented", "routing_key", "tail", "trigger"),
    )

    def __init__(self, method: str, url: URL, headers: CIMultiDictProxy[str], remote: str) -> None:
        self.method = method
        self.url = url
        self.headers = headers
        self.remote = remote
        path = url.raw_path
        end = path.find("/", len(PREFIX))
        self.routing_key = path[len(PREFIX) :] if end < 0 else path[len(PREFIX) : end]
        self.tail = "" if end < 0 else path[end:]
        self.presented: Presented | None = None
        self.key: KeyRecord | None = None
        self.trigger: TriggerRecord | None = None

    @classmethod
    def of(cls, request: web.BaseRequest) -> Self:
        """Take it from a request of aiohttp."""
        return cls(request.method, request.rel_url, request.headers, request.remote or "")

    def caller(self) -> Caller:
        """Say whose call it is, without anything that is secret."""
        return Caller(
            method=self.method[:_METHOD],
            remote=self.remote,
            # It may be anything: only a routing key is surely text.
            route=self.routing_key[:_SHOWN].encode("ascii", "replace").decode(),
            prefix=self.presented.prefix if self.presented else "",
            key_id=self.key.key_id if self.key else "",
            trigger_id=self.trigger.trigger_id if self.trigger else "",
        )

    def envelope(self, body: bytes, key: KeyRecord, trigger: TriggerRecord) -> Envelope:
        """Make the event of an accepted call."""
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
            method=self.method,
            path=self.tail,
            query=auth.query_without_credentials(self.url.raw_query_string),
            headers=auth.headers_without_credentials(self.headers),
            content_type=self.headers.get("Content-Type", ""),
            remote=self.remote,
            body=body,
            idempotency=idempotency.digest(self.headers, trigger.group_id, trigger.trigger_id),
        )


def stranger(request: web.BaseRequest) -> Caller:
    """Say who sent what is no call of a trigger, without anything that is secret."""
    presented = auth.presented_key(request.headers, request.rel_url.raw_query_string)
    return Caller(
        method=request.method[:_METHOD],
        remote=request.remote or "",
        prefix=presented.prefix if presented else "",
    )
