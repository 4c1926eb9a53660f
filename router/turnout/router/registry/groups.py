"""Groups: they own flows and API keys, and nothing crosses them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from turnout.router import models
from turnout.router.registry.errors import Invalid, NotFound
from turnout.router.registry.limits import NONE, Limits, change_limits
from turnout.router.registry.store import Store, insert, now
from turnout.shared import ids, names
from turnout.shared.errors import InvalidName

_GROUPS = select(
    models.Group.id,
    models.Group.slug,
    models.Group.name,
    models.Group.created_at,
    models.Group.rate,
    models.Group.burst,
    models.Group.in_flight,
    models.Group.max_body_bytes,
).order_by(models.Group.slug)


@dataclass(frozen=True)
class Group:
    """A group as it is registered."""

    id: str
    slug: str
    name: str
    created_at: datetime
    limits: Limits
    """Of each of its keys (rate, burst, in flight) and triggers (size of a body)."""


class Groups(Store):
    """The verbs of groups."""

    async def create_group(
        self, slug: str, *, name: str | None = None, limits: Limits = NONE
    ) -> Group:
        """Register a group; without a name it is called like its slug.

        Raises:
            Conflict: there is one with this slug.
            Invalid: the slug is not legal, or there is a burst without a rate.
        """
        limits.check()
        group = Group(
            id=ids.new(ids.GROUP),
            slug=legal_slug(slug),
            name=name or slug,
            created_at=now(),
            limits=limits,
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
                rate=limits.rate,
                burst=limits.burst,
                in_flight=limits.in_flight,
                max_body_bytes=limits.max_body_bytes,
            )
        return group

    async def list_groups(self) -> list[Group]:
        """Return all groups, sorted by slug."""
        async with self._database.reading() as connection:
            rows = await connection.execute(_GROUPS)
            return [_group(**row) for row in rows.mappings()]

    async def group(self, slug: str) -> Group:
        """Return one group.

        Raises:
            NotFound: there is none with this slug.
        """
        async with self._database.reading() as connection:
            return await find_group(connection, slug)

    async def limit_group(self, slug: str, changes: Mapping[str, Any]) -> None:
        """Change limits of a group: fields of `Limits`; None takes one away.

        Raises:
            Invalid: a burst would have no rate.
            NotFound: there is none with this slug.
        """
        async with self._database.writing() as connection:
            await change_limits(connection, models.Group, "group", slug, changes)


async def find_group(connection: AsyncConnection, slug: str) -> Group:
    """Return one group, within a transaction.

    Raises:
        NotFound: there is none with this slug.
    """
    rows = await connection.execute(_GROUPS.where(models.Group.slug == slug))
    row = rows.mappings().one_or_none()
    if row is None:
        raise NotFound("group", slug)
    return _group(**row)


def _group(
    *,
    rate: float | None,
    burst: int | None,
    in_flight: int | None,
    max_body_bytes: int | None,
    **columns: Any,
) -> Group:
    return Group(**columns, limits=Limits(rate, burst, in_flight, max_body_bytes))


def legal_slug(slug: str) -> str:
    """Return the slug of a new group or flow.

    Raises:
        Invalid: it is not legal.
    """
    try:
        return names.slug(slug)
    except InvalidName as error:
        raise Invalid("slug", str(error)) from None
