"""API keys: reusable over all flows of their group, stored as a digest alone."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncConnection

from turnout.router import models
from turnout.router.registry.errors import Invalid, NotFound
from turnout.router.registry.groups import find_group
from turnout.router.registry.limits import NONE, Limits, change_limits
from turnout.router.registry.store import Store, insert, now
from turnout.shared import ids, keys

#: A name of this form could be taken for the id of another key.
_LOOKS_LIKE_AN_ID = re.compile(rf"{ids.KEY}_[0-9a-f]{{32}}")

_KEYS = (
    select(
        models.ApiKey.id,
        models.Group.id.label("group_id"),
        models.Group.slug.label("group"),
        models.ApiKey.name,
        models.ApiKey.prefix,
        models.ApiKey.digest,
        models.ApiKey.created_at,
        models.ApiKey.expires_at,
        models.ApiKey.revoked_at,
        models.ApiKey.rate,
        models.ApiKey.burst,
        models.ApiKey.in_flight,
        models.Group.rate.label("group_rate"),
        models.Group.burst.label("group_burst"),
        models.Group.in_flight.label("group_in_flight"),
    )
    .join(models.Group)
    .order_by(models.ApiKey.id)
)


@dataclass(frozen=True)
class ApiKey:
    """An API key as it is registered."""

    id: str
    group_id: str
    group: str
    name: str
    prefix: str
    """What identifies it in a list: `tk_<id>`."""
    digest: str = field(repr=False)
    """Hex SHA-256 of its text."""
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    limits: Limits
    group_limits: Limits
    """What holds where its own limits are not set."""

    @property
    def effective_limits(self) -> Limits:
        """What holds for it; None: as ingress is set."""
        return self.limits.over(self.group_limits)


class Keys(Store):
    """The verbs of API keys."""

    async def create_key(
        self,
        group: str,
        name: str,
        *,
        expires_at: datetime | None = None,
        limits: Limits = NONE,
    ) -> tuple[ApiKey, str]:
        """Make an API key.

        Args:
            group: the slug of the group whose flows it may trigger.
            name: what it is for, unique in the group.
            expires_at: from when on it is refused, with a time zone; None: never.
            limits: its own rate, burst and calls in flight.

        Returns:
            The key and its text, which is stored nowhere and can never be had again.

        Raises:
            Conflict: the group has a key with this name.
            Invalid: the name looks like an id, the key would be expired from the start, or there
                is a burst without a rate.
            NotFound: there is no such group.
        """
        if _LOOKS_LIKE_AN_ID.fullmatch(name):
            raise Invalid("name", "the name of a key cannot look like the id of a key")
        if expires_at is not None:
            expires_at = _future(expires_at)
        limits.check()
        secret = keys.new_key()
        async with self._database.writing() as connection:
            owner = await find_group(connection, group)
            key = ApiKey(
                id=ids.new(ids.KEY),
                group_id=owner.id,
                group=owner.slug,
                name=name,
                prefix=secret.prefix,
                digest=secret.digest,
                created_at=now(),
                expires_at=expires_at,
                revoked_at=None,
                limits=limits,
                group_limits=replace(owner.limits, max_body_bytes=None),
            )
            await insert(
                connection,
                models.ApiKey,
                f"group {group!r} has a key named {name!r} already",
                id=key.id,
                group_id=key.group_id,
                name=key.name,
                prefix=key.prefix,
                digest=key.digest,
                created_at=key.created_at,
                expires_at=key.expires_at,
                rate=limits.rate,
                burst=limits.burst,
                in_flight=limits.in_flight,
            )
        return key, secret.text

    async def list_keys(self, group: str) -> list[ApiKey]:
        """Return the keys of a group, oldest first.

        Raises:
            NotFound: there is no such group.
        """
        async with self._database.reading() as connection:
            owner = await find_group(connection, group)
            return await select_keys(connection, models.ApiKey.group_id == owner.id)

    async def key(self, key_id: str) -> ApiKey:
        """Return one key.

        Raises:
            NotFound: there is none with this id.
        """
        async with self._database.reading() as connection:
            found = await select_keys(connection, models.ApiKey.id == key_id)
        if not found:
            raise NotFound("key", key_id)
        return found[0]

    async def limit_key(self, key_id: str, changes: Mapping[str, Any]) -> None:
        """Change a key's own limits: fields of `Limits`; None takes one away.

        Raises:
            Invalid: a burst would have no rate.
            NotFound: there is none with this id.
        """
        async with self._database.writing() as connection:
            await change_limits(connection, models.ApiKey, "key", key_id, changes)


async def select_keys(
    connection: AsyncConnection, *conditions: ColumnElement[bool]
) -> list[ApiKey]:
    """Return the keys for which the conditions hold, within a transaction."""
    rows = await connection.execute(_KEYS.where(*conditions))
    return [_key(**row) for row in rows.mappings()]


def _key(
    *,
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
        limits=Limits(rate, burst, in_flight),
        group_limits=Limits(group_rate, group_burst, group_in_flight),
    )


def _future(moment: datetime) -> datetime:
    """Return the moment in UTC."""
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:
        raise Invalid("expires_at", "this is no moment of the calendar") from None
    if moment <= now():
        raise Invalid("expires_at", "this moment has passed")
    return moment
