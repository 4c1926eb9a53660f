"""Who may use the admin API: whoever shows an admin token."""

from aiohttp import web

from turnout.router.api.control import REGISTRY
from turnout.router.api.problem import Handler, Problem
from turnout.router.registry import AdminToken
from turnout.shared import keys

#: What a call has shown.
TOKEN = web.RequestKey("token", AdminToken)
#: Paths that are open to all: supervisors have no token, and the document holds nothing secret.
OPEN = web.AppKey("open", frozenset[str])


@web.middleware
async def require_token(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let a request pass that shows a valid token of the registry; refuse all others alike.

    The token is looked up by its digest, so the time taken tells nothing about how much of it is
    right; one that is revoked or expired is looked up like one that never was.
    """
    if request.path not in request.app[OPEN]:
        token = await _presented(request)
        if token is None:
            raise Problem(
                401,
                "unauthorized",
                "the admin API wants a valid admin token: Authorization: Bearer ta_…",
                headers={"WWW-Authenticate": 'Bearer realm="turnout"'},
            )
        request[TOKEN] = token
    return await handler(request)


async def _presented(request: web.Request) -> AdminToken | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not keys.is_well_formed(token, keys.ADMIN_TOKEN):
        return None
    return await request.app[REGISTRY].admin_token(keys.digest(token))
