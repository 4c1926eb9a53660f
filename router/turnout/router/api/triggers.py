"""`/triggers`: the URLs that start flows."""

from datetime import datetime
from typing import Annotated, Self

from aiohttp import web
from pydantic import Field

from turnout.router.api import path
from turnout.router.api.body import Answer, Body, Description, Items, Name, answer, read
from turnout.router.api.control import CONTROL, PUBLIC_URL, REGISTRY, USAGE, settle
from turnout.router.api.limits import TriggerLimits
from turnout.router.registry import Method, Trigger
from turnout.router.usage import UNUSED, Activity
from turnout.shared import ids

routes = web.RouteTableDef()


class NewTrigger(Body):
    """A trigger to make."""

    description: Description
    keys: Annotated[list[Name], Field(max_length=100)] | None = None
    """Ids or names of the keys of the group that it accepts; null: any."""
    methods: tuple[Method, ...] = ("POST",)
    key_in_query: bool = False
    limits: TriggerLimits = TriggerLimits()


class TriggerChange(Body):
    """What to change: the limits that are sent; null takes one away."""

    limits: TriggerLimits


class AcceptedKey(Answer):
    """A key on the list of a trigger."""

    id: str
    name: str


class TriggerAnswer(Answer):
    """A trigger."""

    id: str
    group: str
    flow: str
    description: str
    routing_key: str
    url: str
    methods: list[str]
    key_in_query: bool
    enabled: bool
    keys: list[AcceptedKey] | None
    """null: any key of the group."""
    live: bool
    """Whether its queue and binding exist at the broker."""
    created_at: datetime
    limits: TriggerLimits
    effective_limits: TriggerLimits
    """Its own or its group's; null: as ingress is set."""
    last_used_at: datetime | None
    calls_today: int | None
    """Since midnight UTC; null: this and the last use are not known at present."""

    @classmethod
    def of(cls, trigger: Trigger, activity: Activity, app: web.Application) -> Self:
        """Show a trigger as it is now."""
        return cls(
            id=trigger.id,
            group=trigger.group,
            flow=trigger.flow,
            description=trigger.description,
            routing_key=trigger.routing_key,
            url=f"{app[PUBLIC_URL]}/t/{trigger.routing_key}",
            methods=list(trigger.methods),
            key_in_query=trigger.key_in_query,
            enabled=trigger.enabled,
            keys=None
            if trigger.keys is None
            else [AcceptedKey(id=key.id, name=key.name) for key in trigger.keys],
            live=app[CONTROL].is_live(trigger.id),
            created_at=trigger.created_at,
            limits=TriggerLimits.of(trigger.limits),
            effective_limits=TriggerLimits.of(trigger.effective_limits),
            last_used_at=activity.last_used_at,
            calls_today=activity.calls_today,
        )


@routes.post("/api/v1/flows/{group}/{flow}/triggers")
async def create(request: web.Request) -> web.Response:
    """Make a trigger of a flow."""
    group, flow = path.slug(request, "group"), path.slug(request, "flow")
    body = await read(request, NewTrigger)
    trigger = await request.app[REGISTRY].create_trigger(
        group,
        flow,
        description=body.description,
        accepts=body.keys,
        methods=body.methods,
        key_in_query=body.key_in_query,
        limits=body.limits.value(),
    )
    await settle(request)
    return answer(TriggerAnswer.of(trigger, UNUSED, request.app), status=201)


@routes.get("/api/v1/flows/{group}/{flow}/triggers")
async def list_of_flow(request: web.Request) -> web.Response:
    """List the triggers of a flow."""
    triggers = await request.app[REGISTRY].list_flow_triggers(
        path.slug(request, "group"), path.slug(request, "flow")
    )
    return await _listing(request, triggers)


@routes.get("/api/v1/triggers")
async def list_all(request: web.Request) -> web.Response:
    """List all triggers."""
    return await _listing(request, await request.app[REGISTRY].list_triggers())


@routes.get("/api/v1/triggers/{id}")
async def show(request: web.Request) -> web.Response:
    """Show one trigger."""
    trigger = await request.app[REGISTRY].trigger(path.identifier(request, ids.TRIGGER))
    activity = await request.app[USAGE].activity([trigger.id])
    return answer(TriggerAnswer.of(trigger, activity[trigger.id], request.app))


@routes.patch("/api/v1/triggers/{id}")
async def change(request: web.Request) -> web.StreamResponse:
    """Change a trigger's own limits."""
    trigger_id = path.identifier(request, ids.TRIGGER)
    body = await read(request, TriggerChange)
    await request.app[REGISTRY].limit_trigger(trigger_id, body.limits.changes())
    await settle(request)
    return await show(request)


async def _listing(request: web.Request, triggers: list[Trigger]) -> web.Response:
    activity = await request.app[USAGE].activity([each.id for each in triggers])
    return answer(
        Items(items=[TriggerAnswer.of(each, activity[each.id], request.app) for each in triggers])
    )
