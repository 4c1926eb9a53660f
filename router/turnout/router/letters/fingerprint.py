"""The fingerprint of a failure: the same for all that look alike to a person."""

import hashlib
import re

#: What differs from failure to failure: quoted text, ids and other hex, numbers.
_VARYING = re.compile(r"'[^']*'|\"[^\"]*\"|\b[a-z]{2,4}_[0-9a-f]{32}\b|\b0x[0-9a-f]+\b|\d+")


def fingerprint(reason: str, error: str, place: str) -> str:
    """Return 12 hex digits.

    Args:
        reason: why the run is dead; it counts where there is no error.
        error: the exception in one line.
        place: where it was raised. If it is known, the exception's text does not count.
    """
    kind, _, text = error.partition(":")
    what = (kind, place) if place else (kind, _VARYING.sub("*", text)) if error else (reason,)
    return hashlib.sha256("\0".join(what).encode("utf-8", "replace")).hexdigest()[:12]
