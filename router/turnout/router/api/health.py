"""Whether the router is alive, and whether it may be relied on. Both without a token."""

from aiohttp import web

from turnout.router.api.body import Answer, answer
from turnout.router.api.control import CONTROL, REGISTRY
from turnout.router.api.problem import Problem

routes = web.RouteTableDef()


class Health(Answer):
    """A good answer."""

    status: str = "ok"


@routes.get("/healthz")
async def alive(_: web.Request) -> web.Response:
    """Answer as long as the process does."""
    return answer(Health())


@routes.get("/readyz")
async def ready(request: web.Request) -> web.Response:
    """Answer 200 when the database answers and broker and cache have followed the registry once."""
    await request.app[REGISTRY].ping()
    if not request.app[CONTROL].settled:
        raise Problem(
            503,
            "not_settled",
            "broker and cache do not follow the registry yet",
            headers={"Retry-After": "1"},
        )
    return answer(Health())
