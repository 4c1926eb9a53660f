"""`/keys`: API keys, whose text is shown once."""

from datetime import datetime
from typing import Self

from aiohttp import web
from pydantic import AwareDatetime

from turnout.router.api import path
from turnout.router.api.body import Answer, Body, Items, Name, answer, read
from turnout.router.api.control import REGISTRY, USAGE, settle
from turnout.router.api.limits import KeyLimits
from turnout.router.registry import ApiKey, Trigger
from turnout.router.usage import UNUSED, Activity
from turnout.shared import ids

routes = web.RouteTableDef()


class NewKey(Body):
    """A key to make."""

    name: Name
    expires_at: AwareDatetime | None = None
    limits: KeyLimits = KeyLimits()


class KeyChange(Body):
    """What to change: the limits that are sent; null takes one away."""

    limits: KeyLimits


class KeyAnswer(Answer):
    """A key, without its text."""

    id: str
    group: str
    name: str
    prefix: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
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
                "expires_at": key.expires_at,
                "revoked_at": key.revoked_at,
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
        group, body.name, expires_at=body.expires_at, limits=body.limits.value()
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
    """Change a key's own limits."""
    key_id = path.identifier(request, ids.KEY)
    body = await read(request, KeyChange)
    await request.app[REGISTRY].limit_key(key_id, body.limits.changes())
    await settle(request)
    return await show(request)
