"""The registry: what the operator configured. Its verbs alone write these tables."""

import asyncio
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from turnout.router import models
from turnout.router.database import Database
from turnout.router.registry.audit import AuditEntry, AuditLog
from turnout.router.registry.cancellations import (
    Cancellation,
    Cancellations,
    select_cancellations,
)
from turnout.router.registry.change import ROUTER, Actor, Change, Noun, changing, etag
from turnout.router.registry.claim import Claim
from turnout.router.registry.directory import Directory
from turnout.router.registry.errors import (
    Conflict,
    Invalid,
    KeyReused,
    NotFound,
    RegistryError,
    Repeated,
    Stale,
    WrongState,
)
from turnout.router.registry.flows import Flow, Flows, select_flows
from turnout.router.registry.groups import Group
from turnout.router.registry.key import ApiKey, KeyState, ScopedFlow, select_keys
from turnout.router.registry.keys import KeyChanges, Keys, NewApiKey
from turnout.router.registry.limits import NONE, Limits
from turnout.router.registry.owners import Owners
from turnout.router.registry.page import ALL, Page, Slice
from turnout.router.registry.plan import Action, Contents, Item, Step
from turnout.router.registry.repeats import Kept, Repeats
from turnout.router.registry.store import now
from turnout.router.registry.tokens import AdminToken, AdminTokens, Role
from turnout.router.registry.transfer import Transfer
from turnout.router.registry.trigger import ChosenKey, Method, Trigger, select_triggers
from turnout.router.registry.triggers import TriggerChanges, Triggers

__all__ = [
    "ALL",
    "NONE",
    "ROUTER",
    "Action",
    "Actor",
    "AdminToken",
    "ApiKey",
    "AuditEntry",
    "Cancellation",
    "Change",
    "ChosenKey",
    "Claim",
    "Conflict",
    "Contents",
    "Directory",
    "Flow",
    "Group",
    "Invalid",
    "Item",
    "Kept",
    "KeyChanges",
    "KeyReused",
    "KeyState",
    "Limits",
    "Method",
    "NewApiKey",
    "NotFound",
    "Noun",
    "Page",
    "Registry",
    "RegistryError",
    "Repeated",
    "Role",
    "ScopedFlow",
    "Slice",
    "Snapshot",
    "Stale",
    "Step",
    "Trigger",
    "TriggerChanges",
    "WrongState",
    "changing",
    "etag",
]


@dataclass(frozen=True)
class Snapshot:
    """All that topology and projection follow from, as it was at one moment."""

    revision: int
    """Of the registry: another one after each change."""
    flows: tuple[Flow, ...]
    triggers: tuple[Trigger, ...]
    keys: tuple[ApiKey, ...]
    until: datetime | None = None
    """When the next overlap of two secrets or routing keys ends: then it is otherwise."""
    cancellations: tuple[Cancellation, ...] = ()


class Registry(
    Flows, Keys, Triggers, Cancellations, AdminTokens, AuditLog, Owners, Transfer, Repeats
):
    """The verbs of all nouns, over one database.

    Every verb is one transaction, and raises `database.DatabaseUnavailable` when the database does
    not answer.
    """

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._latest: Snapshot | None = None
        self._reading = asyncio.Lock()

    async def snapshot(self) -> Snapshot:
        """Read everything in one transaction; if it is as it was, return the same object."""
        async with self._reading, self._database.reading() as connection:
            moment = now()
            found = await connection.execute(select(models.Revision.number))
            revision = found.scalar_one()
            latest = self._latest
            if latest is None or latest.revision != revision or (latest.until or moment) < moment:
                triggers = tuple(await select_triggers(connection))
                keys = tuple(await select_keys(connection))
                ends = [each.old_until for each in triggers] + [each.old_until for each in keys]
                self._latest = latest = Snapshot(
                    revision=revision,
                    flows=tuple(await select_flows(connection)),
                    triggers=triggers,
                    keys=keys,
                    cancellations=tuple(await select_cancellations(connection)),
                    until=min((end for end in ends if end and end > moment), default=None),
                )
            return latest

    async def ping(self) -> None:
        """Make sure that the database answers."""
        await self._database.ping()
