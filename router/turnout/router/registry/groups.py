"""Groups: they own flows and API keys, and nothing crosses them."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from turnout.router import models
from turnout.router.registry.errors import Invalid, NotFound
from turnout.router.registry.store import Store, insert, now
from turnout.shared import ids, names
from turnout.shared.errors import InvalidName

_GROUPS = select(
    models.Group.id, models.Group.slug, models.Group.name, models.Group.created_at
).order_by(models.Group.slug)


@dataclass(frozen=True)
class Group:
    """A group as it is registered."""

    id: str
    slug: str
    name: str
    created_at: datetime


class Groups(Store):
    """The verbs of groups."""

    async def create_group(self, slug: str, *, name: str | None = None) -> Group:
        """Register a group; without a name it is called like its slug.

        Raises:
            Conflict: there is one with this slug.
            Invalid: the slug is not legal.
        """
        group = Group(
            id=ids.new(ids.GROUP), slug=legal_slug(slug), name=name or slug, created_at=now()
        )
        async with self._database.writing() as connection:
            await insert(
                connection,
                models.Group,
                f"group {slug!r} exists already",
                id=group.id,
                slug=group.slug,
                name=group.name,
                created_at=group.created_at,
            )
        return group

    async def list_groups(self) -> list[Group]:
        """Return all groups, sorted by slug."""
        async with self._database.reading() as connection:
            return [Group(*row) for row in await connection.execute(_GROUPS)]

    async def group(self, slug: str) -> Group:
        """Return one group.

        Raises:
            NotFound: there is none with this slug.
        """
        async with self._database.reading() as connection:
            return await find_group(connection, slug)


async def find_group(connection: AsyncConnection, slug: str) -> Group:
    """Return one group, within a transaction.

    Raises:
        NotFound: there is none with this slug.
    """
    row = (await connection.execute(_GROUPS.where(models.Group.slug == slug))).one_or_none()
    if row is None:
        raise NotFound("group", slug)
    return Group(*row)


def legal_slug(slug: str) -> str:
    """Return the slug of a new group or flow.

    Raises:
        Invalid: it is not legal.
    """
    try:
        return names.slug(slug)
    except InvalidName as error:
        raise Invalid("slug", str(error)) from None
