"""Changes: what an operator does, recorded in the transaction that does it.

verb ── changing() ──▶ BEGIN, one change at a time
     ── record(verb, before, after) ──▶ is it still what the operator saw (If-Match)?
                                        who, what, why, from where ──▶ audit log
     ◀── COMMIT; a verb that recorded nothing is an error, and nothing happens
"""

import dataclasses
import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, Protocol

from pydantic_core import to_jsonable_python
from sqlalchemy.ext.asyncio import AsyncConnection

from turnout.router import models
from turnout.router.database import Database, insert_all, touch
from turnout.router.registry.claim import Claim, note
from turnout.router.registry.errors import Stale
from turnout.shared import ids

#: Stands for the value of a field that is nobody's business.
_HIDDEN = "…"

_Fields = dict[str, tuple[Any, bool]]


@dataclass(frozen=True)
class Actor:
    """Who makes a change, and what the audit log is to know about it."""

    id: str
    name: str
    remote: str | None = None
    """The address it came from; None: from within the router."""
    reason: str | None = None
    expects: frozenset[str] | None = None
    """Tags of what is changed, one of which must be right; "*": of anything; None: unchecked."""
    claim: Claim | None = None
    """Marks the change as done, should it be asked for again; None: it may be done again."""


#: The router itself: a flow that a worker announced, a token of the settings.
ROUTER = Actor("router", "router")


class Noun(Protocol):
    """What can be changed: a frozen dataclass.

    A field with `repr=False` is a secret: the log says that it changed, and not to what. One with
    `compare=False` is no part of what an operator configured.
    """

    __dataclass_fields__: ClassVar[dict[str, "dataclasses.Field[Any]"]]

    @property
    def id(self) -> str:
        """Its identifier."""

    @property
    def group(self) -> str | None:
        """The slug of the group it belongs to; None: to none."""

    @property
    def label(self) -> str:
        """How people call it."""


class Change:
    """One change, within its transaction.

    Attributes:
        connection: of the transaction.
        recorded: whether the verb has said what it did.
    """

    def __init__(self, connection: AsyncConnection, actor: Actor) -> None:
        self.connection = connection
        self.recorded = False
        self._actor = actor
        self._entries: list[dict[str, Any]] = []

    async def record(self, verb: str, *, before: Noun | None, after: Noun | None) -> None:
        """Note what a verb made of a noun; nothing, if both are alike.

        Args:
            verb: the noun's kind and the verb: "key.revoke".
            before: the noun as it was; None: it is new.
            after: the noun as it is; None: it is gone.

        Raises:
            Stale: it was not what the actor expected.
        """
        self.recorded = True
        expects = self._actor.expects
        if expects is not None and (
            before is None or not expects & {"*", etag(before)}  # "*": anything that exists
        ):
            raise Stale
        subject = after or before
        if subject is None:
            return
        touch(self.connection, subject.id)
        if before == after:
            return
        was, is_now = _difference(before, after)
        self._add(
            verb=verb,
            object_id=subject.id,
            label=subject.label,
            group=subject.group,
            before=was,
            after=is_now,
        )

    async def note(
        self,
        verb: str,
        *,
        object_id: str = "",
        label: str = "",
        group: str | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        """Note what a verb did that is no change of one noun, for example of many at once."""
        self.recorded = True
        touch(self.connection)
        is_now = None if detail is None else to_jsonable_python(dict(detail))
        self._add(
            verb=verb, object_id=object_id, label=label, group=group, before=None, after=is_now
        )

    async def write(self) -> None:
        """Write what was noted into the audit log."""
        await insert_all(self.connection, models.AuditEntry, self._entries)

    def _add(self, **what: Any) -> None:
        self._entries.append(
            {
                "id": ids.new(ids.AUDIT),
                "at": datetime.now(UTC),
                "actor_id": self._actor.id,
                "actor_name": self._actor.name,
                "remote": self._actor.remote,
                "reason": self._actor.reason,
                **what,
            }
        )


@asynccontextmanager
async def changing(database: Database, actor: Actor) -> AsyncIterator[Change]:
    """Make a change in one transaction, while nobody else makes one.

    Raises:
        DatabaseUnavailable: the database does not answer.
        Repeated: it was asked for before.
        RuntimeError: the verb recorded nothing; nothing was changed.
    """
    async with database.changing() as connection:
        change = Change(connection, actor)
        if actor.claim is not None and not actor.claim.noted:
            await note(connection, actor.claim)
        yield change
        if not change.recorded:
            raise RuntimeError("a change was not recorded in the audit log")
        await change.write()
    if actor.claim is not None:
        actor.claim.noted = True


def etag(noun: Noun) -> str:
    """Return the tag of what is configured: another one after each change of it."""
    content = [value for value, _ in _fields(noun).values()]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def changed(before: Noun, after: Noun) -> tuple[str, ...]:
    """Return the names of the configured fields in which two states of a noun differ."""
    was, is_now = _fields(before), _fields(after)
    return tuple(name for name in is_now if was[name] != is_now[name])


def _difference(
    before: Noun | None, after: Noun | None
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Return the fields that differ, as they were and as they are."""
    was = None if before is None else _fields(before)
    is_now = None if after is None else _fields(after)

    def shown(fields: _Fields, others: _Fields | None) -> dict[str, Any]:
        return {
            name: _HIDDEN if secret else value
            for name, (value, secret) in fields.items()
            if others is None or others[name] != (value, secret)
        }

    return was and shown(was, is_now), is_now and shown(is_now, was)


def _fields(noun: Noun) -> _Fields:
    """Return what was configured, by field: the value as JSON, and whether it is a secret."""
    return {
        field.name: (to_jsonable_python(getattr(noun, field.name)), not field.repr)
        for field in dataclasses.fields(noun)
        if field.compare
    }
