"""`/unrouted`: events whose binding was missing, parked until it exists."""

from datetime import datetime

from aiohttp import web

from turnout.router.api.body import Answer, Items, answer
from turnout.router.api.control import OPERATIONS
from turnout.router.api.dead import moment
from turnout.shared import names

routes = web.RouteTableDef()


class ParkedAnswer(Answer):
    """Events that wait for one binding."""

    flow: str
    trigger_id: str | None
    route: str
    """The first characters of their routing key."""
    count: int
    first: datetime
    """When the oldest was parked."""


@routes.get("/api/v1/unrouted")
async def list_(request: web.Request) -> web.Response:
    """Count the events that have no route, by where they were to go."""
    return answer(
        Items(
            items=[
                ParkedAnswer(
                    flow=f"{each.group}/{each.flow}" if each.flow else "",
                    trigger_id=each.trigger_id,
                    route=names.redact(each.routing_key),
                    count=each.count,
                    first=moment(each.first),
                )
                for each in await request.app[OPERATIONS].unrouted.parked()
            ]
        )
    )
