"""API keys, admin tokens and routing keys: how they look, are made, checked and hashed.

    tk_<id: 10>_<secret: 32><checksum: 6>      all of [0-9A-Za-z]

The id tells keys apart in a list and is no secret. The checksum lets ingress refuse a mistyped key
without any look-up. Only the SHA-256 of the whole text is ever stored: the secret has 190 random
bits, so a slow password hash would add nothing but time.
"""

import hashlib
import re
import secrets
import string
import zlib
from dataclasses import dataclass, field

API_KEY = "tk"
ADMIN_TOKEN = "ta"

_ALPHABET = string.digits + string.ascii_letters
_CHECKSUM_LENGTH = 6  # 62**6 > 2**32
#: Two digits of base 62, the lower first: every call has a checksum to be computed.
_PAIRS = [low + high for high in _ALPHABET for low in _ALPHABET]
_KEY = re.compile(r"(?P<kind>tk|ta)_(?P<id>[0-9A-Za-z]{10})_[0-9A-Za-z]{32}[0-9A-Za-z]{6}")
_ROUTING_KEY = re.compile(r"[0-9A-Za-z]{24}")


@dataclass(frozen=True)
class NewKey:
    """A key that was just made. `text` is shown once and then forgotten."""

    prefix: str
    """What identifies the key in a list: `tk_<id>`."""
    digest: str
    """Hex SHA-256 of the text: what is stored."""
    text: str = field(repr=False)


def new_key(kind: str = API_KEY) -> NewKey:
    """Make an API key or, with `kind=ADMIN_TOKEN`, an admin token."""
    prefix = f"{kind}_{_random(10)}"
    body = f"{prefix}_{_random(32)}"
    text = body + _checksum(body)
    return NewKey(prefix=prefix, digest=digest(text), text=text)


def new_routing_key() -> str:
    """Make a routing key: 24 characters, 142 random bits."""
    return _random(24)


def is_well_formed(text: str, kind: str = API_KEY) -> bool:
    """Tell whether `text` has the form and the checksum of a key of that kind."""
    return (
        _KEY.fullmatch(text) is not None
        and text.startswith(kind)
        and text.endswith(_checksum(text[:-_CHECKSUM_LENGTH]))
    )


def is_routing_key(text: str) -> bool:
    """Tell whether `text` has the form of a routing key."""
    return _ROUTING_KEY.fullmatch(text) is not None


def digest(text: str) -> str:
    """Hash a key: hex SHA-256 of its UTF-8 bytes."""
    return hashlib.sha256(text.encode()).hexdigest()


def prefix(text: str) -> str:
    """Return what identifies a well-formed key in a list: `tk_<id>`."""
    return text.rpartition("_")[0]


def scrub(text: str) -> str:
    """Replace the secret of every key in `text`, for a log line or an error message."""
    return _KEY.sub(lambda match: f"{match['kind']}_{match['id']}_…", text)


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _checksum(body: str) -> str:
    """Return the CRC-32 as digits of base 62, the lowest first."""
    rest, first = divmod(zlib.crc32(body.encode()), len(_PAIRS))
    last, middle = divmod(rest, len(_PAIRS))
    return _PAIRS[first] + _PAIRS[middle] + _PAIRS[last]
