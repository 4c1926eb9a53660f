"""The audit log: who changed what, when, from where and why. Written by `Change`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select

from turnout.router import models
from turnout.router.registry.page import ALL, Page, Slice
from turnout.router.registry.store import Store
from turnout.shared import ids

#: Changes that are deleted in one transaction.
_STEP = 1000

_ENTRIES = select(
    models.AuditEntry.id,
    models.AuditEntry.at,
    models.AuditEntry.actor_id,
    models.AuditEntry.actor_name,
    models.AuditEntry.remote,
    models.AuditEntry.reason,
    models.AuditEntry.verb,
    models.AuditEntry.object_id,
    models.AuditEntry.label,
    models.AuditEntry.group,
    models.AuditEntry.before,
    models.AuditEntry.after,
)


@dataclass(frozen=True)
class AuditEntry:
    """One change that somebody made."""

    id: str
    at: datetime
    actor_id: str
    """Of the admin token; "router": of itself."""
    actor_name: str
    remote: str | None
    reason: str | None
    verb: str
    """The noun's kind and the verb: "key.revoke"."""
    object_id: str
    label: str
    """How people called it then."""
    group: str | None
    """The slug of the group that it belongs to; None: to none."""
    before: dict[str, Any] | None
    """What it was, as far as it is otherwise now; None: it is new."""
    after: dict[str, Any] | None
    """None: it is gone."""


class AuditLog(Store):
    """The audit log."""

    async def note(
        self,
        verb: str,
        detail: Mapping[str, Any],
        *,
        object_id: str = "",
        label: str = "",
        group: str | None = None,
    ) -> None:
        """Note what is done outside of the database: see `Change.note`."""
        async with self._changing() as change:
            await change.note(verb, object_id=object_id, label=label, group=group, detail=detail)

    async def list_audit(
        self,
        page: Slice = ALL,
        *,
        groups: Sequence[str] | None = None,
        group: str | None = None,
        actor: str | None = None,
        verb: str | None = None,
        object_id: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Page[AuditEntry]:
        """Return changes, newest first; all conditions hold together.

        Args:
            page: which part of them.
            groups: slugs of the groups that are looked at; None: all, and what is of none.
            group: of this group alone.
            actor: id or name of the token that made them.
            verb: "key.revoke", or all of a noun: "key".
            object_id: of this one thing.
            since: from this moment on.
            until: before this moment.
        """
        entry, statement = models.AuditEntry, _ENTRIES
        if groups is not None:
            statement = statement.where(entry.group.in_(groups))
        if group is not None:
            statement = statement.where(entry.group == group)
        if actor is not None:
            statement = statement.where((entry.actor_id == actor) | (entry.actor_name == actor))
        if verb is not None:
            of_noun = entry.verb.startswith(f"{verb}.", autoescape=True)
            statement = statement.where((entry.verb == verb) | of_noun)
        if object_id is not None:
            statement = statement.where(entry.object_id == object_id)
        if since is not None:
            statement = statement.where(entry.at >= since)
        if until is not None:
            statement = statement.where(entry.at < until)
        async with self._database.reading() as connection:
            return await page.read(
                connection, statement, (entry.id,), AuditEntry, newest_first=True
            )

    async def forget_audit(self, before: datetime) -> int:
        """Delete some of the changes that were made before a moment; return how many."""
        entry = models.AuditEntry
        oldest = select(entry.id).where(entry.id < ids.first_of(ids.AUDIT, before))
        async with self._database.writing() as connection:
            done = await connection.execute(
                delete(entry).where(entry.id.in_(oldest.order_by(entry.id).limit(_STEP)))
            )
        return done.rowcount
