"""`/flows/…/cancellations`: queued runs that must not start any more."""

from datetime import datetime
from typing import Annotated, Self

from aiohttp import web
from pydantic import Field

from turnout.router.api import path
from turnout.router.api.body import Answer, Items, answer, read
from turnout.router.api.control import REGISTRY, settle
from turnout.router.api.flows import Reason
from turnout.router.registry import Cancellation
from turnout.shared.notices import EVERY_RUN

routes = web.RouteTableDef()


class NewCancellation(Reason):
    """Which runs are cancelled, and why."""

    run_id: Annotated[str, Field(pattern="^run_[0-9a-f]{32}$")] | None = None
    """One of them; null: all that are queued now."""


class CancellationAnswer(Answer):
    """A cancellation."""

    group: str
    flow: str
    run_id: str | None
    """Null: all that were queued then."""
    reason: str
    created_at: datetime

    @classmethod
    def of(cls, made: Cancellation) -> Self:
        """Show a cancellation."""
        return cls(
            group=made.group,
            flow=made.flow,
            run_id=None if made.run == EVERY_RUN else made.run,
            reason=made.reason,
            created_at=made.created_at,
        )


@routes.post("/api/v1/flows/{group}/{flow}/cancellations")
async def create(request: web.Request) -> web.Response:
    """Cancel one run of a flow, or all that are queued; what has started goes on."""
    body = await read(request, NewCancellation)
    made = await request.app[REGISTRY].cancel(
        *path.flow(request), body.reason, body.run_id or EVERY_RUN
    )
    await settle(request)
    return answer(CancellationAnswer.of(made), status=201)


@routes.get("/api/v1/flows/{group}/{flow}/cancellations")
async def list_of_flow(request: web.Request) -> web.Response:
    """List the cancellations of a flow, newest first."""
    made = await request.app[REGISTRY].list_cancellations(*path.flow(request))
    return answer(Items(items=[CancellationAnswer.of(each) for each in made]))
