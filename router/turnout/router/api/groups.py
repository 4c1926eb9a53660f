"""`/groups`: they own flows and API keys."""

from datetime import datetime
from typing import Self

from turnout.router.api.body import Answer, Body, Listing, Name
from turnout.router.api.call import Call
from turnout.router.api.limits import GroupLimits
from turnout.router.api.params import PageQuery, Slug, cursor
from turnout.router.api.routes import Routes, Tagged
from turnout.router.registry import Group

routes = Routes()


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


@routes.post("/groups")
async def create(call: Call, body: NewGroup) -> Tagged[GroupAnswer]:
    """Register a group."""
    group = await call.registry.create_group(body.slug, name=body.name, limits=body.limits.value())
    return Tagged(GroupAnswer.of(group), group)


@routes.get("/groups", filtered=True)
async def list_all(call: Call, query: PageQuery) -> Listing[GroupAnswer]:
    """List all groups."""
    found = await call.registry.list_groups(query.page, groups=call.groups)
    return Listing(items=[GroupAnswer.of(each) for each in found], next_cursor=cursor(found.next))


@routes.get("/groups/{group}")
async def show(call: Call, group: Slug) -> Tagged[GroupAnswer]:
    """Show one group."""
    found = await call.registry.group(group)
    return Tagged(GroupAnswer.of(found), found)


@routes.patch("/groups/{group}")
async def change(call: Call, group: Slug, body: GroupChange) -> Tagged[GroupAnswer]:
    """Change limits of a group."""
    await call.registry.limit_group(group, body.limits.changes())
    await call.settle()
    return await show(call, group)
