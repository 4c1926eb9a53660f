"""Who may use the admin API: whoever shows an admin token."""

from aiohttp import web

from turnout.router.api.control import REGISTRY
from turnout.router.api.problem import Handler, Problem
from turnout.shared import keys

#: Asked by supervisors, which have no token; their answers say nothing else.
_OPEN = frozenset({"/healthz", "/readyz"})


@web.middleware
async def require_token(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let a request pass that shows a token of the registry; refuse all others alike.

    The token is looked up by its digest, so the time taken tells nothing about how much of it is
    right.
    """
    if request.path in _OPEN or await _is_known(request):
        return await handler(request)
    raise Problem(
        401,
        "unauthorized",
        "the admin API wants a valid admin token: Authorization: Bearer ta_…",
        headers={"WWW-Authenticate": 'Bearer realm="turnout"'},
    )


async def _is_known(request: web.Request) -> bool:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not keys.is_well_formed(token, keys.ADMIN_TOKEN):
        return False
    return await request.app[REGISTRY].admin_token(keys.digest(token)) is not None
