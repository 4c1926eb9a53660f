"""`/flows`: what runs."""

from datetime import datetime
from typing import Self

from aiohttp import web

from turnout.router.api import path
from turnout.router.api.body import Answer, Body, Items, Name, answer, read
from turnout.router.api.control import REGISTRY, settle
from turnout.router.registry import Flow

routes = web.RouteTableDef()


class NewFlow(Body):
    """A flow to register."""

    slug: str
    name: Name | None = None


class FlowAnswer(Answer):
    """A flow."""

    id: str
    group: str
    slug: str
    name: str
    created_at: datetime

    @classmethod
    def of(cls, flow: Flow) -> Self:
        """Show a flow."""
        return cls(
            id=flow.id,
            group=flow.group,
            slug=flow.slug,
            name=flow.name,
            created_at=flow.created_at,
        )


@routes.post("/api/v1/groups/{group}/flows")
async def create(request: web.Request) -> web.Response:
    """Register a flow of a group."""
    group = path.slug(request, "group")
    body = await read(request, NewFlow)
    flow = await request.app[REGISTRY].create_flow(group, body.slug, name=body.name)
    await settle(request)
    return answer(FlowAnswer.of(flow), status=201)


@routes.get("/api/v1/groups/{group}/flows")
async def list_of_group(request: web.Request) -> web.Response:
    """List the flows of a group."""
    flows = await request.app[REGISTRY].list_flows(path.slug(request, "group"))
    return answer(Items(items=[FlowAnswer.of(each) for each in flows]))


@routes.get("/api/v1/flows")
async def list_all(request: web.Request) -> web.Response:
    """List all flows."""
    flows = await request.app[REGISTRY].list_flows()
    return answer(Items(items=[FlowAnswer.of(each) for each in flows]))


@routes.get("/api/v1/flows/{group}/{flow}")
async def show(request: web.Request) -> web.Response:
    """Show one flow."""
    flow = await request.app[REGISTRY].flow(path.slug(request, "group"), path.slug(request, "flow"))
    return answer(FlowAnswer.of(flow))
