"""An HTTP trigger as it is registered, and how it is found."""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Literal, NamedTuple

from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncConnection

from turnout.router import models
from turnout.router.registry.errors import NotFound
from turnout.router.registry.limits import Limits
from turnout.router.registry.page import ALL, Page, Slice
from turnout.router.registry.store import now
from turnout.shared import names

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
        models.Trigger.rotated_at,
        models.Trigger.old_routing_key,
        models.Trigger.old_until,
        models.Trigger.moved,
        models.Trigger.enabled,
        models.Trigger.disabled_reason,
        models.Trigger.key_in_query,
        models.Trigger.created_at,
        models.Trigger.live_since,
        models.Trigger.methods,
        models.Trigger.content_types,
        models.Trigger.wait,
        models.Trigger.any_key,
        models.Trigger.rate,
        models.Trigger.burst,
        models.Trigger.max_body_bytes,
        models.Trigger.max_header_bytes,
        models.Trigger.read_timeout,
        models.Group.max_body_bytes.label("group_max_body_bytes"),
        models.Group.max_header_bytes.label("group_max_header_bytes"),
        models.Group.read_timeout.label("group_read_timeout"),
        models.Flow.ordered_by,
        models.Flow.partitions,
    )
    .join(models.Flow, models.Trigger.flow_id == models.Flow.id)
    .join(models.Group, models.Flow.group_id == models.Group.id)
)
_ORDER = (models.Group.slug, models.Flow.slug, models.Trigger.id)

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
    """An HTTP trigger; `group` and `flow` are the two parts of its flow's address."""

    id: str
    flow_id: str
    group_id: str
    group: str
    flow: str
    description: str
    routing_key: str = field(repr=False)
    rotated_at: datetime | None
    """When its present routing key was made, if that is not its first."""
    old_routing_key: str | None = field(repr=False)
    """The routing key before."""
    old_until: datetime | None
    """Until when the routing key before is good, too."""
    moved: bool
    """Whether it led to another flow before."""
    enabled: bool
    disabled_reason: str | None
    key_in_query: bool
    """Whether the key may stand in the query string."""
    created_at: datetime
    live_since: datetime | None = field(compare=False)
    """When its queue and binding were first seen at the broker."""
    methods: tuple[str, ...]
    wait: bool
    """Whether a caller may wait for the result of the flow."""
    content_types: tuple[str, ...] | None
    """The media types it accepts, "type/*" for all of a type; None: anything."""
    keys: tuple[ChosenKey, ...] | None
    """The keys it accepts; None: any key of the group."""
    limits: Limits
    group_limits: Limits
    """What holds where its own limits are not set."""
    ordered_by: str | None
    """Where the key stands in the body, if its flow is ordered."""
    partitions: int | None

    @property
    def address(self) -> str:
        """The address of its flow: "group/flow"."""
        return f"{self.group}/{self.flow}"

    @property
    def label(self) -> str:
        """How people call it."""
        return f"{self.address}: {self.description}"

    @property
    def effective_limits(self) -> Limits:
        """What holds for it; None: as ingress is set."""
        return self.limits.over(self.group_limits)

    @property
    def key_ids(self) -> tuple[str, ...] | None:
        """The ids of the keys it accepts; None: any key of the group."""
        return None if self.keys is None else tuple(key.id for key in self.keys)

    @property
    def overlaps(self) -> bool:
        """Whether the routing key before its present one is still good."""
        return self.old_until is not None and self.old_until > now()

    @property
    def routing_keys(self) -> tuple[str, ...]:
        """The routing keys that are good at this moment, the present one first."""
        if self.old_routing_key is None or not self.overlaps:
            return (self.routing_key,)
        return self.routing_key, self.old_routing_key

    def route(self, routing_key: str) -> str:
        """Return the AMQP routing key of what comes by one of its routing keys."""
        return names.route(routing_key, self.flow_id) if self.moved else routing_key


async def select_triggers(
    connection: AsyncConnection, *conditions: ColumnElement[bool], page: Slice = ALL
) -> Page[Trigger]:
    """Return the triggers for which the conditions hold, by flow and age, in a transaction."""
    if page is not ALL:
        statement = _TRIGGERS.with_only_columns(models.Trigger.id).where(*conditions)
        part = await page.read(connection, statement, _ORDER, dict[str, str])
        wanted = models.Trigger.id.in_([each["id"] for each in part])
        return Page(await select_triggers(connection, wanted), next_=part.next)
    chosen = defaultdict(list)
    for trigger_id, *key in await connection.execute(_CHOSEN.where(*conditions)):
        chosen[trigger_id].append(ChosenKey(*key))
    make = partial(_trigger, chosen)
    return await page.read(connection, _TRIGGERS.where(*conditions), _ORDER, make)


async def find_trigger(connection: AsyncConnection, trigger_id: str) -> Trigger:
    """Return one trigger, within a transaction.

    Raises:
        NotFound: there is none with this id.
    """
    found = await select_triggers(connection, models.Trigger.id == trigger_id)
    if not found:
        raise NotFound("trigger", trigger_id)
    return found[0]


def _trigger(
    chosen: dict[str, list[ChosenKey]],
    *,
    any_key: bool,
    methods: list[str],
    content_types: list[str] | None,
    rate: float | None,
    burst: int | None,
    max_body_bytes: int | None,
    max_header_bytes: int | None,
    read_timeout: float | None,
    group_max_body_bytes: int | None,
    group_max_header_bytes: int | None,
    group_read_timeout: float | None,
    **columns: Any,
) -> Trigger:
    return Trigger(
        **columns,
        methods=tuple(methods),
        content_types=None if content_types is None else tuple(content_types),
        keys=None if any_key else tuple(chosen[columns["id"]]),
        limits=Limits(rate, burst, None, max_body_bytes, max_header_bytes, read_timeout),
        group_limits=Limits(
            max_body_bytes=group_max_body_bytes,
            max_header_bytes=group_max_header_bytes,
            read_timeout=group_read_timeout,
        ),
    )
