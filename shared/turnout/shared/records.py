"""Authentication records: what the router projects into the cache and ingress reads back.

Written only by the router. A record holds what ingress must know to decide about a call, and no
secret: an API key is found by its hash, a trigger by its routing key.
"""

from typing import Any, NamedTuple, Self

import msgpack

from turnout.shared.errors import InvalidRecord


class KeyRecord(NamedTuple):
    """An API key that may be used. A revoked one has no record."""

    key_id: str
    group_id: str
    expires_at: float | None = None
    """Seconds since the Unix epoch; None: never."""
    rate: float | None = None
    """Calls a second that the key may make; this and the following, None: as ingress is set."""
    burst: int | None = None
    """Calls that it may make at once, above the rate."""
    in_flight: int | None = None
    """Calls that it may have under way in one process."""
    flow_ids: tuple[str, ...] | None = None
    """The flows that it may trigger; None: any of the group."""
    old_since: float | None = None
    """Of a secret beside which there is a newer one: since when, in seconds since the epoch."""

    def encode(self) -> bytes:
        """Return the bytes of the cache entry."""
        return _pack(self)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a cache entry.

        Raises:
            InvalidRecord: the bytes are not such a record.
        """
        try:
            return cls(**_unpack(data, cls._fields))
        except TypeError as error:
            raise InvalidRecord(f"the cache holds an incomplete record: {error}") from None


class TriggerRecord(NamedTuple):
    """An HTTP trigger whose queue and binding exist at the broker."""

    trigger_id: str
    flow_id: str
    group_id: str
    group: str
    flow: str
    methods: tuple[str, ...] = ("POST",)
    enabled: bool = True
    key_ids: tuple[str, ...] | None = None
    """The keys it accepts; None: any key of the group."""
    key_in_query: bool = False
    """Whether the key may stand in the query string, where it ends up in access logs."""
    rate: float | None = None
    """Calls a second that it takes; this and the following, None: as ingress is set."""
    burst: int | None = None
    """Calls that it takes at once, above the rate."""
    max_body_bytes: int | None = None
    max_header_bytes: int | None = None
    """Of the names and values of all headers of a call together."""
    read_timeout: float | None = None
    """Seconds in which a body must have come."""
    content_types: tuple[str, ...] | None = None
    """The media types it accepts, "type/*" for all of a type; None: anything."""
    route: str | None = None
    """The AMQP routing key of what it accepts; None: that of its URL."""
    old_since: float | None = None
    """Of a routing key beside which there is a newer one: since when."""
    expires_at: float | None = None
    """Until when such a routing key is good."""
    wait: bool = False
    """Whether a caller may wait for the result of the flow."""
    ordered_by: str | None = None
    """Where the key stands in the body, if runs of one key go one after the other."""
    partitions: int | None = None
    """How many queues the flow has then."""

    def encode(self) -> bytes:
        """Return the bytes of the cache entry."""
        return _pack(self)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a cache entry.

        Raises:
            InvalidRecord: the bytes are not such a record.
        """
        try:
            return cls(**_unpack(data, cls._fields))
        except TypeError as error:
            raise InvalidRecord(f"the cache holds an incomplete record: {error}") from None


def _pack(record: KeyRecord | TriggerRecord) -> bytes:
    packed: bytes = msgpack.packb(record._asdict())
    return packed


def _unpack(data: bytes, names: tuple[str, ...]) -> dict[str, Any]:
    """Read a map and keep the fields that this version knows; an older router wrote fewer."""
    try:
        fields = msgpack.unpackb(data, use_list=False)
        return {name: fields[name] for name in names if name in fields}
    except (TypeError, ValueError, msgpack.UnpackException) as error:
        raise InvalidRecord(f"the cache holds an unreadable record: {error!r}") from None
