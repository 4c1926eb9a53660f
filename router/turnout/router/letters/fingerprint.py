"""The fingerprint of a failure: the same for all that look alike to a person.

It is made of the kind of the exception, the place where it came from, and its text without what
differs from one event to the next. The line of the place does not count: it moves with every
change of the file. Code that raises the same text in two functions fails in two ways.
"""

import hashlib
import re

#: What differs from failure to failure: quoted text, addresses, ids and other hex, numbers.
_VARYING = re.compile(
    r"""
    '[^']*' | "[^"]*" | `[^`]*`
    | \b\w+://\S+ | [\w.+-]+@[\w-]+\.[\w.-]+
    | \b[a-z]{2,4}_[0-9a-f]{32}\b
    | \b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b
    | \b0x[0-9a-f]+\b | \b(?=[a-f]*\d)[0-9a-f]{8,}\b
    | [-+]?\d+(?:[.,:]\d+)*
    """,
    re.IGNORECASE | re.VERBOSE,
)
_LINE = re.compile(r":\d+(?= in )")


def fingerprint(reason: str, error: str, place: str) -> str:
    """Return 12 hex digits.

    Args:
        reason: why the run is dead; it counts where there is no error.
        error: the exception in one line.
        place: where it came from, "file:line in function"; "": it is not known.
    """
    kind, _, text = error.partition(":")
    what = (kind, _LINE.sub("", place), _VARYING.sub("*", text)) if error else (reason,)
    return hashlib.sha256("\0".join(what).encode("utf-8", "replace")).hexdigest()[:12]
