"""The envelope: what travels from ingress to a worker as the body of one AMQP message.

The bytes are one msgpack map. Fields that this version does not know are kept and written back, so
that a retry by an older worker loses nothing; a newer major version is refused.
"""

from operator import itemgetter
from types import UnionType
from typing import Any, NamedTuple, Self, get_args, get_origin

import msgpack

from turnout.shared.errors import InvalidEnvelope

#: Major version of the format. It changes only when an older reader would misunderstand.
VERSION = 1

#: The `type` property of the AMQP message.
TYPE = "turnout.envelope"

# What `kind` says: a call, a run repeated, or an operator's test.
EVENT = "event"
REPLAY = "replay"
ONCE = "once"

#: What the fields of each envelope are called in the map, in the order of the tuple.
_WIRE_NAMES = (
    *("event", "run", "routing_key", "trigger", "key", "flow_id", "group_id", "group", "flow"),
    *("received_at", "method", "path", "query", "headers", "content_type", "remote", "body"),
    *("attempt", "kind", "idempotency", "traceparent", "reply_to"),
)
_ALL_WIRE_NAMES = frozenset(("v", *_WIRE_NAMES, "origin", "replay", "repeated", "version"))
_read = itemgetter(*_WIRE_NAMES)

#: Of those, what a `Template` is told for each event.
_VARYING = ("event", "run", "routing_key", "received_at", "headers", "content_type", "body")

#: One for all calls, because making one takes time. Nearly all text can be written as UTF-8; the
#: other packer takes any, and twice as long.
_PACKER = msgpack.Packer()
_ANY_TEXT_PACKER = msgpack.Packer(unicode_errors="surrogateescape")


