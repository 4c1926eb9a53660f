"""The result: what a flow returned, as it is kept with the run."""

import json
import reprlib

import msgpack

#: Greatest number of characters of a result, as JSON, that is kept.
_MOST = 65_536


def kept(result: object) -> tuple[object, str | None]:
    """Return a result as JSON carries it; or how it looks, and why JSON does not carry it."""
    try:
        text = json.dumps(result, allow_nan=False)
        if len(text) <= _MOST:
            plain: object = json.loads(text)
            msgpack.packb(plain)
            return plain, None
        reason = f"as JSON it has {len(text)} characters, more than {_MOST}"
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the run has succeeded
        reason = str(error)
    return reprlib.repr(result), reason
