"""`Idempotency-Key`: a request that makes something is safe to repeat when its answer was lost."""

import hashlib
import re

from aiohttp import web

from turnout.router.api.body import KEPT, Answer, Body
from turnout.router.api.control import REGISTRY
from turnout.router.api.routes import Endpoint
from turnout.router.registry import AdminToken, Claim, Invalid, Kept
from turnout.shared import log
from turnout.shared.errors import TurnoutError

_log = log.get(__name__)

HEADER = "Idempotency-Key"
PATTERN = "^[!-~]{1,255}$"


def claim_of(
    endpoint: Endpoint, request: web.Request, token: AdminToken | None, body: Body | None
) -> Claim | None:
    """Return what is known a request by that may come again; None: it brings no key.

    Raises:
        Invalid: the key is none.
    """
    key = request.headers.get(HEADER)
    if key is None or token is None or not endpoint.is_repeatable:
        return None
    if not re.fullmatch(PATTERN, key):
        raise Invalid(HEADER, "1 to 255 visible ASCII characters are wanted")
    asked = f"{request.method} {request.path_qs}\n{body.model_dump_json() if body else ''}"
    return Claim(token.id, _digest(key), _digest(asked))


async def answered(request: web.Request, claim: Claim) -> web.Response | None:
    """Return the answer that the same request had, without secrets; None: it was not done yet.

    Raises:
        KeyReused: another request had its key.
        Repeated: it is under way, or its answer was not kept.
    """
    kept = await request.app[REGISTRY].kept(claim)
    if kept is None:
        return None
    headers = {"Idempotent-Replayed": "true"}
    if kept.etag is not None:
        headers["ETag"] = f'"{kept.etag}"'
    return web.Response(
        status=kept.status, text=kept.body, content_type="application/json", headers=headers
    )


async def keep(
    request: web.Request, claim: Claim, status: int, tag: str | None, answer: Answer
) -> None:
    """Keep an answer; what was done is answered even if that fails."""
    if not claim.noted:
        return  # nothing was changed
    kept = Kept(status, tag, answer.model_dump_json(context=KEPT))
    try:
        await request.app[REGISTRY].keep(claim, kept)
    except TurnoutError as error:
        _log.warning("an answer is not kept", path=request.path, reason=str(error))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
