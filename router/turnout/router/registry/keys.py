"""API keys: reusable over all flows of their group, stored as a digest alone."""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncConnection

from turnout.router import models
from turnout.router.registry.errors import Invalid, NotFound
from turnout.router.registry.groups import find_group
from turnout.router.registry.store import Store, insert, now
from turnout.shared import ids, keys

#: A name of this form could be taken for the id of another key.
_LOOKS_LIKE_AN_ID = re.compile(rf"{ids.KEY}_[0-9a-f]{{32}}")

_KEYS = (
    select(
        models.ApiKey.id,
        models.Group.id,
        models.Group.slug,
        models.ApiKey.name,
        models.ApiKey.prefix,
        models.ApiKey.digest,
        models.ApiKey.created_at,
        models.ApiKey.expires_at,
        models.ApiKey.revoked_at,
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


class Keys(Store):
    """The verbs of API keys."""

    async def create_key(
        self, group: str, name: str, *, expires_at: datetime | None = None
    ) -> tuple[ApiKey, str]:
        """Make an API key.

        Args:
            group: the slug of the group whose flows it may trigger.
            name: what it is for, unique in the group.
            expires_at: from when on it is refused, with a time zone; None: never.

        Returns:
            The key and its text, which is stored nowhere and can never be had again.

        Raises:
            Conflict: the group has a key with this name.
            Invalid: the name looks like an id, or the key would be expired from the start.
            NotFound: there is no such group.
        """
        if _LOOKS_LIKE_AN_ID.fullmatch(name):
            raise Invalid("name", "the name of a key cannot look like the id of a key")
        if expires_at is not None:
            expires_at = _future(expires_at)
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


async def select_keys(
    connection: AsyncConnection, *conditions: ColumnElement[bool]
) -> list[ApiKey]:
    """Return the keys for which the conditions hold, within a transaction."""
    return [ApiKey(*row) for row in await connection.execute(_KEYS.where(*conditions))]


def _future(moment: datetime) -> datetime:
    """Return the moment in UTC."""
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:
        raise Invalid("expires_at", "this is no moment of the calendar") from None
    if moment <= now():
        raise Invalid("expires_at", "this moment has passed")
    return moment
