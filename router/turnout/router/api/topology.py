"""`/topology`: what the broker has to hold, and what it lacks."""

from typing import Self

from aiohttp import web

from turnout.router.api.body import Answer, answer
from turnout.router.api.control import CONTROL
from turnout.router.topology import Missing

routes = web.RouteTableDef()


class Part(Answer):
    """An exchange, a queue or a binding."""

    kind: str
    name: str

    @classmethod
    def of(cls, missing: Missing) -> Self:
        """Show what was missing."""
        return cls(kind=missing.kind, name=missing.name)


class Check(Answer):
    """How the broker compares with what it has to hold."""

    ok: bool
    missing: list[Part]


class Applied(Answer):
    """What the broker lacked and has now."""

    declared: list[Part]


@routes.get("/api/v1/topology")
async def check(request: web.Request) -> web.Response:
    """Say what the broker lacks."""
    missing = await request.app[CONTROL].check()
    return answer(Check(ok=not missing, missing=[Part.of(each) for each in missing]))


@routes.post("/api/v1/topology/apply")
async def apply(request: web.Request) -> web.Response:
    """Declare what the broker lacks."""
    declared = await request.app[CONTROL].apply()
    return answer(Applied(declared=[Part.of(each) for each in declared]))
