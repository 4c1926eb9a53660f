"""A block: events that left one ingress process together.

The archive stream holds blocks, not events: the broker confirms one message for many calls, and the
recorder and replay read many events with one delivery. An event is found again by the block's
stream offset and its index within the block.
"""

import zlib
from typing import NamedTuple, Self

import msgpack

from turnout.shared.errors import InvalidEnvelope

VERSION = 1

#: The `type` property of the AMQP message.
TYPE = "turnout.block"


class Block(NamedTuple):
    """One message of the archive."""

    process: str
    """Which ingress process wrote it."""
    sequence: int
    """Number of the block within its process, counted from 1 without gaps."""
    first: int
    """Received-at of its first event, in nanoseconds since the Unix epoch; 0 without events."""
    last: int
    """Received-at of its last event."""
    events: tuple[bytes, ...]
    """Encoded envelopes, in the order in which they were accepted."""
    verdicts: tuple[tuple[str, str], ...] = ()
    """Events of earlier blocks that were answered with 503 after all: (event id, "refused" or
    "unknown"), so that nobody waits for their runs."""

    def encode(self, *, compress: bool) -> bytes:
        """Return the bytes of the AMQP message body.

        Args:
            compress: deflate them; level 1, because this is on the path of a call.
        """
        packed: bytes = msgpack.packb((VERSION, *self))
        return zlib.compress(packed, 1) if compress else packed

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read the bytes of an AMQP message body, compressed or not.

        Raises:
            InvalidEnvelope: they are not a block, or of a newer version.
        """
        try:
            # A msgpack array of seven starts with 0x97, a zlib stream with 0x78.
            plain = data if data[:1] == b"\x97" else zlib.decompress(data)
            version, *fields = msgpack.unpackb(plain, use_list=False)
        except (ValueError, TypeError, zlib.error, msgpack.UnpackException) as error:
            raise InvalidEnvelope(f"not a block: {error}") from None
        if version != VERSION or len(fields) != len(cls._fields):
            raise InvalidEnvelope(f"a block of version {version!r} instead of {VERSION}")
        return cls(*fields)
