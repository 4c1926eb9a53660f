"""`/keys/{id}/overlap`, `/triggers/{id}/overlap`: who still calls with what was replaced."""

from datetime import datetime
from typing import Self

from turnout.router.api.body import Answer
from turnout.router.api.call import Call
from turnout.router.api.control import OVERLAPS
from turnout.router.api.params import KeyId, TriggerId
from turnout.router.api.routes import Routes
from turnout.router.api.selection import TriggerName
from turnout.router.overlaps import OldUse
from turnout.router.registry import ApiKey, Trigger

routes = Routes()


class OldUseAnswer(Answer):
    """The calls of one caller."""

    trigger: TriggerName
    flow: str | None
    """The address: "group/flow"; null: there is no such trigger any more."""
    network: str
    """Where they came from: a /24, or a /48 of IPv6; "*": from more than are told apart."""
    agent: str
    """The first product of the User-Agent; "-": there was none."""
    calls: int
    last_at: datetime | None

    @classmethod
    def of(cls, use: OldUse, trigger: Trigger | None) -> Self:
        """Show it."""
        return cls(
            trigger=TriggerName.of(use.trigger_id, trigger),
            flow=None if trigger is None else trigger.address,
            network=use.network,
            agent=use.agent,
            calls=use.calls,
            last_at=use.last_at,
        )


class OverlapAnswer(Answer):
    """The last rotation of a key or trigger, and the calls with what it replaced."""

    rotated_at: datetime | None
    """null: never."""
    old_until: datetime | None
    overlaps: bool
    """Whether the old one is still good."""
    calls: int
    items: list[OldUseAnswer]


@routes.get("/keys/{key_id}/overlap")
async def of_key(call: Call, key_id: KeyId) -> OverlapAnswer:
    """Say who has called with the old secret of a key."""
    return await _overlap(call, await call.registry.key(key_id))


@routes.get("/triggers/{trigger_id}/overlap")
async def of_trigger(call: Call, trigger_id: TriggerId) -> OverlapAnswer:
    """Say who has called by the old routing key of a trigger."""
    return await _overlap(call, await call.registry.trigger(trigger_id))


async def _overlap(call: Call, rotated: ApiKey | Trigger) -> OverlapAnswer:
    uses = await call.app[OVERLAPS].old_uses(rotated.id, rotated.rotated_at)
    known = await call.registry.list_triggers(groups=[rotated.group])
    triggers = {each.id: each for each in known}
    return OverlapAnswer(
        rotated_at=rotated.rotated_at,
        old_until=rotated.old_until,
        overlaps=rotated.overlaps,
        calls=sum(use.calls for use in uses),
        items=[OldUseAnswer.of(use, triggers.get(use.trigger_id)) for use in uses],
    )