class Envelope(NamedTuple):
    """One event on its way to one run of a flow.

    A named tuple, because one is made for every call: it is built in a quarter of the time of a
    frozen dataclass.
    """

    event_id: str
    run_id: str
    routing_key: str
    trigger_id: str
    key_id: str
    flow_id: str
    group_id: str
    group: str
    """Slug of the group."""
    flow: str
    """Slug of the flow."""
    received_at: int
    """When ingress took the call, in nanoseconds since the Unix epoch."""
    method: str
    path: str
    """What follows the routing key in the URL, as sent: "" or "/any/tail"."""
    query: str
    """The query string as sent, without the leading "?" and without credentials."""
    headers: tuple[tuple[str, str], ...]
    """Headers as sent, in order, without credentials."""
    content_type: str
    remote: str
    """Address of the sender."""
    body: bytes
    attempt: int = 1
    """Which try this is, counted from 1."""
    kind: str = EVENT
    """event, replay or once."""
    idempotency: str | None = None
    """Hash of the idempotency key, scoped to the group."""
    traceparent: str | None = None
    """W3C trace context."""
    reply_to: str | None = None
    """Cache channel on which somebody waits for the result."""
    origin: str | None = None
    """Of a replay: the run that it repeats."""
    replay: str | None = None
    """Of a replay: the operation that it belongs to, "rpl_…"."""
    repeated: bool = False
    """This attempt may be in its queue twice: so it may have run, though it is not redelivered."""
    version: str | None = None
    """Of a replay: the version of the flow's code that alone runs it."""
    extra: dict[str, Any] | None = None
    """Fields that a newer minor version wrote."""

    def encode(self) -> bytes:
        """Return the bytes of the AMQP message body."""
        return _pack(self.fields())

    def fields(self) -> dict[str, Any]:
        """Return the map that is written."""
        fields = {
            "v": VERSION,
            "event": self.event_id,
            "run": self.run_id,
            "routing_key": self.routing_key,
            "trigger": self.trigger_id,
            "key": self.key_id,
            "flow_id": self.flow_id,
            "group_id": self.group_id,
            "group": self.group,
            "flow": self.flow,
            "received_at": self.received_at,
            "method": self.method,
            "path": self.path,
            "query": self.query,
            "headers": self.headers,
            "content_type": self.content_type,
            "remote": self.remote,
            "body": self.body,
            "attempt": self.attempt,
            "kind": self.kind,
            "idempotency": self.idempotency,
            "traceparent": self.traceparent,
            "reply_to": self.reply_to,
        }
        if self.origin is not None:
            fields |= {"origin": self.origin, "replay": self.replay}
        if self.repeated:
            fields["repeated"] = True
        if self.version is not None:
            fields["version"] = self.version
        if self.extra:
            fields |= self.extra
        return fields

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read the bytes of an AMQP message body.

        Raises:
            InvalidEnvelope: they are not an envelope, or of a newer major version.
        """
        try:
            fields = msgpack.unpackb(data, unicode_errors="surrogateescape", use_list=False)
        except (ValueError, msgpack.UnpackException) as error:
            raise InvalidEnvelope(f"not msgpack: {error}") from None
        if not isinstance(fields, dict):
            raise InvalidEnvelope(f"a msgpack {type(fields).__name__} instead of a map")
        version = fields.get("v")
        if version != VERSION:
            raise InvalidEnvelope(
                f"version {version!r} instead of {VERSION}: upgrade this worker before the sender"
            )
        try:
            values = _read(fields)
            for _name, _value in fields["headers"]:
                pass
        except KeyError as error:
            raise InvalidEnvelope(f"field {error} is missing") from None
        except (TypeError, ValueError) as error:
            raise InvalidEnvelope(f"a field has the wrong type: {error}") from None
        envelope = cls(*values)
        if len(fields) > 1 + len(values):
            extra = {name: fields[name] for name in fields if name not in _ALL_WIRE_NAMES}
            envelope = envelope._replace(
                origin=fields.get("origin"),
                replay=fields.get("replay"),
                repeated=fields.get("repeated", False),
                version=fields.get("version"),
                extra=extra or None,
            )
        if not all(map(isinstance, envelope, _TYPES)):
            wrong = [
                name
                for name, value, wanted in zip(cls._fields, envelope, _TYPES, strict=False)
                if not isinstance(value, wanted)
            ]
            raise InvalidEnvelope(f"fields have the wrong type: {', '.join(wrong)}")
        return envelope


class Template:
    """Encodes events that are alike but for the arguments of `encode`; all else is packed once.

    Args:
        envelope: one of them.
    """

    def __init__(self, envelope: Envelope) -> None:
        fields = envelope.fields()
        for name in _VARYING:
            del fields[name]
        head = len(_PACKER.pack_map_header(len(fields)))
        self._begin: bytes = _PACKER.pack_map_header(len(fields) + len(_VARYING))
        self._begin += _pack(fields)[head:]

    def encode(
        self,
        *,
        event_id: str,
        run_id: str,
        routing_key: str,
        received_at: int,
        headers: tuple[tuple[str, str], ...],
        content_type: str,
        body: bytes,
    ) -> bytes:
        """Return the bytes of the AMQP message body."""
        packed = _pack(
            {
                "event": event_id,
                "run": run_id,
                "routing_key": routing_key,
                "received_at": received_at,
                "headers": headers,
                "content_type": content_type,
                "body": body,
            }
        )
        return self._begin + packed[1:]  # without the head of this map, which is a byte


def _pack(fields: dict[str, Any]) -> bytes:
    packed: bytes
    try:
        packed = _PACKER.pack(fields)
    except UnicodeEncodeError:
        packed = _ANY_TEXT_PACKER.pack(fields)
    return packed


def _classes(annotation: Any) -> Any:
    """Return what `isinstance` takes for an annotation of a field."""
    origin: Any = get_origin(annotation)
    return get_args(annotation) if origin is UnionType else origin or annotation


#: Of each field but the last, `extra`, which no sender writes as such.
_TYPES = tuple(_classes(each) for name, each in Envelope.__annotations__.items() if name != "extra")
