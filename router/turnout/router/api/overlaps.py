"""`/keys/{id}/overlap`, `/triggers/{id}/overlap`: who still calls with what was replaced."""

from datetime import datetime
from typing import Self

from aiohttp import web

from turnout.router.api import path
from turnout.router.api.body import Answer, answer
from turnout.router.api.control import OVERLAPS, REGISTRY
from turnout.router.api.selection import TriggerName
from turnout.router.overlaps import OldUse
from turnout.router.registry import ApiKey, Trigger
from turnout.shared import ids

routes = web.RouteTableDef()


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


@routes.get("/api/v1/keys/{id}/overlap")
async def of_key(request: web.Request) -> web.Response:
    """Say who has called with the old secret of a key."""
    key = await request.app[REGISTRY].key(path.identifier(request, ids.KEY))
    return await _overlap(request, key)


@routes.get("/api/v1/triggers/{id}/overlap")
async def of_trigger(request: web.Request) -> web.Response:
    """Say who has called by the old routing key of a trigger."""
    trigger = await request.app[REGISTRY].trigger(path.identifier(request, ids.TRIGGER))
    return await _overlap(request, trigger)


async def _overlap(request: web.Request, rotated: ApiKey | Trigger) -> web.Response:
    uses = await request.app[OVERLAPS].old_uses(rotated.id, rotated.rotated_at)
    triggers = {each.id: each for each in await request.app[REGISTRY].list_triggers()}
    return answer(
        OverlapAnswer(
            rotated_at=rotated.rotated_at,
            old_until=rotated.old_until,
            overlaps=rotated.overlaps,
            calls=sum(use.calls for use in uses),
            items=[OldUseAnswer.of(use, triggers.get(use.trigger_id)) for use in uses],
        )
    )
