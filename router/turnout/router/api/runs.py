"""`/runs`: executions of flows, replays among them."""

from aiohttp import web

from turnout.router.api import path
from turnout.router.api.body import Items, answer
from turnout.router.api.control import HISTORY, REGISTRY
from turnout.router.api.events import tell
from turnout.router.api.history import PageQuery, RunAnswer, directory_of, filter_of
from turnout.shared import ids

routes = web.RouteTableDef()


@routes.get("/api/v1/runs")
async def newest(request: web.Request) -> web.Response:
    """List runs, the newest first; the next page begins `before` the last one of this."""
    query = path.query(request, PageQuery)
    wanted = await filter_of(query, request.app[REGISTRY])
    before = query.before and ids.same_uuid(query.before, ids.RUN)
    found = await request.app[HISTORY].newest(wanted, before=before, limit=query.limit)
    directory = await directory_of(request)
    return answer(Items(items=[RunAnswer.of(each, directory) for each in found]))


@routes.get("/api/v1/runs/{id}")
async def show(request: web.Request) -> web.Response:
    """Tell the story of a run's event."""
    event_id = await request.app[HISTORY].event_of(path.identifier(request, ids.RUN))
    return await tell(request, event_id)
