"""HTTP triggers: the entry points of flows, each with a routing key of its own."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple

from sqlalchemy import ColumnElement, bindparam, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from turnout.router import models
from turnout.router.registry.errors import Invalid, NotFound
from turnout.router.registry.flows import find_flow
from turnout.router.registry.groups import Group, find_group
from turnout.router.registry.keys import ApiKey, select_keys
from turnout.router.registry.limits import NONE, Limits, change_limits
from turnout.router.registry.store import Store, now
from turnout.shared import ids, keys

Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]

_TRIGGERS = (
    select(
        models.Trigger.id,
        models.Flow.id.label("flow_id"),
        models.Group.id.label("group_id"),
        models.Group.slug.label("group"),
        models.Flow.slug.label("flow"),
        models.Trigger.description,
        models.Trigger.routing_key,
        models.Trigger.enabled,
        models.Trigger.key_in_query,
        models.Trigger.created_at,
        models.Trigger.live_since,
        models.Trigger.methods,
        models.Trigger.any_key,
        models.Trigger.rate,
        models.Trigger.burst,
        models.Trigger.max_body_bytes,
        models.Group.max_body_bytes.label("group_max_body_bytes"),
    )
    .join(models.Flow, models.Trigger.flow_id == models.Flow.id)
    .join(models.Group, models.Flow.group_id == models.Group.id)
    .order_by(models.Group.slug, models.Flow.slug, models.Trigger.id)
)

_CHOSEN = (
    select(models.TriggerKey.trigger_id, models.ApiKey.id, models.ApiKey.name)
    .join(models.ApiKey, models.TriggerKey.key_id == models.ApiKey.id)
    .join(models.Trigger, models.TriggerKey.trigger_id == models.Trigger.id)
    .join(models.Flow, models.Trigger.flow_id == models.Flow.id)
    .join(models.Group, models.Flow.group_id == models.Group.id)
    .order_by(models.ApiKey.id)
)


class ChosenKey(NamedTuple):
    """A key on the list of a trigger."""

    id: str
    name: str


@dataclass(frozen=True)
class Trigger:
    """A trigger as it is registered; `group` and `flow` are the two parts of its flow's address."""

    id: str
    flow_id: str
    group_id: str
    group: str
    flow: str
    description: str
    routing_key: str = field(repr=False)
    enabled: bool
    key_in_query: bool
    """Whether the key may stand in the query string."""
    created_at: datetime
    live_since: datetime | None
    """When its queue and binding were first seen at the broker."""
    methods: tuple[str, ...]
    keys: tuple[ChosenKey, ...] | None
    """The keys it accepts; None: any key of the group."""
    limits: Limits
    group_limits: Limits
    """What holds where its own limits are not set."""

    @property
    def address(self) -> str:
        """The address of its flow: "group/flow"."""
        return f"{self.group}/{self.flow}"

    @property
    def effective_limits(self) -> Limits:
        """What holds for it; None: as ingress is set."""
        return self.limits.over(self.group_limits)

    @property
    def key_ids(self) -> tuple[str, ...] | None:
        """The ids of the keys it accepts; None: any key of the group."""
        return None if self.keys is None else tuple(key.id for key in self.keys)


