"""`/keys`: API keys, whose text is shown once."""

from datetime import datetime, timedelta
from typing import Annotated, Self

from aiohttp import web
from pydantic import AwareDatetime, Field

from turnout.router import projection
from turnout.router.api import path
from turnout.router.api.body import Answer, Body, Items, Name, Reason, Rotation, answer, read
from turnout.router.api.control import REGISTRY, USAGE, settle, withdraw
from turnout.router.api.limits import KeyLimits
from turnout.router.registry import ApiKey, KeyChanges, KeyState, Trigger
from turnout.router.usage import UNUSED, Activity
from turnout.shared import ids, names

routes = web.RouteTableDef()

Flows = Annotated[list[str], Field(max_length=100)]


class NewKey(Body):
    """A key to make."""

    name: Name
    expires_at: AwareDatetime | None = None
    flows: Flows | None = None
    """Slugs of the flows that it may trigger; null: any of the group."""
    limits: KeyLimits = KeyLimits()


class KeyChange(Body):
    """What to change; what is not sent stays, of the limits each."""

    name: Name = ""
    expires_at: AwareDatetime | None = None
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
                **more,
            }
        )


class CreatedKey(KeyAnswer):
    """A new key, with its text, this one time."""

    key: str


class AcceptingTrigger(Answer):
    """A trigger that accepts the key."""

    id: str
    flow: str
    """The address: "group/flow"."""
    description: str

    @classmethod
    def of(cls, trigger: Trigger) -> Self:
        """Show which trigger it is."""
        return cls(
            id=trigger.id,
            flow=trigger.address,
            description=trigger.description,
        )


class KeyWithTriggers(KeyAnswer):
    """A key and the triggers that accept it."""

    triggers: list[AcceptingTrigger]


@routes.post("/api/v1/groups/{group}/keys")
async def create(request: web.Request) -> web.Response:
    """Make a key of a group."""
    group = path.slug(request, "group")
    body = await read(request, NewKey)
    key, text = await request.app[REGISTRY].create_key(
        group, body.name, expires_at=body.expires_at, flows=body.flows, limits=body.limits.value()
    )
    await settle(request)
    return answer(CreatedKey.of(key, UNUSED, key=text), status=201)


@routes.get("/api/v1/groups/{group}/keys")
async def list_of_group(request: web.Request) -> web.Response:
    """List the keys of a group."""
    keys = await request.app[REGISTRY].list_keys(path.slug(request, "group"))
    activity = await request.app[USAGE].activity([each.id for each in keys])
    return answer(Items(items=[KeyAnswer.of(each, activity[each.id]) for each in keys]))


@routes.get("/api/v1/keys/{id}")
async def show(request: web.Request) -> web.Response:
    """Show one key, and which triggers accept it."""
    registry = request.app[REGISTRY]
    key = await registry.key(path.identifier(request, ids.KEY))
    triggers = await registry.list_triggers_accepting(key)
    activity = await request.app[USAGE].activity([key.id])
    return answer(
        KeyWithTriggers.of(
            key, activity[key.id], triggers=[AcceptingTrigger.of(each) for each in triggers]
        )
    )


@routes.patch("/api/v1/keys/{id}")
async def change(request: web.Request) -> web.StreamResponse:
    """Change a key: its name, expiry, scope and limits."""
    key_id = path.identifier(request, ids.KEY)
    body = await read(request, KeyChange)
    changes: KeyChanges = body.model_dump(exclude_unset=True)  # type: ignore[assignment] # its form
    await request.app[REGISTRY].change_key(key_id, changes)
    await settle(request)
    return await show(request)


@routes.post("/api/v1/keys/{id}/rotate")
async def rotate(request: web.Request) -> web.Response:
    """Make a new secret, beside which the old one is good for a while."""
    registry = request.app[REGISTRY]
    key_id = path.identifier(request, ids.KEY)
    body = await read(request, Rotation)
    key, text = await registry.rotate_key(key_id, timedelta(seconds=body.overlap))
    if not key.overlaps and key.old_digest is not None:
        await withdraw(request, [names.auth_key(key.old_digest)])
    await settle(request)
    activity = await request.app[USAGE].activity([key.id])
    return answer(CreatedKey.of(key, activity[key.id], key=text), status=201)


@routes.post("/api/v1/keys/{id}/end-overlap")
async def end_overlap(request: web.Request) -> web.StreamResponse:
    """Let the old secret be good no longer."""
    key_id = path.identifier(request, ids.KEY)
    await read(request, Reason)
    key = await request.app[REGISTRY].end_key_overlap(key_id)
    await withdraw(request, [names.auth_key(key.old_digest)] if key.old_digest else [])
    return await show(request)


@routes.post("/api/v1/keys/{id}/revoke")
async def revoke(request: web.Request) -> web.StreamResponse:
    """Let a key be good no longer, for ever. No ingress accepts it once this is answered."""
    key_id = path.identifier(request, ids.KEY)
    body = await read(request, Reason)
    key = await request.app[REGISTRY].revoke_key(key_id, body.reason)
    await withdraw(request, projection.names_of_key(key))
    return await show(request)
