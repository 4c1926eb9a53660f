"""The registry: what the operator configured. Its verbs alone write these tables."""

import asyncio

from sqlalchemy import select

from turnout.router import models
from turnout.router.database import Database
from turnout.router.registry import snapshot
from turnout.router.registry.audit import AuditEntry, AuditLog
from turnout.router.registry.cancellations import (
    Cancellation,
    Cancellations,
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
from turnout.router.registry.flows import Flow, Flows
from turnout.router.registry.groups import Group
from turnout.router.registry.key import ApiKey, KeyState, ScopedFlow
from turnout.router.registry.keys import KeyChanges, Keys, NewApiKey
from turnout.router.registry.limits import NONE, Limits
from turnout.router.registry.owners import Owners
from turnout.router.registry.page import ALL, Page, Slice
from turnout.router.registry.plan import Action, Contents, Item, Kind, Step
from turnout.router.registry.repeats import Kept, Repeats
from turnout.router.registry.snapshot import Snapshot, differences
from turnout.router.registry.tokens import AdminToken, AdminTokens, Role
from turnout.router.registry.transfer import Transfer
from turnout.router.registry.trigger import ChosenKey, Method, Trigger
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
    "Kind",
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
    "differences",
    "etag",
]


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

    @property
    def latest(self) -> Snapshot | None:
        """The last snapshot, however old it is; None: none was read yet."""
        return self._latest

    async def snapshot(self) -> Snapshot:
        """Read what was changed, in one transaction; if nothing was, return the same object."""
        async with self._reading, self._database.reading() as connection:
            found = await connection.execute(select(models.Revision.number))
            revision = found.scalar_one()
            latest = self._latest
            if latest is not None and latest.revision == revision and not latest.is_over:
                return latest
            touched = None
            if latest is not None:
                touched = self._database.touched(latest.revision, revision)
            if latest is None or touched is None:
                self._latest = await snapshot.read(connection, revision)
            else:
                self._latest = await snapshot.read_again(connection, revision, latest, touched)
            return self._latest

    async def ping(self) -> None:
        """Make sure that the database answers."""
        await self._database.ping()
