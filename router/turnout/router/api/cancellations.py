"""`/flows/…/cancellations`, `/runs/…/cancel`: queued runs that must not start any more."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import Field

from turnout.router.api.body import Answer, Body, Description, Items
from turnout.router.api.call import Call
from turnout.router.api.params import RunId, Slug
from turnout.router.api.routes import Routes
from turnout.router.registry import Cancellation
from turnout.shared.notices import EVERY_RUN

routes = Routes()


class NewCancellation(Body):
    """Which runs are cancelled, and why."""

    reason: Description
    run_id: Annotated[str, Field(pattern="^run_[0-9a-f]{32}$")] | None = None
    """One of them; null: all that are queued now."""


class Cancel(Body):
    """Why a run is cancelled."""

    reason: Description


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


@routes.post("/flows/{group}/{flow}/cancellations")
async def create(call: Call, group: Slug, flow: Slug, body: NewCancellation) -> CancellationAnswer:
    """Cancel one run of a flow, or all that are queued; what has started goes on."""
    made = await call.registry.cancel(group, flow, body.reason, body.run_id or EVERY_RUN)
    await call.settle()
    return CancellationAnswer.of(made)


@routes.post("/runs/{run_id}/cancel", refuses=(409,))
async def of_run(call: Call, run_id: RunId, body: Cancel) -> CancellationAnswer:
    """Cancel one run; the history has to know of which flow it is."""
    made = await call.registry.cancel_run(run_id, body.reason)
    await call.settle()
    return CancellationAnswer.of(made)


@routes.get("/flows/{group}/{flow}/cancellations")
async def list_of_flow(call: Call, group: Slug, flow: Slug) -> Items[CancellationAnswer]:
    """List the cancellations of a flow, newest first."""
    made = await call.registry.list_cancellations(group, flow)
    return Items(items=[CancellationAnswer.of(each) for each in made])
