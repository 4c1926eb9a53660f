"""The registry: what the operator configured. Its verbs alone write these tables."""

from dataclasses import dataclass

from turnout.router.registry.cancellations import (
    Cancellation,
    Cancellations,
    select_cancellations,
)
from turnout.router.registry.directory import Directory
from turnout.router.registry.errors import (
    Conflict,
    Invalid,
    NotFound,
    RegistryError,
    WrongState,
)
from turnout.router.registry.flows import Flow, Flows, select_flows
from turnout.router.registry.groups import Group
from turnout.router.registry.key import ApiKey, KeyState, ScopedFlow, select_keys
from turnout.router.registry.keys import KeyChanges, Keys, NewApiKey
from turnout.router.registry.limits import Limits
from turnout.router.registry.tokens import AdminToken, AdminTokens
from turnout.router.registry.trigger import ChosenKey, Method, Trigger, select_triggers
from turnout.router.registry.triggers import TriggerChanges, Triggers

__all__ = [
    "AdminToken",
    "ApiKey",
    "Cancellation",
    "ChosenKey",
    "Conflict",
    "Directory",
    "Flow",
    "Group",
    "Invalid",
    "KeyChanges",
    "KeyState",
    "Limits",
    "Method",
    "NewApiKey",
    "NotFound",
    "Registry",
    "RegistryError",
    "ScopedFlow",
    "Snapshot",
    "Trigger",
    "TriggerChanges",
    "WrongState",
]


@dataclass(frozen=True)
class Snapshot:
    """All that topology and projection follow from, as it was at one moment."""

    flows: tuple[Flow, ...]
    triggers: tuple[Trigger, ...]
    keys: tuple[ApiKey, ...]
    cancellations: tuple[Cancellation, ...] = ()


class Registry(Flows, Keys, Triggers, Cancellations, AdminTokens):
    """The verbs of all nouns, over one database.

    Every verb is one transaction, and raises `database.DatabaseUnavailable` when the database does
    not answer.
    """

    async def snapshot(self) -> Snapshot:
        """Read everything in five statements of one transaction."""
        async with self._database.reading() as connection:
            return Snapshot(
                flows=tuple(await select_flows(connection)),
                triggers=tuple(await select_triggers(connection)),
                keys=tuple(await select_keys(connection)),
                cancellations=tuple(await select_cancellations(connection)),
            )

    async def ping(self) -> None:
        """Make sure that the database answers."""
        await self._database.ping()
