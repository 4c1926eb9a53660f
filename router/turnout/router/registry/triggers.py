"""The verbs of HTTP triggers: the entry points of flows, each with a routing key of its own."""

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypedDict

from sqlalchemy import bindparam, delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from turnout.router import models
from turnout.router.database import touch
from turnout.router.registry.change import Change
from turnout.router.registry.errors import Invalid, WrongState
from turnout.router.registry.flows import find_flow
from turnout.router.registry.groups import Group, find_group
from turnout.router.registry.key import ApiKey, select_keys
from turnout.router.registry.keys import NewApiKey, insert_key
from turnout.router.registry.limits import NONE, Limits, change_limits
from turnout.router.registry.page import ALL, Page, Slice
from turnout.router.registry.store import Store, now
from turnout.router.registry.trigger import Method, Trigger, find_trigger, select_triggers
from turnout.shared import ids, keys

_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/(\*|[a-z0-9][a-z0-9!#$&^_.+-]{0,126})")


class TriggerChanges(TypedDict, total=False):
    """What to change of a trigger; what is left out stays."""

    description: str
    keys: Sequence[str] | None
    """Ids or names of the keys of the group that it accepts; None: any."""
    methods: Sequence[Method]
    content_types: Sequence[str] | None
    """None: anything."""
    wait: bool
    key_in_query: bool
    limits: Mapping[str, Any]
    """Fields of `Limits`; None takes one away."""


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
        content_types: Sequence[str] | None = None,
        wait: bool = False,
        key_in_query: bool = False,
        limits: Limits = NONE,
        new_key: NewApiKey | None = None,
    ) -> Trigger:
        """Make a trigger of a flow, with a new routing key.

        Args:
            group: the slug of the flow's group.
            flow: the slug of the flow.
            description: what calls it, and why.
            accepts: ids or names of the keys of the group that it accepts; None: any.
            methods: the HTTP methods that it allows.
            content_types: the media types that it accepts; None: anything.
            wait: whether a caller may wait for the result of the flow.
            key_in_query: whether the key may stand in the query string.
            limits: its own rate, burst and size of a body.
            new_key: a key of the group to make with it, which it then accepts beside those that
                are listed; without a list it alone.

        Raises:
            Conflict: the group has a key with the name of the new one.
            Invalid: a key is none of the group's, the list of keys, methods or content types is
                empty, one of these is no media type, or there is a burst without a rate.
            NotFound: there is no such flow.
        """
        limits.check()
        trigger_id = ids.new(ids.TRIGGER)
        async with self._changing() as change:
            connection = change.connection
            target = await find_flow(connection, group, flow)
            owner = await find_group(connection, group)
            if new_key is not None:
                key = await insert_key(change, owner, new_key)
                accepts = [*(accepts or ()), key.id]
            await connection.execute(
                insert(models.Trigger).values(
                    id=trigger_id,
                    flow_id=target.id,
                    description=description,
                    routing_key=keys.new_routing_key(),
                    enabled=True,
                    methods=legal_methods(methods),
                    content_types=legal_content_types(content_types),
                    wait=wait,
                    key_in_query=key_in_query,
                    any_key=accepts is None,
                    created_at=now(),
                    rate=limits.rate,
                    burst=limits.burst,
                    max_body_bytes=limits.max_body_bytes,
                    max_header_bytes=limits.max_header_bytes,
                    read_timeout=limits.read_timeout,
                )
            )
            await _choose(connection, trigger_id, owner, accepts)
            trigger = await find_trigger(connection, trigger_id)
            await change.record("trigger.create", before=None, after=trigger)
        return trigger

    async def list_triggers(
        self, page: Slice = ALL, *, groups: Sequence[str] | None = None
    ) -> Page[Trigger]:
        """Return all triggers, sorted by flow and age.

        Args:
            page: which part of them.
            groups: only those of these groups; None: all.
        """
        conditions = [] if groups is None else [models.Group.slug.in_(groups)]
        async with self._database.reading() as connection:
            return await select_triggers(connection, *conditions, page=page)

    async def list_flow_triggers(self, group: str, flow: str, page: Slice = ALL) -> Page[Trigger]:
        """Return the triggers of one flow, or a part of them, oldest first.

        Raises:
            NotFound: there is no such flow.
        """
        async with self._database.reading() as connection:
            target = await find_flow(connection, group, flow)
            of_flow = models.Trigger.flow_id == target.id
            return await select_triggers(connection, of_flow, page=page)

    async def list_triggers_accepting(self, key: ApiKey) -> list[Trigger]:
        """Return the triggers that accept a key.

        They list it, or take any of the group, and their flow is in its scope.
        """
        listed = select(models.TriggerKey.trigger_id).where(models.TriggerKey.key_id == key.id)
        accepts = or_(models.Trigger.any_key, models.Trigger.id.in_(listed))
        scope = [] if key.flow_ids is None else [models.Flow.id.in_(key.flow_ids)]
        async with self._database.reading() as connection:
            return await select_triggers(
                connection, models.Flow.group_id == key.group_id, accepts, *scope
            )

    async def trigger(self, trigger_id: str) -> Trigger:
        """Return one trigger.

        Raises:
            NotFound: there is none with this id.
        """
        async with self._database.reading() as connection:
            return await find_trigger(connection, trigger_id)

    async def change_trigger(self, trigger_id: str, changes: TriggerChanges) -> Trigger:
        """Change what a trigger is for, and what it accepts.

        Returns:
            The trigger as it is now.

        Raises:
            Invalid: see `create_trigger`.
            NotFound: there is none with this id.
        """
        values: dict[str, object] = {
            name: changes[name]
            for name in ("description", "key_in_query", "wait")
            if name in changes
        }
        if "methods" in changes:
            values["methods"] = legal_methods(changes["methods"])
        if "content_types" in changes:
            values["content_types"] = legal_content_types(changes["content_types"])
        if "keys" in changes:
            values["any_key"] = changes["keys"] is None
        async with self._changing() as change:
            connection = change.connection
            trigger = await find_trigger(connection, trigger_id)
            limits = changes.get("limits", {})
            await change_limits(connection, models.Trigger, "trigger", trigger_id, limits)
            if "keys" in changes:
                owner = await find_group(connection, trigger.group)
                await connection.execute(
                    delete(models.TriggerKey).where(models.TriggerKey.trigger_id == trigger_id)
                )
                await _choose(connection, trigger_id, owner, changes["keys"])
            await _set(connection, trigger_id, **values)
            return await _recorded(change, "trigger.change", trigger)

    async def enable_trigger(self, trigger_id: str) -> Trigger:
        """Let a trigger take calls again; safe to repeat.

        Raises:
            NotFound: there is none with this id.
        """
        async with self._changing() as change:
            connection = change.connection
            trigger = await find_trigger(connection, trigger_id)
            await _set(connection, trigger_id, enabled=True, disabled_reason=None)
            return await _recorded(change, "trigger.enable", trigger)

    async def disable_trigger(self, trigger_id: str, reason: str | None = None) -> Trigger:
        """Let a trigger take no calls until it is enabled; safe to repeat, the last reason counts.

        Raises:
            NotFound: there is none with this id.
        """
        async with self._changing() as change:
            connection = change.connection
            trigger = await find_trigger(connection, trigger_id)
            await _set(connection, trigger_id, enabled=False, disabled_reason=reason)
            return await _recorded(change, "trigger.disable", trigger)

    async def rotate_trigger(
        self, trigger: Trigger, routing_key: str, overlap: timedelta
    ) -> Trigger:
        """Give a trigger a new routing key, beside which the old one is good for a while.

        Args:
            trigger: as it was when its new routing key was bound.
            routing_key: the new one; its binding exists.
            overlap: for how long the old one is good; none ends it at once.

        Returns:
            The trigger as it is now.

        Raises:
            NotFound: it exists no longer.
            WrongState: it has two routing keys already, or leads elsewhere meanwhile.
        """
        async with self._changing() as change:
            connection = change.connection
            present = await _unchanged(connection, trigger)
            if trigger.overlaps:
                raise WrongState("this trigger is being rotated already: end that overlap first")
            moment = now()
            await _set(
                connection,
                trigger.id,
                routing_key=routing_key,
                rotated_at=moment,
                old_routing_key=trigger.routing_key,
                old_until=moment + overlap,
            )
            return await _recorded(change, "trigger.rotate", present)

    async def end_trigger_overlap(self, trigger_id: str) -> Trigger:
        """Let the routing key before the present one be good no longer.

        Raises:
            NotFound: there is none with this id.
            WrongState: it has one routing key alone.
        """
        async with self._changing() as change:
            connection = change.connection
            trigger = await find_trigger(connection, trigger_id)
            if not trigger.overlaps:
                raise WrongState("this trigger has no old routing key that is still good")
            await _set(connection, trigger_id, old_until=now())
            return await _recorded(change, "trigger.end-overlap", trigger)

    async def move_trigger(self, trigger: Trigger, flow_id: str) -> Trigger:
        """Let a trigger lead to another flow of its group.

        Args:
            trigger: as it was when its routes to the other flow were bound.
            flow_id: of the other flow.

        Returns:
            The trigger as it is now.

        Raises:
            NotFound: it exists no longer.
            WrongState: its routing keys or its flow have changed meanwhile.
        """
        async with self._changing() as change:
            connection = change.connection
            present = await _unchanged(connection, trigger)
            await _set(connection, trigger.id, flow_id=flow_id, moved=True)
            return await _recorded(change, "trigger.move", present)

    async def delete_trigger(self, trigger_id: str) -> Trigger:
        """Take a trigger away.

        Returns:
            What it was.

        Raises:
            NotFound: there is none with this id.
        """
        async with self._changing() as change:
            connection = change.connection
            trigger = await find_trigger(connection, trigger_id)
            await connection.execute(delete(models.Trigger).where(models.Trigger.id == trigger_id))
            await change.record("trigger.delete", before=trigger, after=None)
        return trigger

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
            touch(connection, *trigger_ids)


async def _set(connection: AsyncConnection, trigger_id: str, **values: object) -> None:
    if values:
        await connection.execute(
            update(models.Trigger).where(models.Trigger.id == trigger_id).values(**values)
        )


async def _recorded(change: Change, verb: str, before: Trigger) -> Trigger:
    """Record what a verb made of a trigger, and return that."""
    after = await find_trigger(change.connection, before.id)
    await change.record(verb, before=before, after=after)
    return after


async def _unchanged(connection: AsyncConnection, trigger: Trigger) -> Trigger:
    """Make sure that what was bound for a trigger is still what it needs; return it as it is.

    Raises:
        NotFound: it exists no longer.
        WrongState: it is not.
    """
    present = await find_trigger(connection, trigger.id)
    if (present.flow_id, present.routing_keys) != (trigger.flow_id, trigger.routing_keys):
        raise WrongState("this trigger was changed at the same time: look at it, then try again")
    return present


async def _choose(
    connection: AsyncConnection, trigger_id: str, group: Group, accepts: Sequence[str] | None
) -> None:
    """Write the list of keys of a trigger that has none yet.

    Args:
        connection: of the transaction.
        trigger_id: of the trigger.
        group: whose keys they are.
        accepts: their ids or names; None: it takes any, and has no list.
    """
    if accepts is None:
        return
    if not accepts:
        raise Invalid("keys", "the list is empty: leave it out to accept any key of the group")
    found = await select_keys(
        connection,
        models.ApiKey.group_id == group.id,
        or_(models.ApiKey.id.in_(accepts), models.ApiKey.name.in_(accepts)),
    )
    known = {label: key.id for key in found for label in (key.id, key.name)}
    for index, label in enumerate(accepts):
        if label not in known:
            raise Invalid(f"keys.{index}", f"group {group.slug!r} has no key {label!r}")
    await connection.execute(
        insert(models.TriggerKey),
        [{"trigger_id": trigger_id, "key_id": key_id} for key_id in set(known.values())],
    )


def legal_methods(methods: Sequence[str]) -> list[str]:
    """Return each method once.

    Raises:
        Invalid: there is none.
    """
    if not methods:
        raise Invalid("methods", "a trigger allows one method or more")
    return list(dict.fromkeys(methods))


def legal_content_types(content_types: Sequence[str] | None) -> list[str] | None:
    """Return each media type once, in lower case; None: anything.

    Raises:
        Invalid: there is none, or one is no media type.
    """
    if content_types is None:
        return None
    if not content_types:
        raise Invalid("content_types", "the list is empty: leave it out to accept anything")
    types = list(dict.fromkeys(each.lower() for each in content_types))
    for index, each in enumerate(types):
        if not _MEDIA_TYPE.fullmatch(each):
            raise Invalid(
                f"content_types.{index}",
                f"{each!r} is no media type like application/json or text/*",
            )
    return types
