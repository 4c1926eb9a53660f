"""`/runs`: executions of flows, replays among them."""

from turnout.router.api.body import Listing
from turnout.router.api.call import Call
from turnout.router.api.control import HISTORY
from turnout.router.api.events import StoryAnswer, tell
from turnout.router.api.history import NewestQuery, RunAnswer, directory_of, newest
from turnout.router.api.params import RunId
from turnout.router.api.routes import Routes

routes = Routes()


@routes.get("/runs", filtered=True, refuses=(404,))
async def list_all(call: Call, query: NewestQuery) -> Listing[RunAnswer]:
    """List runs, newest first."""
    found, following = await newest(call, query)
    directory = await directory_of(call)
    return Listing(items=[RunAnswer.of(each, directory) for each in found], next_cursor=following)


@routes.get("/runs/{run_id}")
async def show(call: Call, run_id: RunId) -> StoryAnswer:
    """Tell the story of a run's event."""
    return await tell(call, await call.app[HISTORY].event_of(run_id))
