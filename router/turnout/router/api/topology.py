"""`/topology`: what the broker has to hold, and what it lacks."""

from typing import Self

from turnout.router.api.body import Answer
from turnout.router.api.call import Call
from turnout.router.api.control import CONTROL
from turnout.router.api.routes import Routes
from turnout.router.topology import Missing

routes = Routes()


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


@routes.get("/topology")
async def check(call: Call) -> Check:
    """Say what the broker lacks."""
    missing = await call.app[CONTROL].check()
    return Check(ok=not missing, missing=[Part.of(each) for each in missing])


@routes.post("/topology/apply", status=200)
async def apply(call: Call) -> Applied:
    """Declare what the broker lacks."""
    declared = [Part.of(each) for each in await call.app[CONTROL].apply()]
    await call.registry.note("topology.apply", {"declared": [each.name for each in declared[:100]]})
    return Applied(declared=declared)
