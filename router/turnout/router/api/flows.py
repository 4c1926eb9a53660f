"""`/flows`: what runs."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import Field

from turnout.router import monitor
from turnout.router.api.body import Answer, Body, Description, Listing, Name
from turnout.router.api.call import Call
from turnout.router.api.control import CACHE
from turnout.router.api.limits import Count
from turnout.router.api.params import PageQuery, Slug, cursor
from turnout.router.api.routes import Routes, Tagged
from turnout.router.monitor import Load, State
from turnout.router.registry import Flow, Page

routes = Routes()


class NewFlow(Body):
    """A flow to register."""

    slug: str
    name: Name | None = None
    ordered_by: Annotated[str, Field(max_length=200)] | None = None
    """Where the key stands in the body, for example "customer.id": events of one key run one after
    the other, in the order in which they came. It cannot be changed later."""
    partitions: int | None = None
    """Of an ordered flow: how many workers can share it. It cannot be changed later."""


class FlowChange(Body):
    """What to change."""

    max_running: Count | None
    """How many runs may be in progress at once, over all workers; null: any number."""


class Pause(Body):
    """Why runs do not start."""

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
    ordered_by: str | None
    partitions: int | None
    max_running: int | None
    """Runs that may be in progress at once, over all workers; null: any number."""
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
            ordered_by=flow.ordered_by,
            partitions=flow.partitions,
            max_running=flow.max_running,
            paused=None
            if flow.paused_at is None
            else Paused(since=flow.paused_at, reason=flow.paused_reason or ""),
            state=monitor.state(flow, load),
            queued=waiting and waiting.queued,
            running=waiting and waiting.running,
            wait=waiting and waiting.wait,
            workers=load.workers,
        )


@routes.post("/groups/{group}/flows")
async def create(call: Call, group: Slug, body: NewFlow) -> Tagged[FlowAnswer]:
    """Register a flow of a group."""
    flow = await call.registry.create_flow(group, **body.model_dump())
    await call.settle()
    return await _shown(call, flow)


@routes.get("/groups/{group}/flows")
async def list_of_group(call: Call, group: Slug, query: PageQuery) -> Listing[FlowAnswer]:
    """List the flows of a group."""
    return await _listing(call, await call.registry.list_flows(group, query.page))


@routes.get("/flows", filtered=True)
async def list_all(call: Call, query: PageQuery) -> Listing[FlowAnswer]:
    """List all flows."""
    return await _listing(call, await call.registry.list_flows(page=query.page, groups=call.groups))


@routes.get("/flows/{group}/{flow}")
async def show(call: Call, group: Slug, flow: Slug) -> Tagged[FlowAnswer]:
    """Show one flow."""
    found = await call.registry.flow(group, flow)
    return await _shown(call, found)


@routes.patch("/flows/{group}/{flow}")
async def change(call: Call, group: Slug, flow: Slug, body: FlowChange) -> Tagged[FlowAnswer]:
    """Limit how many runs of a flow are in progress at once, over all workers."""
    changed = await call.registry.limit_flow(group, flow, body.max_running)
    await call.settle()
    return await _shown(call, changed)


@routes.post("/flows/{group}/{flow}/pause", status=200)
async def pause(call: Call, group: Slug, flow: Slug, body: Pause) -> Tagged[FlowAnswer]:
    """Let no run of a flow start; those in progress end, and calls are queued."""
    paused = await call.registry.pause_flow(group, flow, body.reason)
    await call.settle()
    return await _shown(call, paused)


@routes.post("/flows/{group}/{flow}/resume", status=200)
async def resume(call: Call, group: Slug, flow: Slug) -> Tagged[FlowAnswer]:
    """Let runs of a flow start again."""
    resumed = await call.registry.resume_flow(group, flow)
    await call.settle()
    return await _shown(call, resumed)


async def _shown(call: Call, flow: Flow) -> Tagged[FlowAnswer]:
    loads = await monitor.loads(call.app[CACHE], [flow])
    return Tagged(FlowAnswer.of(flow, loads[flow.address]), flow)


async def _listing(call: Call, found: Page[Flow]) -> Listing[FlowAnswer]:
    loads = await monitor.loads(call.app[CACHE], found)
    return Listing(
        items=[FlowAnswer.of(each, loads[each.address]) for each in found],
        next_cursor=cursor(found.next),
    )
