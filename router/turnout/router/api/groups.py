"""`/groups`: they own flows and API keys."""

from datetime import datetime
from typing import Self

from aiohttp import web

from turnout.router.api import path
from turnout.router.api.body import Answer, Body, Items, Name, answer, read
from turnout.router.api.control import REGISTRY
from turnout.router.registry import Group

routes = web.RouteTableDef()


class NewGroup(Body):
    """A group to register."""

    slug: str
    name: Name | None = None


class GroupAnswer(Answer):
    """A group."""

    id: str
    slug: str
    name: str
    created_at: datetime

    @classmethod
    def of(cls, group: Group) -> Self:
        """Show a group."""
        return cls(id=group.id, slug=group.slug, name=group.name, created_at=group.created_at)


@routes.post("/api/v1/groups")
async def create(request: web.Request) -> web.Response:
    """Register a group."""
    body = await read(request, NewGroup)
    group = await request.app[REGISTRY].create_group(body.slug, name=body.name)
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
