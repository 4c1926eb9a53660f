"""A router on standby: it says so, and answers nothing else.

Its registry may be read from the database as well as by the active one, but not what that one knows
of the broker, and nothing can be changed: one router that answers is simpler to understand.
"""

from aiohttp import web

from turnout.router.api.control import CONTROL, REGISTRY
from turnout.router.api.problem import Handler, on_standby


@web.middleware
async def require_active(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let a request pass if this router is the active one, or if it asks for its health."""
    if request.path == "/healthz" or request.app[CONTROL].active:
        return await handler(request)
    await request.app[REGISTRY].ping()  # without the database nobody is active: that is the reason
    raise on_standby()
