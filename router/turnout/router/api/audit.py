"""`/audit`: who changed what, when, from where and why."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

from turnout.router.api.body import Answer, Listing
from turnout.router.api.call import Call
from turnout.router.api.params import Moment, PageQuery, Text, cursor
from turnout.router.api.routes import Routes

routes = Routes()


class AuditQuery(PageQuery):
    """Which changes; all conditions hold together."""

    group: Text | None = None
    actor: Text | None = None
    """Id or name of the admin token; "router" for the router itself."""
    verb: Text | None = None
    """For example "key.revoke", or "key" for all that was done to keys."""
    object: Text | None = None
    """The id of what was changed."""
    since: Moment | None = None
    until: Moment | None = None


class AuditAnswer(Answer):
    """One change that somebody made."""

    id: str
    at: datetime
    actor_id: str
    actor_name: str
    remote: str | None
    """The address it came from; null: from within the router."""
    reason: str | None
    verb: str
    object_id: str
    label: str
    """How people called it then."""
    group: str | None
    before: dict[str, Any] | None
    """What it was, as far as it is otherwise now, secrets as "…"; null: it is new."""
    after: dict[str, Any] | None
    """null: it is gone."""


@routes.get("/audit", filtered=True)
async def list_all(call: Call, query: AuditQuery) -> Listing[AuditAnswer]:
    """List changes, newest first."""
    found = await call.registry.list_audit(
        query.page,
        groups=call.groups,
        group=query.group,
        actor=query.actor,
        verb=query.verb,
        object_id=query.object,
        since=query.since,
        until=query.until,
    )
    return Listing(
        items=[AuditAnswer(**asdict(each)) for each in found], next_cursor=cursor(found.next)
    )
