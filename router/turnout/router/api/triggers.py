"""`/triggers`: the URLs that start flows."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Annotated, Self

from aiohttp import web
from pydantic import Field

from turnout.router import entries, topology
from turnout.router.api import path
from turnout.router.api.body import (
    Answer,
    Body,
    Description,
    Items,
    Name,
    Reason,
    Rotation,
    answer,
    read,
)
from turnout.router.api.control import (
    CONTROL,
    OPERATIONS,
    PUBLIC_URL,
    REGISTRY,
    USAGE,
    settle,
    withdraw,
)
from turnout.router.api.keys import CreatedKey, NewKey
from turnout.router.api.limits import TriggerLimits
from turnout.router.api.problem import Problem
from turnout.router.registry import Method, Trigger, TriggerChanges
from turnout.router.usage import UNUSED, Activity
from turnout.shared import cache, ids, keys, names
from turnout.shared.errors import BrokerError

routes = web.RouteTableDef()

KeyLabels = Annotated[list[Name], Field(max_length=100)]
ContentTypes = Annotated[list[Annotated[str, Field(max_length=255)]], Field(max_length=50)]


class NewTrigger(Body):
    """A trigger to make."""

    description: Description
    keys: KeyLabels | None = None
    """Ids or names of the keys of the group that it accepts; null: any."""
    new_key: NewKey | None = None
    """A key to make with it, which it accepts beside `keys`; without these it alone."""
    methods: tuple[Method, ...] = ("POST",)
    content_types: ContentTypes | None = None
    """The media types that it accepts, "text/*" for all of a type; null: anything."""
    key_in_query: bool = False
    wait: bool = False
    """Whether a caller may wait for the result of the flow: `Prefer: wait=…`."""
    limits: TriggerLimits = TriggerLimits()


class TriggerChange(Body):
    """What to change; what is not sent stays, of the limits each."""

    description: Description = ""
    keys: KeyLabels | None = None
    """Ids or names; null: any key of the group."""
    methods: tuple[Method, ...] = ()
    content_types: ContentTypes | None = None
    """null: anything."""
    key_in_query: bool = False
    wait: bool = False
    """Whether a caller may wait for the result of the flow: `Prefer: wait=…`."""
    limits: TriggerLimits = TriggerLimits()
    """null takes one away."""


class Move(Reason):
    """Where a trigger is to lead."""

    flow: str
    """The slug of another flow of its group."""


class Confirmation(path.Query):
    """Whether the caller knows what it does."""

    confirm: bool = False


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
    rotated_at: datetime | None
    """When its present routing key was made, if that is not its first."""
    old_routing_key: str | None
    """The one before the present one, which is good until `old_until`."""
    old_until: datetime | None
    methods: list[str]
    content_types: list[str] | None
    """null: anything."""
    key_in_query: bool
    wait: bool
    """Whether a caller may wait for the result of the flow."""
    enabled: bool
    disabled_reason: str | None
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
            rotated_at=trigger.rotated_at,
            old_routing_key=trigger.old_routing_key if trigger.overlaps else None,
            old_until=trigger.old_until,
            methods=list(trigger.methods),
            content_types=None if trigger.content_types is None else list(trigger.content_types),
            key_in_query=trigger.key_in_query,
            wait=trigger.wait,
            enabled=trigger.enabled,
            disabled_reason=trigger.disabled_reason,
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


class TriggerWithKey(TriggerAnswer):
    """A new trigger and the key that was made with it."""

    new_key: CreatedKey


@routes.post("/api/v1/flows/{group}/{flow}/triggers")
async def create(request: web.Request) -> web.Response:
    """Make a trigger of a flow."""
    group, flow = path.slug(request, "group"), path.slug(request, "flow")
    body = await read(request, NewTrigger)
    registry = request.app[REGISTRY]
    new_key = None if body.new_key is None else body.new_key.value()
    trigger = await registry.create_trigger(
        group,
        flow,
        description=body.description,
        accepts=body.keys,
        methods=body.methods,
        content_types=body.content_types,
        key_in_query=body.key_in_query,
        wait=body.wait,
        limits=body.limits.value(),
        new_key=new_key,
    )
    await settle(request)
    made = TriggerAnswer.of(trigger, UNUSED, request.app)
    if new_key is None or trigger.keys is None:
        return answer(made, status=201)
    key = await registry.key(next(each.id for each in trigger.keys if each.name == new_key.name))
    created = CreatedKey.of(key, UNUSED, key=new_key.secret.text)
    return answer(TriggerWithKey(**made.model_dump(), new_key=created), status=201)


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
    """Change what a trigger is for, and what it accepts."""
    trigger_id = path.identifier(request, ids.TRIGGER)
    body = await read(request, TriggerChange)
    changes: TriggerChanges = body.model_dump(exclude_unset=True)  # type: ignore[assignment] # its form
    await request.app[REGISTRY].change_trigger(trigger_id, changes)
    await settle(request)
    return await show(request)


@routes.post("/api/v1/triggers/{id}/enable")
async def enable(request: web.Request) -> web.StreamResponse:
    """Let a trigger take calls again."""
    trigger_id = path.identifier(request, ids.TRIGGER)
    await read(request, Reason)
    await request.app[REGISTRY].enable_trigger(trigger_id)
    await settle(request)
    return await show(request)


@routes.post("/api/v1/triggers/{id}/disable")
async def disable(request: web.Request) -> web.StreamResponse:
    """Let a trigger take no calls until it is enabled."""
    trigger_id = path.identifier(request, ids.TRIGGER)
    body = await read(request, Reason)
    await request.app[REGISTRY].disable_trigger(trigger_id, body.reason)
    await settle(request)
    return await show(request)


@routes.post("/api/v1/triggers/{id}/rotate")
async def rotate(request: web.Request) -> web.StreamResponse:
    """Make a new routing key, beside which the old one is good for a while."""
    registry = request.app[REGISTRY]
    body = await read(request, Rotation)
    trigger = await registry.trigger(path.identifier(request, ids.TRIGGER))
    routing_key = keys.new_routing_key()
    # Bound first: as soon as ingress knows it, calls come by it.
    rotated = replace(trigger, routing_key=routing_key, old_until=None)
    await request.app[CONTROL].declare(topology.bindings_of(rotated))
    trigger = await registry.rotate_trigger(trigger, routing_key, timedelta(seconds=body.overlap))
    if not trigger.overlaps and trigger.old_routing_key is not None:
        await withdraw(request, [names.auth_trigger(trigger.old_routing_key)])
    await settle(request)
    return await show(request)


@routes.post("/api/v1/triggers/{id}/end-overlap")
async def end_overlap(request: web.Request) -> web.StreamResponse:
    """Let the old routing key be good no longer."""
    trigger_id = path.identifier(request, ids.TRIGGER)
    await read(request, Reason)
    trigger = await request.app[REGISTRY].end_trigger_overlap(trigger_id)
    old = trigger.old_routing_key
    await withdraw(request, [names.auth_trigger(old)] if old else [])
    return await show(request)


@routes.post("/api/v1/triggers/{id}/move")
async def move(request: web.Request) -> web.StreamResponse:
    """Let a trigger lead to another flow of its group.

    Its routes to that flow are bound first; then the record that ingress goes by changes, which is
    the one moment at which calls take the other way. The old routes stay until nothing uses them.
    """
    registry = request.app[REGISTRY]
    body = await read(request, Move)
    trigger = await registry.trigger(path.identifier(request, ids.TRIGGER))
    flow = await registry.flow(trigger.group, body.flow)
    if flow.id != trigger.flow_id:
        moved = replace(trigger, flow_id=flow.id, flow=flow.slug, moved=True)
        await request.app[CONTROL].declare(topology.bindings_of(moved))
        await registry.move_trigger(trigger, flow.id)
        await settle(request)
    return await show(request)


@routes.delete("/api/v1/triggers/{id}")
async def delete(request: web.Request) -> web.Response:
    """Take a trigger away, when that is confirmed: what is queued of it will run nevertheless."""
    registry = request.app[REGISTRY]
    query = path.query(request, Confirmation)
    trigger = await registry.trigger(path.identifier(request, ids.TRIGGER))
    if not query.confirm:
        raise await _unconfirmed(request, trigger)
    await registry.delete_trigger(trigger.id)
    await withdraw(request, entries.names_of_trigger(trigger))
    return web.Response(status=204)


async def _unconfirmed(request: web.Request, trigger: Trigger) -> Problem:
    """Say what should be known before a trigger is deleted."""
    waiting: int | None
    try:
        waiting = (await request.app[OPERATIONS].once.readiness(trigger)).waiting
    except (BrokerError, *cache.ERRORS):
        waiting = None
    calls = (await request.app[USAGE].activity([trigger.id]))[trigger.id].calls_today
    return Problem(
        409,
        "unconfirmed",
        f"runs that wait in the queue of flow {trigger.address}, and will run nevertheless: "
        f"{_or_unknown(waiting)}; calls of this trigger today: {_or_unknown(calls)}. "
        "To delete it, repeat this with confirm=true",
        facts={"waiting": waiting, "calls_today": calls},
    )


def _or_unknown(number: int | None) -> str:
    return "unknown" if number is None else str(number)


async def _listing(request: web.Request, triggers: list[Trigger]) -> web.Response:
    activity = await request.app[USAGE].activity([each.id for each in triggers])
    return answer(
        Items(items=[TriggerAnswer.of(each, activity[each.id], request.app) for each in triggers])
    )
