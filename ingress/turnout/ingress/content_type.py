"""The media type of a body, held against those that a trigger accepts."""

from aiohttp import web


def is_accepted(request: web.BaseRequest, types: tuple[str, ...]) -> bool:
    """Tell whether the body of a call is of one of some media types; a call without one is.

    Args:
        request: the call.
        types: in lower case; "text/*" stands for all that begin so.
    """
    if not request.body_exists:
        return True
    sent = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    kind, slash, _ = sent.partition("/")
    return sent in types or f"{kind}{slash}*" in types
