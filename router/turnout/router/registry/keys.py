"""The verbs of API keys: reusable over the flows of their group, stored as a digest alone."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypedDict

from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from turnout.router import models
from turnout.router.registry import store
from turnout.router.registry.change import Change
from turnout.router.registry.errors import Conflict, Invalid, WrongState
from turnout.router.registry.groups import Group, find_group, in_groups
from turnout.router.registry.key import ApiKey, find_key, select_keys
from turnout.router.registry.limits import NONE, Limits, change_limits
from turnout.router.registry.page import ALL, Page, Slice
from turnout.router.registry.store import Store, future, now
from turnout.shared import ids, keys

#: A name of this form could be taken for the id of another key.
_LOOKS_LIKE_AN_ID = re.compile(rf"{ids.KEY}_[0-9a-f]{{32}}")


class KeyChanges(TypedDict, total=False):
    """What to change of a key; what is left out stays."""

    name: str
    expires_at: datetime | None
    """None: never."""
    flows: Sequence[str] | None
    """Slugs of the flows that it may trigger; None: any of its group."""
    limits: Mapping[str, Any]
    """Fields of `Limits`; None takes one away."""


@dataclass(frozen=True)
class NewApiKey:
    """An API key to make."""

    name: str
    secret: keys.NewKey = field(default_factory=keys.new_key, repr=False)
    """Its text is stored nowhere: whoever makes this object has to keep it."""
    expires_at: datetime | None = None
    flows: Sequence[str] | None = None
    limits: Limits = NONE


class Keys(Store):
    """The verbs of API keys."""

    async def create_key(
        self,
        group: str,
        name: str,
        *,
        expires_at: datetime | None = None,
        flows: Sequence[str] | None = None,
        limits: Limits = NONE,
    ) -> tuple[ApiKey, str]:
        """Make an API key.

        Args:
            group: the slug of the group whose flows it may trigger.
            name: what it is for, unique in the group.
            expires_at: from when on it is refused, with a time zone; None: never.
            flows: slugs of the flows that it may trigger; None: any of the group.
            limits: its own rate, burst and calls in flight.

        Returns:
            The key and its text, which is stored nowhere and can never be had again.

        Raises:
            Conflict: the group has a key with this name.
            Invalid: the name looks like an id, the key would be expired from the start, the group
                has no such flow, or there is a burst without a rate.
            NotFound: there is no such group.
        """
        new_key = NewApiKey(name, expires_at=expires_at, flows=flows, limits=limits)
        async with self._changing() as change:
            owner = await find_group(change.connection, group)
            key = await insert_key(change, owner, new_key)
        return key, new_key.secret.text

    async def list_keys(
        self,
        group: str | None = None,
        page: Slice = ALL,
        *,
        groups: Sequence[str] | None = None,
    ) -> Page[ApiKey]:
        """Return all keys, or those of a group, oldest first.

        Args:
            group: the slug of the group; None: of all.
            page: which part of them.
            groups: only those of these groups; None: all.

        Raises:
            NotFound: there is no such group.
        """
        async with self._database.reading() as connection:
            belongs = await in_groups(connection, group, groups)
            return await select_keys(connection, *belongs, page=page)

    async def key(self, key_id: str) -> ApiKey:
        """Return one key.

        Raises:
            NotFound: there is none with this id.
        """
        async with self._database.reading() as connection:
            return await find_key(connection, key_id)

    async def change_key(self, key_id: str, changes: KeyChanges) -> ApiKey:
        """Change a key: its name, expiry, scope and limits.

        Returns:
            The key as it is now.

        Raises:
            Conflict: the group has a key with this name.
            Invalid: see `create_key`.
            NotFound: there is none with this id.
        """
        async with self._changing() as change:
            connection = change.connection
            key = await find_key(connection, key_id)
            await change_limits(connection, models.ApiKey, "key", key_id, changes.get("limits", {}))
            if "name" in changes and changes["name"] != key.name:
                await _set(
                    connection,
                    key_id,
                    _taken(key.group, changes["name"]),
                    name=legal_name(changes["name"]),
                )
            if "expires_at" in changes:
                moment = changes["expires_at"]
                await _set(connection, key_id, expires_at=moment and future("expires_at", moment))
            if "flows" in changes:
                await connection.execute(
                    delete(models.KeyFlow).where(models.KeyFlow.key_id == key_id)
                )
                await _set(connection, key_id, any_flow=changes["flows"] is None)
                await _limit_to(connection, key_id, key.group_id, changes["flows"])
            return await _recorded(change, "key.change", key)

    async def rotate_key(self, key_id: str, overlap: timedelta) -> tuple[ApiKey, str]:
        """Give a key a new secret, beside which the old one is good for a while.

        Args:
            key_id: of the key.
            overlap: for how long; none ends the old one at once.

        Returns:
            The key and the text with its new secret, which can never be had again.

        Raises:
            NotFound: there is none with this id.
            WrongState: it is revoked, expired, or has two secrets already.
        """
        secret = keys.new_key()
        async with self._changing() as change:
            connection = change.connection
            key = await find_key(connection, key_id)
            if key.state in {"revoked", "expired"}:
                raise WrongState(f"key {key.name!r} is {key.state}: make another one")
            if key.overlaps:
                raise WrongState(
                    f"key {key.name!r} is being rotated already: end that overlap first"
                )
            moment = now()
            await _set(
                connection,
                key_id,
                prefix=secret.prefix,
                digest=secret.digest,
                rotated_at=moment,
                old_prefix=key.prefix,
                old_digest=key.digest,
                old_until=moment + overlap,
            )
            return await _recorded(change, "key.rotate", key), secret.text

    async def end_key_overlap(self, key_id: str) -> ApiKey:
        """Let the secret before the present one be good no longer.

        Returns:
            The key as it is now.

        Raises:
            NotFound: there is none with this id.
            WrongState: it has one secret alone.
        """
        async with self._changing() as change:
            connection = change.connection
            key = await find_key(connection, key_id)
            if not key.overlaps:
                raise WrongState(f"key {key.name!r} has no old secret that is still good")
            await _set(connection, key_id, old_until=now())
            return await _recorded(change, "key.end-overlap", key)

    async def revoke_key(self, key_id: str, reason: str | None = None) -> ApiKey:
        """Let a key be good no longer, for ever; safe to repeat.

        Returns:
            The key as it is now; the first reason stays.

        Raises:
            NotFound: there is none with this id.
        """
        async with self._changing() as change:
            connection = change.connection
            key = await find_key(connection, key_id)
            if key.revoked_at is None:
                await _set(connection, key_id, revoked_at=now(), revoked_reason=reason)
            return await _recorded(change, "key.revoke", key)


async def insert_key(change: Change, owner: Group, new: NewApiKey) -> ApiKey:
    """Make and record an API key within a change: see `Keys.create_key`."""
    connection = change.connection
    new.limits.check()
    key_id = ids.new(ids.KEY)
    await store.insert(
        connection,
        models.ApiKey,
        _taken(owner.slug, new.name),
        id=key_id,
        group_id=owner.id,
        name=legal_name(new.name),
        prefix=new.secret.prefix,
        digest=new.secret.digest,
        created_at=now(),
        expires_at=new.expires_at and future("expires_at", new.expires_at),
        any_flow=new.flows is None,
        rate=new.limits.rate,
        burst=new.limits.burst,
        in_flight=new.limits.in_flight,
    )
    await _limit_to(connection, key_id, owner.id, new.flows)
    key = await find_key(connection, key_id)
    await change.record("key.create", before=None, after=key)
    return key


async def _recorded(change: Change, verb: str, before: ApiKey) -> ApiKey:
    """Record what a verb made of a key, and return that."""
    after = await find_key(change.connection, before.id)
    await change.record(verb, before=before, after=after)
    return after


async def _limit_to(
    connection: AsyncConnection, key_id: str, group_id: str, flows: Sequence[str] | None
) -> None:
    """Write the scope of a key that has none yet."""
    if flows is None:
        return
    if not flows:
        raise Invalid("flows", "the list is empty: leave it out to allow any flow of the group")
    rows = await connection.execute(
        select(models.Flow.slug, models.Flow.id).where(
            models.Flow.group_id == group_id, models.Flow.slug.in_(flows)
        )
    )
    known = {row.slug: row.id for row in rows}
    for index, slug in enumerate(flows):
        if slug not in known:
            raise Invalid(f"flows.{index}", f"the group has no flow {slug!r}")
    await connection.execute(
        insert(models.KeyFlow),
        [{"key_id": key_id, "flow_id": flow_id} for flow_id in known.values()],
    )


async def _set(
    connection: AsyncConnection, key_id: str, conflict: Conflict | None = None, **values: object
) -> None:
    try:
        await connection.execute(
            update(models.ApiKey).where(models.ApiKey.id == key_id).values(**values)
        )
    except IntegrityError:
        if conflict is None:
            raise
        raise conflict from None


def _taken(group: str, name: str) -> Conflict:
    return Conflict(f"group {group!r} has a key named {name!r} already", "name")


def legal_name(name: str) -> str:
    """Return the name of a key.

    Raises:
        Invalid: it could be taken for the id of another one.
    """
    if _LOOKS_LIKE_AN_ID.fullmatch(name):
        raise Invalid("name", "the name of a key cannot look like the id of a key")
    return name
