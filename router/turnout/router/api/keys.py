"""`/keys`: API keys, whose text is shown once."""

from datetime import datetime
from typing import Self

from aiohttp import web
from pydantic import AwareDatetime

from turnout.router.api import path
from turnout.router.api.body import Answer, Body, Items, Name, answer, read
from turnout.router.api.control import REGISTRY, settle
from turnout.router.registry import ApiKey, Trigger
from turnout.shared import ids

routes = web.RouteTableDef()


class NewKey(Body):
    """A key to make."""

    name: Name
    expires_at: AwareDatetime | None = None


class KeyAnswer(Answer):
    """A key, without its text."""

    id: str
    group: str
    name: str
    prefix: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None

    @classmethod
    def of(cls, key: ApiKey, /, **more: object) -> Self:
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
            flow=f"{trigger.group}/{trigger.flow}",
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
    key, text = await request.app[REGISTRY].create_key(group, body.name, expires_at=body.expires_at)
    await settle(request)
    return answer(CreatedKey.of(key, key=text), status=201)


@routes.get("/api/v1/groups/{group}/keys")
async def list_of_group(request: web.Request) -> web.Response:
    """List the keys of a group."""
    keys = await request.app[REGISTRY].list_keys(path.slug(request, "group"))
    return answer(Items(items=[KeyAnswer.of(each) for each in keys]))


@routes.get("/api/v1/keys/{id}")
async def show(request: web.Request) -> web.Response:
    """Show one key, and which triggers accept it."""
    registry = request.app[REGISTRY]
    key = await registry.key(path.identifier(request, ids.KEY))
    triggers = await registry.list_triggers_accepting(key)
    return answer(
        KeyWithTriggers.of(key, triggers=[AcceptingTrigger.of(each) for each in triggers])
    )
