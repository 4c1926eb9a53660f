"""`/groups`: they own flows and API keys."""

from datetime import datetime
from typing import Self

from aiohttp import web

from turnout.router.api import path
from turnout.router.api.body import Answer, Body, Items, Name, answer, read
from turnout.router.api.control import REGISTRY, settle
from turnout.router.api.limits import GroupLimits
from turnout.router.registry import Group

routes = web.RouteTableDef()


class NewGroup(Body):
    """A group to register."""

    slug: str
    name: Name | None = None
    limits: GroupLimits = GroupLimits()


class GroupChange(Body):
    """What to change: the limits that are sent; null takes one away."""

    limits: GroupLimits


class GroupAnswer(Answer):
    """A group."""

    id: str
    slug: str
    name: str
    created_at: datetime
    limits: GroupLimits

    @classmethod
    def of(cls, group: Group) -> Self:
        """Show a group."""
        return cls(
            id=group.id,
            slug=group.slug,
            name=group.name,
            created_at=group.created_at,
            limits=GroupLimits.of(group.limits),
        )


@routes.post("/api/v1/groups")
async def create(request: web.Request) -> web.Response:
    """Register a group."""
    body = await read(request, NewGroup)
    group = await request.app[REGISTRY].create_group(
        body.slug, name=body.name, limits=body.limits.value()
    )
    return answer(GroupAnswer.of(group), status=201)


@routes.get("/api/v1/groups")
async def list_all(request: web.Request) -> web.Response:
    """List all groups."""
    groups = await request.app[REGISTRY].list_groups()
    return answer(Items(items=[GroupAnswer.of(each) for each in groups]))


@routes.get("/api/v1/groups/{group}")
async def show(request: web.Request) -> web.Response:
    """Show one group."""
    group = await request.app[REGISTRY].group(path.slug(request, "group"))
    return answer(GroupAnswer.of(group))


@routes.patch("/api/v1/groups/{group}")
async def change(request: web.Request) -> web.StreamResponse:
    """Change limits of a group."""
    slug = path.slug(request, "group")
    body = await read(request, GroupChange)
    await request.app[REGISTRY].limit_group(slug, body.limits.changes())
    await settle(request)
    return await show(request)
