"""`/flows`: what runs."""

from collections.abc import Sequence
from datetime import datetime
from typing import Self

from aiohttp import web

from turnout.router import monitor
from turnout.router.api import path
from turnout.router.api.body import Answer, Body, Description, Items, Name, answer, read
from turnout.router.api.control import CACHE, REGISTRY, settle
from turnout.router.monitor import Load, State
from turnout.router.registry import Flow

routes = web.RouteTableDef()


class NewFlow(Body):
    """A flow to register."""

    slug: str
    name: Name | None = None


class Reason(Body):
    """Why something is done, for those who ask later."""

    reason: Description


class Paused(Answer):
    """Since when no run of a flow starts, and why."""

    since: datetime
    reason: str


class FlowAnswer(Answer):
    """A flow."""

    id: str
    group: str
    slug: str
    name: str
    created_at: datetime
    paused: Paused | None
    state: State
    queued: int | None
    """Runs that no worker has; this and the following, null: it is not known."""
    running: int | None
    """Runs that workers have taken."""
    wait: float | None
    """Seconds for which a run waits at present, about."""
    workers: int | None
    """Processes that serve it."""

    @classmethod
    def of(cls, flow: Flow, load: Load) -> Self:
        """Show a flow."""
        waiting = load.backlog
        return cls(
            id=flow.id,
            group=flow.group,
            slug=flow.slug,
            name=flow.name,
            created_at=flow.created_at,
            paused=None
            if flow.paused_at is None
            else Paused(since=flow.paused_at, reason=flow.paused_reason or ""),
            state=monitor.state(flow, load),
            queued=waiting and waiting.queued,
            running=waiting and waiting.running,
            wait=waiting and waiting.wait,
            workers=load.workers,
        )


@routes.post("/api/v1/groups/{group}/flows")
async def create(request: web.Request) -> web.Response:
    """Register a flow of a group."""
    group = path.slug(request, "group")
    body = await read(request, NewFlow)
    flow = await request.app[REGISTRY].create_flow(group, body.slug, name=body.name)
    await settle(request)
    return await _answer(request, flow, status=201)


@routes.get("/api/v1/groups/{group}/flows")
async def list_of_group(request: web.Request) -> web.Response:
    """List the flows of a group."""
    flows = await request.app[REGISTRY].list_flows(path.slug(request, "group"))
    return answer(Items(items=await _shown(request, flows)))


@routes.get("/api/v1/flows")
async def list_all(request: web.Request) -> web.Response:
    """List all flows."""
    flows = await request.app[REGISTRY].list_flows()
    return answer(Items(items=await _shown(request, flows)))


@routes.get("/api/v1/flows/{group}/{flow}")
async def show(request: web.Request) -> web.Response:
    """Show one flow."""
    return await _answer(request, await request.app[REGISTRY].flow(*path.flow(request)))


@routes.post("/api/v1/flows/{group}/{flow}/pause")
async def pause(request: web.Request) -> web.Response:
    """Let no run of a flow start; those in progress end, and calls are queued."""
    body = await read(request, Reason)
    flow = await request.app[REGISTRY].pause_flow(*path.flow(request), body.reason)
    await settle(request)
    return await _answer(request, flow)


@routes.post("/api/v1/flows/{group}/{flow}/resume")
async def resume(request: web.Request) -> web.Response:
    """Let runs of a flow start again."""
    flow = await request.app[REGISTRY].resume_flow(*path.flow(request))
    await settle(request)
    return await _answer(request, flow)


async def _answer(request: web.Request, flow: Flow, *, status: int = 200) -> web.Response:
    (shown,) = await _shown(request, [flow])
    return answer(shown, status=status)


async def _shown(request: web.Request, flows: Sequence[Flow]) -> list[FlowAnswer]:
    loads = await monitor.loads(request.app[CACHE], flows)
    return [FlowAnswer.of(each, loads[each.address]) for each in flows]
