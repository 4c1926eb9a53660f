"""Identifiers: a prefix and a UUIDv7, so that they sort by the time they were made."""

import hashlib
import random
import time
from datetime import datetime

EVENT = "evt"
RUN = "run"
GROUP = "grp"
FLOW = "flw"
KEY = "key"
TRIGGER = "trg"
WORKER = "wrk"
TOKEN = "tok"
REPLAY = "rpl"
AUDIT = "aud"

_VARIANT = 0x2 << 62


def new(prefix: str) -> str:
    """Make an identifier, for example `evt_0199b1c2d3e47f00a1b2c3d4e5f60718`.

    The text after the prefix is the hex of a UUIDv7 (RFC 9562 §5.7): 48 bits of Unix time in
    milliseconds, then version, variant and 74 random bits. It is unique, and no secret: it can be
    guessed by whoever knows many others.
    """
    milliseconds = time.time_ns() // 1_000_000
    # Python seeds its generator from the system, and again in a process that was forked.
    random_a, random_b = random.getrandbits(12), random.getrandbits(62)
    return f"{prefix}_{milliseconds:012x}7{random_a:03x}{_VARIANT | random_b:016x}"


def same_uuid(identifier: str, prefix: str) -> str:
    """Give the same UUID another prefix: the first run of an event has the event's UUID."""
    return f"{prefix}_{identifier.partition('_')[2]}"


def made_at(identifier: str) -> int:
    """Return when an identifier was made, in nanoseconds since the Unix epoch, to the millisecond.

    Raises:
        ValueError: it is none.
    """
    return int(identifier.partition("_")[2][:12], 16) * 1_000_000


def derived(prefix: str, milliseconds: int, number: int, text: str) -> str:
    """Make the identifier that always comes of these: a UUIDv7 whose random bits are none.

    Args:
        prefix: of the identifier.
        milliseconds: since the Unix epoch.
        number: sorts those of the same millisecond; less than 2**32.
        text: which of all things it identifies.
    """
    digest = int.from_bytes(hashlib.sha256(text.encode()).digest()[:6]) >> 6  # 42 bits
    return _of_bits(prefix, milliseconds, number << 42 | digest)


def derived_range(prefix: str, milliseconds: int, count: int) -> tuple[str, str]:
    """Return the least and the greatest identifier that `derived` makes of so many numbers."""
    return _of_bits(prefix, milliseconds, 0), _of_bits(prefix, milliseconds, (count << 42) - 1)


def _of_bits(prefix: str, milliseconds: int, bits: int) -> str:
    return f"{prefix}_{milliseconds:012x}7{bits >> 62:03x}{_VARIANT | bits & (1 << 62) - 1:016x}"


def first_of(prefix: str, moment: datetime) -> str:
    """Return what sorts before every identifier that was made at a moment or later."""
    return f"{prefix}_{int(moment.timestamp() * 1000):012x}"
