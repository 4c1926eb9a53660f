"""`/triggers`: the URLs that start flows."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Annotated, Self

from aiohttp import web
from pydantic import Field

from turnout.router import entries, topology
from turnout.router.api.body import (
    Answer,
    Body,
    Description,
    Listing,
    Name,
    Reason,
    Rotation,
)
from turnout.router.api.call import Call
from turnout.router.api.control import CONTROL, OPERATIONS, PUBLIC_URL, USAGE
from turnout.router.api.keys import CreatedKey, NewKey
from turnout.router.api.limits import TriggerLimits
from turnout.router.api.params import ChangeQuery, PageQuery, Slug, TriggerId, cursor
from turnout.router.api.problem import Problem
from turnout.router.api.routes import Routes, Tagged
from turnout.router.registry import Method, Page, Trigger, TriggerChanges
from turnout.router.usage import UNUSED, Activity
from turnout.shared import cache, keys, names
from turnout.shared.errors import BrokerError

routes = Routes()

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

    flow: Slug
    """That of another flow of its group."""


class Confirmation(ChangeQuery):
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


class CreatedTrigger(TriggerAnswer):
    """A new trigger, and the key that was made with it."""

    new_key: Annotated[CreatedKey | None, Field(exclude_if=lambda key: key is None)] = None
    """Left out where none was made."""


@routes.post("/flows/{group}/{flow}/triggers")
async def create(call: Call, group: Slug, flow: Slug, body: NewTrigger) -> Tagged[CreatedTrigger]:
    """Make a trigger of a flow."""
    new_key = None if body.new_key is None else body.new_key.value()
    trigger = await call.registry.create_trigger(
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
    await call.settle()
    created = None
    if new_key is not None and trigger.keys is not None:
        key_id = next(each.id for each in trigger.keys if each.name == new_key.name)
        key = await call.registry.key(key_id)
        created = CreatedKey.of(key, UNUSED, key=new_key.secret.text)
    made = TriggerAnswer.of(trigger, UNUSED, call.app)
    return Tagged(CreatedTrigger(**made.model_dump(), new_key=created), trigger)


@routes.get("/flows/{group}/{flow}/triggers")
async def list_of_flow(
    call: Call, group: Slug, flow: Slug, query: PageQuery
) -> Listing[TriggerAnswer]:
    """List the triggers of a flow."""
    return await _listing(call, await call.registry.list_flow_triggers(group, flow, query.page))


@routes.get("/triggers", filtered=True)
async def list_all(call: Call, query: PageQuery) -> Listing[TriggerAnswer]:
    """List all triggers."""
    return await _listing(call, await call.registry.list_triggers(query.page, groups=call.groups))


@routes.get("/triggers/{trigger_id}")
async def show(call: Call, trigger_id: TriggerId) -> Tagged[TriggerAnswer]:
    """Show one trigger."""
    trigger = await call.registry.trigger(trigger_id)
    activity = await call.app[USAGE].activity([trigger.id])
    return Tagged(TriggerAnswer.of(trigger, activity[trigger.id], call.app), trigger)


@routes.patch("/triggers/{trigger_id}")
async def change(call: Call, trigger_id: TriggerId, body: TriggerChange) -> Tagged[TriggerAnswer]:
    """Change what a trigger is for, and what it accepts."""
    changes: TriggerChanges = body.model_dump(exclude_unset=True)  # type: ignore[assignment] # its form
    await call.registry.change_trigger(trigger_id, changes)
    await call.settle()
    return await show(call, trigger_id)


@routes.post("/triggers/{trigger_id}/enable", status=200)
async def enable(call: Call, trigger_id: TriggerId, body: Reason) -> Tagged[TriggerAnswer]:
    """Let a trigger take calls again."""
    await call.registry.enable_trigger(trigger_id)
    await call.settle()
    return await show(call, trigger_id)


@routes.post("/triggers/{trigger_id}/disable", status=200)
async def disable(call: Call, trigger_id: TriggerId, body: Reason) -> Tagged[TriggerAnswer]:
    """Let a trigger take no calls until it is enabled."""
    await call.registry.disable_trigger(trigger_id, body.reason)
    await call.settle()
    return await show(call, trigger_id)


@routes.post("/triggers/{trigger_id}/rotate", status=200)
async def rotate(call: Call, trigger_id: TriggerId, body: Rotation) -> Tagged[TriggerAnswer]:
    """Make a new routing key, beside which the old one is good for a while."""
    trigger = await call.registry.trigger(trigger_id)
    routing_key = keys.new_routing_key()
    # Bound first: as soon as ingress knows it, calls come by it.
    rotated = replace(trigger, routing_key=routing_key, old_until=None)
    await call.app[CONTROL].declare(topology.bindings_of(rotated))
    overlap = timedelta(seconds=body.overlap)
    trigger = await call.registry.rotate_trigger(trigger, routing_key, overlap)
    if not trigger.overlaps and trigger.old_routing_key is not None:
        await call.withdraw([names.auth_trigger(trigger.old_routing_key)])
    await call.settle()
    return await show(call, trigger_id)


@routes.post("/triggers/{trigger_id}/end-overlap", status=200)
async def end_overlap(call: Call, trigger_id: TriggerId, body: Reason) -> Tagged[TriggerAnswer]:
    """Let the old routing key be good no longer."""
    trigger = await call.registry.end_trigger_overlap(trigger_id)
    old = trigger.old_routing_key
    await call.withdraw([names.auth_trigger(old)] if old else [])
    return await show(call, trigger_id)


@routes.post("/triggers/{trigger_id}/move", status=200)
async def move(call: Call, trigger_id: TriggerId, body: Move) -> Tagged[TriggerAnswer]:
    """Let a trigger lead to another flow of its group.

    Its routes to that flow are bound first; then the record that ingress goes by changes, which is
    the one moment at which calls take the other way. The old routes stay until nothing uses them.
    """
    trigger = await call.registry.trigger(trigger_id)
    flow = await call.registry.flow(trigger.group, body.flow)
    if flow.id != trigger.flow_id:
        moved = replace(trigger, flow_id=flow.id, flow=flow.slug, moved=True)
        await call.app[CONTROL].declare(topology.bindings_of(moved))
        await call.registry.move_trigger(trigger, flow.id)
        await call.settle()
    return await show(call, trigger_id)


@routes.delete("/triggers/{trigger_id}")
async def delete(call: Call, trigger_id: TriggerId, query: Confirmation) -> None:
    """Take a trigger away, when that is confirmed: what is queued of it will run nevertheless."""
    trigger = await call.registry.trigger(trigger_id)
    if not query.confirm:
        raise await _unconfirmed(call, trigger)
    await call.registry.delete_trigger(trigger.id)
    await call.withdraw(entries.names_of_trigger(trigger))


async def _unconfirmed(call: Call, trigger: Trigger) -> Problem:
    """Say what should be known before a trigger is deleted."""
    waiting: int | None
    try:
        waiting = (await call.app[OPERATIONS].once.readiness(trigger)).waiting
    except (BrokerError, *cache.ERRORS):
        waiting = None
    calls = (await call.app[USAGE].activity([trigger.id]))[trigger.id].calls_today
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


async def _listing(call: Call, found: Page[Trigger]) -> Listing[TriggerAnswer]:
    activity = await call.app[USAGE].activity([each.id for each in found])
    return Listing(
        items=[TriggerAnswer.of(each, activity[each.id], call.app) for each in found],
        next_cursor=cursor(found.next),
    )