class Triggers(Store):
    """The verbs of HTTP triggers."""

    async def create_trigger(
        self,
        group: str,
        flow: str,
        *,
        description: str,
        accepts: Sequence[str] | None = None,
        methods: Sequence[Method] = ("POST",),
        key_in_query: bool = False,
        limits: Limits = NONE,
    ) -> Trigger:
        """Make a trigger of a flow, with a new routing key.

        Args:
            group: the slug of the flow's group.
            flow: the slug of the flow.
            description: what calls it, and why.
            accepts: ids or names of the keys of the group that it accepts; None: any.
            methods: the HTTP methods that it allows.
            key_in_query: whether the key may stand in the query string.
            limits: its own rate, burst and size of a body.

        Raises:
            Invalid: a key is none of the group's, the list of keys or methods is empty, or there
                is a burst without a rate.
            NotFound: there is no such flow.
        """
        if not methods:
            raise Invalid("methods", "a trigger allows one method or more")
        limits.check()
        async with self._database.writing() as connection:
            target = await find_flow(connection, group, flow)
            owner = await find_group(connection, group)
            chosen = await _choose(connection, owner, accepts)
            trigger = Trigger(
                id=ids.new(ids.TRIGGER),
                flow_id=target.id,
                group_id=target.group_id,
                group=target.group,
                flow=target.slug,
                description=description,
                routing_key=keys.new_routing_key(),
                enabled=True,
                methods=tuple(dict.fromkeys(methods)),
                key_in_query=key_in_query,
                created_at=now(),
                live_since=None,
                keys=chosen,
                limits=limits,
                group_limits=Limits(max_body_bytes=owner.limits.max_body_bytes),
            )
            await connection.execute(
                insert(models.Trigger).values(
                    id=trigger.id,
                    flow_id=trigger.flow_id,
                    description=trigger.description,
                    routing_key=trigger.routing_key,
                    enabled=trigger.enabled,
                    methods=list(trigger.methods),
                    key_in_query=trigger.key_in_query,
                    any_key=trigger.keys is None,
                    created_at=trigger.created_at,
                    rate=limits.rate,
                    burst=limits.burst,
                    max_body_bytes=limits.max_body_bytes,
                )
            )
            if chosen:
                await connection.execute(
                    insert(models.TriggerKey),
                    [{"trigger_id": trigger.id, "key_id": key.id} for key in chosen],
                )
        return trigger

    async def list_triggers(self) -> list[Trigger]:
        """Return all triggers, sorted by flow and age."""
        async with self._database.reading() as connection:
            return await select_triggers(connection)

    async def list_flow_triggers(self, group: str, flow: str) -> list[Trigger]:
        """Return the triggers of one flow, oldest first.

        Raises:
            NotFound: there is no such flow.
        """
        async with self._database.reading() as connection:
            target = await find_flow(connection, group, flow)
            return await select_triggers(connection, models.Trigger.flow_id == target.id)

    async def list_triggers_accepting(self, key: ApiKey) -> list[Trigger]:
        """Return the triggers that accept a key: because they list it, or take any of the group."""
        listed = select(models.TriggerKey.trigger_id).where(models.TriggerKey.key_id == key.id)
        async with self._database.reading() as connection:
            return await select_triggers(
                connection,
                models.Flow.group_id == key.group_id,
                or_(models.Trigger.any_key, models.Trigger.id.in_(listed)),
            )

    async def trigger(self, trigger_id: str) -> Trigger:
        """Return one trigger.

        Raises:
            NotFound: there is none with this id.
        """
        async with self._database.reading() as connection:
            found = await select_triggers(connection, models.Trigger.id == trigger_id)
        if not found:
            raise NotFound("trigger", trigger_id)
        return found[0]

    async def limit_trigger(self, trigger_id: str, changes: Mapping[str, Any]) -> None:
        """Change a trigger's own limits: fields of `Limits`; None takes one away.

        Raises:
            Invalid: a burst would have no rate.
            NotFound: there is none with this id.
        """
        async with self._database.writing() as connection:
            await change_limits(connection, models.Trigger, "trigger", trigger_id, changes)

    async def mark_live(self, trigger_ids: Collection[str]) -> None:
        """Note that queue and binding of these triggers exist; the first time counts."""
        if not trigger_ids:
            return
        async with self._database.writing() as connection:
            await connection.execute(
                update(models.Trigger)
                .where(
                    models.Trigger.id == bindparam("trigger_id"),
                    models.Trigger.live_since.is_(None),
                )
                .values(live_since=now()),
                [{"trigger_id": trigger_id} for trigger_id in trigger_ids],
            )


async def select_triggers(
    connection: AsyncConnection, *conditions: ColumnElement[bool]
) -> list[Trigger]:
    """Return the triggers for which the conditions hold, within a transaction."""
    chosen = defaultdict(list)
    for trigger_id, *key in await connection.execute(_CHOSEN.where(*conditions)):
        chosen[trigger_id].append(ChosenKey(*key))
    rows = await connection.execute(_TRIGGERS.where(*conditions))
    return [_trigger(chosen, **row) for row in rows.mappings()]


def _trigger(
    chosen: dict[str, list[ChosenKey]],
    *,
    any_key: bool,
    methods: list[str],
    rate: float | None,
    burst: int | None,
    max_body_bytes: int | None,
    group_max_body_bytes: int | None,
    **columns: Any,
) -> Trigger:
    return Trigger(
        **columns,
        methods=tuple(methods),
        keys=None if any_key else tuple(chosen[columns["id"]]),
        limits=Limits(rate, burst, max_body_bytes=max_body_bytes),
        group_limits=Limits(max_body_bytes=group_max_body_bytes),
    )


async def _choose(
    connection: AsyncConnection, group: Group, accepts: Sequence[str] | None
) -> tuple[ChosenKey, ...] | None:
    """Find the keys of a group by id or name, each once, in the order given."""
    if accepts is None:
        return None
    if not accepts:
        raise Invalid("keys", "the list is empty: leave it out to accept any key of the group")
    found = await select_keys(
        connection,
        models.ApiKey.group_id == group.id,
        or_(models.ApiKey.id.in_(accepts), models.ApiKey.name.in_(accepts)),
    )
    known = {label: ChosenKey(key.id, key.name) for key in found for label in (key.id, key.name)}
    for index, label in enumerate(accepts):
        if label not in known:
            raise Invalid(f"keys.{index}", f"group {group.slug!r} has no key {label!r}")
    return tuple(dict.fromkeys(known[label] for label in accepts))
