"""`/keys`: API keys, whose text is shown once."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Self

from pydantic import Field

from turnout.router import entries
from turnout.router.api.body import Answer, Body, Listing, Name, Reason, Rotation, ShownOnce
from turnout.router.api.call import Call
from turnout.router.api.control import USAGE
from turnout.router.api.limits import KeyLimits
from turnout.router.api.params import KeyId, Moment, PageQuery, Slug, cursor
from turnout.router.api.routes import Routes, Tagged
from turnout.router.registry import ApiKey, KeyChanges, KeyState, NewApiKey, Page
from turnout.router.review import Finding, review
from turnout.router.usage import UNUSED, Activity
from turnout.shared import names

routes = Routes()

#: How far back the uses of a key are counted.
_DAYS = 30

Flows = Annotated[list[Slug], Field(max_length=100)]


class NewKey(Body):
    """A key to make."""

    name: Name
    expires_at: Moment | None = None
    flows: Flows | None = None
    """Slugs of the flows that it may trigger; null: any of the group."""
    limits: KeyLimits = KeyLimits()

    def value(self) -> NewApiKey:
        """Return it, with a secret."""
        return NewApiKey(
            self.name, expires_at=self.expires_at, flows=self.flows, limits=self.limits.value()
        )


class KeyChange(Body):
    """What to change; what is not sent stays, of the limits each."""

    name: Name = ""
    expires_at: Moment | None = None
    """null: never."""
    flows: Flows | None = None
    """null: any of the group."""
    limits: KeyLimits = KeyLimits()
    """null takes one away."""


class KeyAnswer(Answer):
    """A key, without its text."""

    id: str
    group: str
    name: str
    prefix: str
    created_at: datetime
    state: KeyState
    expires_at: datetime | None
    rotated_at: datetime | None
    """When its present secret was made, if that is not its first."""
    old_prefix: str | None
    """Of the secret before the present one, which is good until `old_until`."""
    old_until: datetime | None
    revoked_at: datetime | None
    revoked_reason: str | None
    flows: list[str] | None
    """Slugs of the flows that it may trigger; null: any of the group."""
    limits: KeyLimits
    effective_limits: KeyLimits
    """Its own or its group's; null: as ingress is set."""
    last_used_at: datetime | None
    calls_today: int | None
    """Since midnight UTC; null: this and the last use are not known at present."""
    findings: list[Finding]
    """What is to be looked at in it."""

    @classmethod
    def of(cls, key: ApiKey, activity: Activity, /, **more: object) -> Self:
        """Show a key, and what else the answer holds."""
        return cls.model_validate(
            {
                "id": key.id,
                "group": key.group,
                "name": key.name,
                "prefix": key.prefix,
                "created_at": key.created_at,
                "state": key.state,
                "expires_at": key.expires_at,
                "rotated_at": key.rotated_at,
                "old_prefix": key.old_prefix,
                "old_until": key.old_until,
                "revoked_at": key.revoked_at,
                "revoked_reason": key.revoked_reason,
                "flows": None if key.flows is None else [flow.slug for flow in key.flows],
                "limits": KeyLimits.of(key.limits),
                "effective_limits": KeyLimits.of(key.effective_limits),
                **activity._asdict(),
                "findings": review(key, activity, datetime.now(UTC)),
                **more,
            }
        )


class CreatedKey(KeyAnswer):
    """A new key, with its text, this one time."""

    key: ShownOnce


class TriggerOfKey(Answer):
    """A trigger that accepts the key, or through which it was used."""

    id: str
    flow: str | None
    """The address: "group/flow"; null: there is no such trigger any more."""
    description: str | None
    accepts: bool
    """Whether the trigger accepts the key at present."""
    calls: int | None
    """Accepted in the last 30 days; null: not known at present."""


class KeyWithTriggers(KeyAnswer):
    """A key and the triggers that it has to do with."""

    triggers: list[TriggerOfKey]


@routes.post("/groups/{group}/keys")
async def create(call: Call, group: Slug, body: NewKey) -> Tagged[CreatedKey]:
    """Make a key of a group."""
    key, text = await call.registry.create_key(
        group, body.name, expires_at=body.expires_at, flows=body.flows, limits=body.limits.value()
    )
    await call.settle()
    return Tagged(CreatedKey.of(key, UNUSED, key=text), key)


