"""Whether the router is alive, and whether it may be relied on. Both without a token."""

from turnout.router.api.body import Answer
from turnout.router.api.call import Call
from turnout.router.api.control import CONTROL, DUTIES, REGISTRY
from turnout.router.api.problem import Problem
from turnout.router.api.routes import Routes

routes = Routes()


class Health(Answer):
    """A good answer."""

    status: str = "ok"


class Readiness(Health):
    """A good answer, with what is not so good: see the router's log."""

    failing: list[str]
    """Duties that failed within the last minute, and are begun again and again."""


@routes.get("/healthz", role=None)
async def alive(call: Call) -> Health:
    """Answer as long as the process does."""
    return Health()


@routes.get("/readyz", role=None, refuses=(503,))
async def ready(call: Call) -> Readiness:
    """Answer 200 when the database answers and broker and cache have followed the registry once."""
    await call.app[REGISTRY].ping()
    if not call.app[CONTROL].settled:
        raise Problem(
            503,
            "not_settled",
            "broker and cache do not follow the registry yet",
            headers={"Retry-After": "1"},
        )
    return Readiness(failing=call.app[DUTIES].failing)
