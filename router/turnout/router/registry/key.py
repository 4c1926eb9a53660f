"""An API key as it is registered, and how it is found.

active ──▶ expiring ──▶ expired          by its expiry; another one brings it back
  │ ▲
  ▼ │ end of the overlap
rotating                                 the secret before the present one is good, too

any of them ──▶ revoked                  for ever
"""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Literal, NamedTuple

from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncConnection

from turnout.router import models
from turnout.router.registry.errors import NotFound
from turnout.router.registry.limits import Limits
from turnout.router.registry.page import ALL, Page, Slice
from turnout.router.registry.store import now

KeyState = Literal["active", "expiring", "expired", "rotating", "revoked"]

#: How long before its expiry a key is called expiring.
EXPIRING = timedelta(days=7)

_KEYS = select(
    models.ApiKey.id,
    models.Group.id.label("group_id"),
    models.Group.slug.label("group"),
    models.ApiKey.name,
    models.ApiKey.prefix,
    models.ApiKey.digest,
    models.ApiKey.created_at,
    models.ApiKey.expires_at,
    models.ApiKey.rotated_at,
    models.ApiKey.old_prefix,
    models.ApiKey.old_digest,
    models.ApiKey.old_until,
    models.ApiKey.revoked_at,
    models.ApiKey.revoked_reason,
    models.ApiKey.any_flow,
    models.ApiKey.rate,
    models.ApiKey.burst,
    models.ApiKey.in_flight,
    models.Group.rate.label("group_rate"),
    models.Group.burst.label("group_burst"),
    models.Group.in_flight.label("group_in_flight"),
).join(models.Group)
_ORDER = (models.ApiKey.id,)

_SCOPES = (
    select(models.KeyFlow.key_id, models.Flow.id, models.Flow.slug)
    .join(models.Flow, models.KeyFlow.flow_id == models.Flow.id)
    .join(models.ApiKey, models.KeyFlow.key_id == models.ApiKey.id)
    .join(models.Group, models.ApiKey.group_id == models.Group.id)
    .order_by(models.Flow.id)
)


class ScopedFlow(NamedTuple):
    """A flow of the scope of a key."""

    id: str
    slug: str


@dataclass(frozen=True)
class ApiKey:
    """An API key."""

    id: str
    group_id: str
    group: str
    name: str
    prefix: str
    """What identifies its secret in a list: `tk_<id>`."""
    digest: str = field(repr=False)
    """Hex SHA-256 of its text."""
    created_at: datetime
    expires_at: datetime | None
    rotated_at: datetime | None
    """When its present secret was made, if that is not its first."""
    old_prefix: str | None
    """This and the following: of the secret before."""
    old_digest: str | None = field(repr=False)
    old_until: datetime | None
    """Until when the secret before is good, too."""
    revoked_at: datetime | None
    revoked_reason: str | None
    flows: tuple[ScopedFlow, ...] | None
    """The flows that it may trigger; None: any of its group."""
    limits: Limits
    group_limits: Limits
    """What holds where its own limits are not set."""

    @property
    def label(self) -> str:
        """How people call it."""
        return self.name

    @property
    def effective_limits(self) -> Limits:
        """What holds for it; None: as ingress is set."""
        return self.limits.over(self.group_limits)

    @property
    def flow_ids(self) -> tuple[str, ...] | None:
        """The ids of the flows that it may trigger; None: any of its group."""
        return None if self.flows is None else tuple(flow.id for flow in self.flows)

    @property
    def overlaps(self) -> bool:
        """Whether the secret before its present one is still good."""
        return self.old_until is not None and self.old_until > now()

    @property
    def state(self) -> KeyState:
        """Its state at this moment: of all that apply the one that matters most."""
        moment = now()
        if self.revoked_at is not None:
            return "revoked"
        if self.expires_at is not None and self.expires_at <= moment:
            return "expired"
        if self.overlaps:
            return "rotating"
        if self.expires_at is not None and self.expires_at - EXPIRING <= moment:
            return "expiring"
        return "active"


async def select_keys(
    connection: AsyncConnection, *conditions: ColumnElement[bool], page: Slice = ALL
) -> Page[ApiKey]:
    """Return the keys for which the conditions hold, oldest first, within a transaction."""
    if page is not ALL:
        statement = _KEYS.with_only_columns(models.ApiKey.id).where(*conditions)
        part = await page.read(connection, statement, _ORDER, dict[str, str])
        wanted = [each["id"] for each in part]
        return Page(await select_keys(connection, models.ApiKey.id.in_(wanted)), next_=part.next)
    scopes = defaultdict(list)
    for key_id, *flow in await connection.execute(_SCOPES.where(*conditions)):
        scopes[key_id].append(ScopedFlow(*flow))
    return await page.read(connection, _KEYS.where(*conditions), _ORDER, partial(_key, scopes))


async def find_key(connection: AsyncConnection, key_id: str) -> ApiKey:
    """Return one key, within a transaction.

    Raises:
        NotFound: there is none with this id.
    """
    found = await select_keys(connection, models.ApiKey.id == key_id)
    if not found:
        raise NotFound("key", key_id)
    return found[0]


def _key(
    scopes: dict[str, list[ScopedFlow]],
    *,
    any_flow: bool,
    rate: float | None,
    burst: int | None,
    in_flight: int | None,
    group_rate: float | None,
    group_burst: int | None,
    group_in_flight: int | None,
    **columns: Any,
) -> ApiKey:
    return ApiKey(
        **columns,
        flows=None if any_flow else tuple(scopes[columns["id"]]),
        limits=Limits(rate, burst, in_flight),
        group_limits=Limits(group_rate, group_burst, group_in_flight),
    )
