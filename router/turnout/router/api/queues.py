"""`/flows/…/queue`: what waits for a flow. To cancel it, see `cancellations`."""

from typing import Self

from turnout.router.api.body import Answer, Listing, Reason
from turnout.router.api.call import Call
from turnout.router.api.control import OPERATIONS
from turnout.router.api.history import RunAnswer, directory_of
from turnout.router.api.params import UUID, PageQuery, Slug, Text, cut
from turnout.router.api.routes import Routes
from turnout.router.api.selection import legal
from turnout.router.queues import Moved
from turnout.router.registry import NotFound
from turnout.shared import names

routes = Routes()


class QueueAnswer(Listing[RunAnswer]):
    """A part of what waits for a flow, the oldest first."""

    queued: int
    """Runs that wait for a worker, as far as the history knows."""
    retrying: int
    """Runs that wait for another attempt."""
    ready: int
    """Messages in the queue that no worker has, as RabbitMQ counts them at this moment."""


class QueueMove(Reason):
    """Where what waits is to go."""

    to: Text
    """Another flow of the group: "group/flow"."""


class MovedAnswer(Answer):
    """What one call moved: some thousand runs at most."""

    moved: int
    left: int
    """Messages in the queue that no worker has; ask again to move them."""
    refused: str
    """Why some stayed; empty: none did."""

    @classmethod
    def of(cls, moved: Moved) -> Self:
        """Show it."""
        return cls.model_validate(moved._asdict())


@routes.get("/flows/{group}/{flow}/queue", refuses=(503,))
async def list_of_flow(call: Call, group: Slug, flow: Slug, query: PageQuery) -> QueueAnswer:
    """List what waits for a flow, the oldest first: from the history, nothing is taken out."""
    position = query.after(f"run_{UUID}")
    found = await call.app[OPERATIONS].queues.waiting(
        await call.registry.flow(group, flow),
        after=position[0] if position else "",
        limit=query.limit + 1,
    )
    directory = await directory_of(call)
    runs, following = cut(found.runs, query.limit, lambda run: (run.id,))
    return QueueAnswer(
        items=[RunAnswer.of(each, directory) for each in runs],
        next_cursor=following,
        queued=found.states["queued"],
        retrying=found.states["retrying"],
        ready=found.ready,
    )


@routes.post("/flows/{group}/{flow}/queue/move", status=200, refuses=(409, 503))
async def move(call: Call, group: Slug, flow: Slug, body: QueueMove) -> MovedAnswer:
    """Move what waits in the queue of a paused flow to another flow; what has begun ends here."""
    source = await call.registry.flow(group, flow)
    owner, slug = legal("to", names.flow_address, body.to)
    if not call.sees(owner):
        raise NotFound("flow", body.to)
    target = await call.registry.flow(owner, slug)
    return MovedAnswer.of(await call.app[OPERATIONS].queues.move(source, target, call.actor))