@routes.get("/groups/{group}/keys")
async def list_of_group(call: Call, group: Slug, query: PageQuery) -> Listing[KeyAnswer]:
    """List the keys of a group."""
    return await _listing(call, await call.registry.list_keys(group, query.page))


@routes.get("/keys", filtered=True)
async def list_all(call: Call, query: PageQuery) -> Listing[KeyAnswer]:
    """List the keys of all groups."""
    return await _listing(call, await call.registry.list_keys(page=query.page, groups=call.groups))


@routes.get("/keys/{key_id}")
async def show(call: Call, key_id: KeyId) -> Tagged[KeyWithTriggers]:
    """Show one key, the triggers that accept it, and those through which it was used."""
    key = await call.registry.key(key_id)
    activity = await call.app[USAGE].activity([key.id])
    triggers = await _triggers(call, key)
    return Tagged(KeyWithTriggers.of(key, activity[key.id], triggers=triggers), key)


@routes.patch("/keys/{key_id}")
async def change(call: Call, key_id: KeyId, body: KeyChange) -> Tagged[KeyWithTriggers]:
    """Change a key: its name, expiry, scope and limits."""
    changes: KeyChanges = body.model_dump(exclude_unset=True)  # type: ignore[assignment] # its form
    await call.registry.change_key(key_id, changes)
    await call.settle()
    return await show(call, key_id)


@routes.post("/keys/{key_id}/rotate")
async def rotate(call: Call, key_id: KeyId, body: Rotation) -> Tagged[CreatedKey]:
    """Make a new secret, beside which the old one is good for a while."""
    key, text = await call.registry.rotate_key(key_id, timedelta(seconds=body.overlap))
    if not key.overlaps and key.old_digest is not None:
        await call.withdraw([names.auth_key(key.old_digest)])
    await call.settle()
    activity = await call.app[USAGE].activity([key.id])
    return Tagged(CreatedKey.of(key, activity[key.id], key=text), key)


@routes.post("/keys/{key_id}/end-overlap", status=200)
async def end_overlap(call: Call, key_id: KeyId, body: Reason) -> Tagged[KeyWithTriggers]:
    """Let the old secret be good no longer."""
    key = await call.registry.end_key_overlap(key_id)
    await call.withdraw([names.auth_key(key.old_digest)] if key.old_digest else [])
    return await show(call, key_id)


@routes.post("/keys/{key_id}/revoke", status=200)
async def revoke(call: Call, key_id: KeyId, body: Reason) -> Tagged[KeyWithTriggers]:
    """Let a key be good no longer, for ever. No ingress accepts it once this is answered."""
    # Ingress first: what SQL takes its time for, a leaked key can be used in.
    known = call.registry.latest and call.registry.latest.key(key_id)
    records = entries.names_of_key(known) if known else []
    await call.withdraw(records)
    try:
        key = await call.registry.revoke_key(key_id, body.reason)
    except BaseException:
        call.admit(records)
        raise
    await call.withdraw(entries.names_of_key(key))
    return await show(call, key_id)


async def _listing(call: Call, found: Page[ApiKey]) -> Listing[KeyAnswer]:
    activity = await call.app[USAGE].activity([each.id for each in found])
    return Listing(
        items=[KeyAnswer.of(each, activity[each.id]) for each in found],
        next_cursor=cursor(found.next),
    )


async def _triggers(call: Call, key: ApiKey) -> list[TriggerOfKey]:
    """Return what accepts a key, then what it was used for and does not accept it any more."""
    accepting = await call.registry.list_triggers_accepting(key)
    calls = await call.app[USAGE].calls_of_key(key.id, _DAYS)
    accepted_by = {each.id for each in accepting}
    former = [each for each in calls or () if each not in accepted_by]
    known = {each.id: each for each in await call.registry.list_triggers(groups=[key.group])}
    return [
        TriggerOfKey(
            id=trigger_id,
            flow=trigger.address if trigger else None,
            description=trigger.description if trigger else None,
            accepts=trigger_id in accepted_by,
            calls=None if calls is None else calls.get(trigger_id, 0),
        )
        for trigger_id in [*(each.id for each in accepting), *former]
        for trigger in [known.get(trigger_id)]
    ]
