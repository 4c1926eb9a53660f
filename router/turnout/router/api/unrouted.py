"""`/unrouted`: events whose binding was missing, parked until it exists."""

from datetime import datetime

from turnout.router.api.body import Answer, Items
from turnout.router.api.call import Call
from turnout.router.api.control import OPERATIONS
from turnout.router.api.moments import at
from turnout.router.api.routes import Routes
from turnout.shared import names

routes = Routes()


class ParkedAnswer(Answer):
    """Events that wait for one binding."""

    flow: str
    trigger_id: str | None
    route: str
    """The first characters of their routing key."""
    count: int
    first: datetime
    """When the oldest was parked."""


@routes.get("/unrouted", filtered=True)
async def list_all(call: Call) -> Items[ParkedAnswer]:
    """Count the events that have no route, by where they were to go."""
    return Items(
        items=[
            ParkedAnswer(
                flow=f"{each.group}/{each.flow}" if each.flow else "",
                trigger_id=each.trigger_id,
                route=names.redact(each.routing_key),
                count=each.count,
                first=at(each.first),
            )
            for each in await call.app[OPERATIONS].unrouted.parked()
            if call.sees(each.group)
        ]
    )
