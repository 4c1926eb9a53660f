"""Flows: what runs, addressed "group/flow"."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from turnout.router import models
from turnout.router.registry.change import Change
from turnout.router.registry.errors import Conflict, Invalid, NotFound
from turnout.router.registry.groups import Groups, find_group, in_groups, legal_slug
from turnout.router.registry.page import ALL, Page, Slice
from turnout.router.registry.store import insert, now
from turnout.shared import ids, names, ordering
from turnout.shared.announcement import Served
from turnout.shared.errors import InvalidName

_FLOWS = select(
    models.Flow.id,
    models.Group.id.label("group_id"),
    models.Group.slug.label("group"),
    models.Flow.slug,
    models.Flow.name,
    models.Flow.created_at,
    models.Flow.paused_at,
    models.Flow.paused_reason,
    models.Flow.ordered_by,
    models.Flow.partitions,
    models.Flow.max_running,
).join(models.Group)
_ORDER = (models.Group.slug, models.Flow.slug)


@dataclass(frozen=True)
class Flow:
    """A flow as it is registered; `group` and `slug` are the two parts of its address."""

    id: str
    group_id: str
    group: str
    slug: str
    name: str
    created_at: datetime
    paused_at: datetime | None = None
    paused_reason: str | None = None
    ordered_by: str | None = None
    """Where the key stands in the body, if runs of one key go one after the other."""
    partitions: int | None = None
    """How many queues it has, if it is ordered; else it has one."""
    max_running: int | None = None
    """How many of its runs may be in progress at once, over all workers; None: any number."""

    @property
    def address(self) -> str:
        """Its address: "group/flow"."""
        return f"{self.group}/{self.slug}"

    @property
    def label(self) -> str:
        """How people call it."""
        return self.address


class Flows(Groups):
    """The verbs of flows, on top of those of groups."""

    async def create_flow(
        self,
        group: str,
        slug: str,
        *,
        name: str | None = None,
        ordered_by: str | None = None,
        partitions: int | None = None,
    ) -> Flow:
        """Register a flow; without a name it is called like its slug.

        Args:
            group: the slug of its group.
            slug: its own.
            name: how people call it.
            ordered_by: where the key stands in the body, if runs of one key are to go one after
                the other. It and the number of partitions never change.
            partitions: how many queues it has then.

        Raises:
            Conflict: the group has one with this slug.
            Invalid: the slug or the order is not legal.
            NotFound: there is no such group.
        """
        legal_slug(slug)
        try:
            partitions = ordering.count(ordered_by, partitions)
        except InvalidName as error:
            raise Invalid("ordered_by", str(error)) from None
        async with self._changing() as change:
            owner = await find_group(change.connection, group)
            flow = Flow(
                id=ids.new(ids.FLOW),
                group_id=owner.id,
                group=owner.slug,
                slug=slug,
                name=name or slug,
                created_at=now(),
                ordered_by=ordered_by,
                partitions=partitions,
            )
            await insert(
                change.connection,
                models.Flow,
                Conflict(f"flow {flow.address!r} exists already", "slug"),
                id=flow.id,
                group_id=flow.group_id,
                slug=flow.slug,
                name=flow.name,
                created_at=flow.created_at,
                ordered_by=flow.ordered_by,
                partitions=flow.partitions,
            )
            await change.record("flow.create", before=None, after=flow)
        return flow

    async def register_flows(self, announced: Mapping[str, Served]) -> list[Flow]:
        """Register those flows, and their groups, that are not yet registered.

        Args:
            announced: flows as running workers announce them, by address.

        Returns:
            The flows that are new.

        Raises:
            InvalidName: an address is not legal; nothing was registered.
        """
        wanted = {address: names.flow_address(address) for address in announced}
        known = {flow.address for flow in await self.list_flows()}
        registered = []
        for address in sorted(wanted.keys() - known):
            group, slug = wanted[address]
            with suppress(Conflict):
                await self.create_group(group)
            with suppress(Conflict):
                flow = await self.create_flow(
                    group,
                    slug,
                    ordered_by=announced[address].ordered_by,
                    partitions=announced[address].partitions,
                )
                registered.append(flow)
        return registered

    async def list_flows(
        self,
        group: str | None = None,
        page: Slice = ALL,
        *,
        groups: Sequence[str] | None = None,
    ) -> Page[Flow]:
        """Return all flows, or those of a group, sorted by address.

        Args:
            group: the slug of the group; None: of all.
            page: which part of them.
            groups: only those of these groups; None: all.

        Raises:
            NotFound: there is no such group.
        """
        async with self._database.reading() as connection:
            belongs = await in_groups(connection, group, groups)
            return await select_flows(connection, *belongs, page=page)

    async def flow(self, group: str, slug: str) -> Flow:
        """Return one flow.

        Raises:
            NotFound: there is no such flow.
        """
        async with self._database.reading() as connection:
            return await find_flow(connection, group, slug)

    async def pause_flow(self, group: str, slug: str, reason: str) -> Flow:
        """Let no run of a flow start; one that is paused already has another reason then.

        Raises:
            NotFound: there is no such flow.
        """
        async with self._changing() as change:
            flow = await find_flow(change.connection, group, slug)
            paused = replace(flow, paused_at=flow.paused_at or now(), paused_reason=reason)
            return await _set(change, "flow.pause", flow, paused)

    async def resume_flow(self, group: str, slug: str) -> Flow:
        """Let runs of a flow start again.

        Raises:
            NotFound: there is no such flow.
        """
        async with self._changing() as change:
            flow = await find_flow(change.connection, group, slug)
            resumed = replace(flow, paused_at=None, paused_reason=None)
            return await _set(change, "flow.resume", flow, resumed)

    async def limit_flow(self, group: str, slug: str, max_running: int | None) -> Flow:
        """Limit how many runs of a flow are in progress at once, over all workers.

        Args:
            group: the slug of its group.
            slug: its own.
            max_running: from 1; None: any number.

        Raises:
            NotFound: there is no such flow.
        """
        async with self._changing() as change:
            flow = await find_flow(change.connection, group, slug)
            limited = replace(flow, max_running=max_running)
            return await _set(change, "flow.limit", flow, limited)


async def _set(change: Change, verb: str, before: Flow, flow: Flow) -> Flow:
    """Write and record what a verb made of a flow."""
    await change.connection.execute(
        update(models.Flow)
        .where(models.Flow.id == flow.id)
        .values(
            paused_at=flow.paused_at,
            paused_reason=flow.paused_reason,
            max_running=flow.max_running,
        )
    )
    await change.record(verb, before=before, after=flow)
    return flow


async def select_flows(
    connection: AsyncConnection, *conditions: ColumnElement[bool], page: Slice = ALL
) -> Page[Flow]:
    """Return the flows for which the conditions hold, by address, within a transaction."""
    return await page.read(connection, _FLOWS.where(*conditions), _ORDER, Flow)


async def find_flow(connection: AsyncConnection, group: str, slug: str) -> Flow:
    """Return one flow, within a transaction.

    Raises:
        NotFound: there is no such flow.
    """
    found = await select_flows(connection, models.Group.slug == group, models.Flow.slug == slug)
    if not found:
        raise NotFound("flow", f"{group}/{slug}")
    return found[0]
