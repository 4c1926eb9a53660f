"""Transfer: the whole registry, out of one database and into another, all or nothing."""

import asyncio
import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, update
from sqlalchemy.ext.asyncio import AsyncConnection

from turnout.router import models
from turnout.router.database import insert_all
from turnout.router.registry.change import Change
from turnout.router.registry.flows import Flow, select_flows
from turnout.router.registry.groups import Group, select_groups
from turnout.router.registry.key import ApiKey, select_keys
from turnout.router.registry.plan import Contents, Item, Kind, Step, plan
from turnout.router.registry.store import Store
from turnout.router.registry.trigger import Trigger, select_triggers

#: Things that are looked at before others get their turn.
_TOGETHER = 500

#: In the order in which they refer to each other.
_MODELS: dict[Kind, type[models.Base]] = {
    "group": models.Group,
    "flow": models.Flow,
    "key": models.ApiKey,
    "trigger": models.Trigger,
}


class Transfer(Store):
    """The verbs of the registry as a whole."""

    async def export(self, *, secrets: bool) -> Contents:
        """Return all that an operator configured, and note that it was taken.

        Args:
            secrets: whether the reader keeps digests and routing keys, for the audit log.
        """
        async with self._changing() as change:
            contents = await _contents(change.connection)
            await change.note("registry.export", detail={"secrets": secrets})
        return contents

    async def plan_import(self, wanted: Contents) -> list[Step]:
        """Say what an import would do, and do nothing."""
        async with self._database.reading() as connection:
            present = await _contents(connection)
        return await asyncio.to_thread(plan, wanted, present)

    async def import_(self, wanted: Contents) -> list[Step]:
        """Bring the registry in line with what is wanted, unless a part of it is refused.

        What is here and not wanted stays. To import the same again changes nothing.

        Returns:
            What was done; if something is refused, what would have been: then nothing was done.
        """
        async with self._changing() as change:
            present = await _contents(change.connection)
            steps = await asyncio.to_thread(plan, wanted, present)
            counts = Counter(step.action for step in steps)
            await change.note(
                "registry.import", detail={str(action): count for action, count in counts.items()}
            )
            if not counts["refused"]:
                await _write(change, steps)
        return steps


async def _contents(connection: AsyncConnection) -> Contents:
    return Contents(
        groups=await select_groups(connection),
        flows=await select_flows(connection),
        keys=await select_keys(connection),
        triggers=await select_triggers(connection),
    )


async def _write(change: Change, steps: Sequence[Step]) -> None:
    connection = change.connection
    for kind, model in _MODELS.items():
        of_kind = [step for step in steps if step.kind == kind]
        created = (_row(step.after) for step in of_kind if step.action == "created")
        await insert_all(connection, model, created)
        for step in of_kind:
            if step.action == "changed":
                row = _row(step.after)
                identity = model.__table__.c.id == row.pop("id")
                await connection.execute(update(model).where(identity).values(row))
        await _write_lists(connection, of_kind)
        for number, step in enumerate(of_kind):
            if number % _TOGETHER == 0:
                await asyncio.sleep(0)  # others get their turn
            if step.action != "unchanged":
                await change.record(f"{kind}.import", before=step.before, after=step.after)


async def _write_lists(connection: AsyncConnection, steps: Sequence[Step]) -> None:
    """Write the scopes of keys, and the keys that triggers accept."""
    scopes: list[dict[str, str]] = []
    chosen: list[dict[str, str]] = []
    for step in steps:
        if step.action == "unchanged":
            continue
        match step.after:
            case ApiKey(id=key_id, flow_ids=ids):
                scopes += [{"key_id": key_id, "flow_id": each} for each in ids or ()]
                former = delete(models.KeyFlow).where(models.KeyFlow.key_id == key_id)
            case Trigger(id=trigger_id, key_ids=ids):
                chosen += [{"trigger_id": trigger_id, "key_id": each} for each in ids or ()]
                former = delete(models.TriggerKey).where(models.TriggerKey.trigger_id == trigger_id)
            case _:
                continue
        if step.action == "changed":
            await connection.execute(former)
    await insert_all(connection, models.KeyFlow, scopes)
    await insert_all(connection, models.TriggerKey, chosen)


def _row(item: Item) -> dict[str, Any]:
    """Return the columns of a thing."""
    limits = dataclasses.asdict(item.limits) if not isinstance(item, Flow) else {}
    match item:
        case Group():
            return {**_columns(item, models.Group), **limits}
        case Flow():
            return _columns(item, models.Flow)
        case ApiKey():
            del limits["max_body_bytes"], limits["max_header_bytes"], limits["read_timeout"]
            return {**_columns(item, models.ApiKey), **limits, "any_flow": item.flows is None}
        case Trigger():
            del limits["in_flight"]
            return {**_columns(item, models.Trigger), **limits, "any_key": item.keys is None}


def _columns(item: Item, model: type[models.Base]) -> dict[str, Any]:
    """Return the columns that are called like a field."""
    names = {field.name for field in dataclasses.fields(item)}
    values = {
        each.name: getattr(item, each.name)
        for each in model.__table__.columns
        if each.name in names
    }
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in values.items()
    }
