"""Groups: they own flows and API keys, and nothing crosses them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncConnection

from turnout.router import models
from turnout.router.registry.errors import Conflict, Invalid, NotFound
from turnout.router.registry.limits import NONE, Limits, change_limits
from turnout.router.registry.page import ALL, Page, Slice
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
    models.Group.max_header_bytes,
    models.Group.read_timeout,
)


@dataclass(frozen=True)
class Group:
    """A group as it is registered."""

    id: str
    slug: str
    name: str
    created_at: datetime
    limits: Limits
    """Of each of its keys (rate, burst, in flight) and triggers (all others)."""

    @property
    def label(self) -> str:
        """How people call it."""
        return self.slug

    @property
    def group(self) -> str:
        """Itself: nothing of it crosses its border."""
        return self.slug


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
        async with self._changing() as change:
            await insert(
                change.connection,
                models.Group,
                Conflict(f"group {slug!r} exists already", "slug"),
                id=group.id,
                slug=group.slug,
                name=group.name,
                created_at=group.created_at,
                rate=limits.rate,
                burst=limits.burst,
                in_flight=limits.in_flight,
                max_body_bytes=limits.max_body_bytes,
                max_header_bytes=limits.max_header_bytes,
                read_timeout=limits.read_timeout,
            )
            await change.record("group.create", before=None, after=group)
        return group

    async def list_groups(
        self, page: Slice = ALL, *, groups: Sequence[str] | None = None
    ) -> Page[Group]:
        """Return all groups, sorted by slug.

        Args:
            page: which part of them.
            groups: only those with these slugs; None: all.
        """
        conditions = [] if groups is None else [models.Group.slug.in_(groups)]
        async with self._database.reading() as connection:
            return await select_groups(connection, *conditions, page=page)

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
        async with self._changing() as change:
            before = await find_group(change.connection, slug)
            await change_limits(change.connection, models.Group, "group", slug, changes)
            after = await find_group(change.connection, slug)
            await change.record("group.limit", before=before, after=after)


async def select_groups(
    connection: AsyncConnection, *conditions: ColumnElement[bool], page: Slice = ALL
) -> Page[Group]:
    """Return the groups for which the conditions hold, by slug, within a transaction."""
    return await page.read(connection, _GROUPS.where(*conditions), (models.Group.slug,), _group)


async def in_groups(
    connection: AsyncConnection, group: str | None, groups: Sequence[str] | None
) -> list[ColumnElement[bool]]:
    """Return the conditions for what belongs to a group, or else to any of these; None: to any.

    Raises:
        NotFound: there is no such group.
    """
    if group is not None:
        await find_group(connection, group)
        groups = [group]
    return [] if groups is None else [models.Group.slug.in_(groups)]


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
    max_header_bytes: int | None,
    read_timeout: float | None,
    **columns: Any,
) -> Group:
    limits = Limits(rate, burst, in_flight, max_body_bytes, max_header_bytes, read_timeout)
    return Group(**columns, limits=limits)


def legal_slug(slug: str) -> str:
    """Return the slug of a new group or flow.

    Raises:
        Invalid: it is not legal.
    """
    try:
        return names.slug(slug)
    except InvalidName as error:
        raise Invalid("slug", str(error)) from None
