"""Snapshot: all that topology and projection follow from.

It is read whole once. After a change only what was changed is read again; everything else is the
same object as before, by which others know it too.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from turnout.router import models
from turnout.router.registry.cancellations import Cancellation, select_cancellations
from turnout.router.registry.flows import Flow, select_flows
from turnout.router.registry.key import ApiKey, select_keys
from turnout.router.registry.store import now
from turnout.router.registry.trigger import Trigger, select_triggers
from turnout.shared import ids

_Party = TypeVar("_Party", ApiKey, Trigger)

#: Things of which so many were changed at once are all read again: SQL takes no longer lists.
_MANY = 1000


@dataclass(frozen=True)
class Snapshot:
    """The registry as it was at one moment."""

    revision: int
    """Of the registry: another one after each change."""
    flows: tuple[Flow, ...]
    triggers: tuple[Trigger, ...]
    keys: tuple[ApiKey, ...]
    until: datetime | None = None
    """When the next overlap of two secrets or routing keys ends: then it is otherwise."""
    cancellations: tuple[Cancellation, ...] = ()

    @property
    def parties(self) -> Iterator[ApiKey | Trigger]:
        """All keys and triggers."""
        yield from self.keys
        yield from self.triggers

    @property
    def is_over(self) -> bool:
        """Whether an overlap has ended since it was read."""
        return self.until is not None and self.until <= now()

    def key(self, key_id: str) -> ApiKey | None:
        """Return one key, if there is one with this id."""
        return next((each for each in self.keys if each.id == key_id), None)


async def read(connection: AsyncConnection, revision: int) -> Snapshot:
    """Read everything."""
    return _made(
        revision,
        tuple(await select_flows(connection)),
        tuple(await select_triggers(connection)),
        tuple(await select_keys(connection)),
        tuple(await select_cancellations(connection)),
    )


async def read_again(
    connection: AsyncConnection, revision: int, latest: Snapshot, touched: frozenset[str]
) -> Snapshot:
    """Read what was changed since an earlier snapshot.

    Args:
        connection: of the transaction.
        revision: of the registry now.
        latest: the earlier one.
        touched: the ids of what was changed; a group stands for all of its keys and triggers.
    """
    touched |= _ended(latest)
    if len(touched) > _MANY:
        return await read(connection, revision)
    groups = [each for each in touched if each.startswith(ids.GROUP)]
    key_ids = [each for each in touched if each.startswith(ids.KEY)]
    trigger_ids = [each for each in touched if each.startswith(ids.TRIGGER)]
    flows, keys, triggers = latest.flows, latest.keys, latest.triggers
    if groups or any(each.startswith(ids.FLOW) for each in touched):
        flows = tuple(await select_flows(connection))
    if groups or key_ids:
        found = await select_keys(
            connection, or_(models.ApiKey.id.in_(key_ids), models.ApiKey.group_id.in_(groups))
        )
        keys = _replaced(keys, found, key_ids)
    if groups or key_ids or trigger_ids:
        listing = select(models.TriggerKey.trigger_id).where(models.TriggerKey.key_id.in_(key_ids))
        again = await select_triggers(
            connection,
            or_(
                models.Trigger.id.in_(trigger_ids),
                models.Trigger.id.in_(listing),  # which show the names of keys
                models.Flow.group_id.in_(groups),
            ),
        )
        triggers = _replaced(triggers, again, trigger_ids)
    cancellations = tuple(await select_cancellations(connection))
    return _made(revision, flows, triggers, keys, cancellations)


def differences(
    before: Snapshot, after: Snapshot
) -> Iterator[tuple[ApiKey | Trigger | None, ApiKey | Trigger | None]]:
    """Give each key and trigger that is not the same object in both, as it was and as it is."""
    was = {each.id: each for each in before.parties}
    for each in after.parties:
        former = was.pop(each.id, None)
        if former is not each:
            yield former, each
    for gone in was.values():
        yield gone, None


def _made(
    revision: int,
    flows: tuple[Flow, ...],
    triggers: tuple[Trigger, ...],
    keys: tuple[ApiKey, ...],
    cancellations: tuple[Cancellation, ...],
) -> Snapshot:
    moment = now()
    made = Snapshot(revision, flows, triggers, keys, None, cancellations)
    ends = (each.old_until for each in made.parties)
    until = min((each for each in ends if each and each > moment), default=None)
    return replace(made, until=until)


def _ended(latest: Snapshot) -> frozenset[str]:
    """Return the ids of what has one secret, or one routing key, less than when it was read."""
    if not latest.is_over or latest.until is None:
        return frozenset()
    return frozenset(
        each.id
        for each in latest.parties
        if each.old_until is not None and latest.until <= each.old_until <= now()
    )


def _replaced(
    parties: Sequence[_Party], found: Sequence[_Party], wanted: Iterable[str]
) -> tuple[_Party, ...]:
    """Put what was read again in the place of what it was; what was not found is gone."""
    again: dict[str, _Party] = {each.id: each for each in found}
    gone = set(wanted) - again.keys()
    kept = [again.pop(each.id, each) for each in parties if each.id not in gone]
    kept.extend(again.values())
    return tuple(kept)
