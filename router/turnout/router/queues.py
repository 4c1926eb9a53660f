"""What waits for a flow: shown from the history, and moved to another flow.

    queue of A ──the router takes──▶ published to B, confirmed ──▶ history says B ──▶ acknowledged

A message goes to one consumer, so a run is taken here, or by a worker of A that runs it. A is
paused while its queue is moved. A router that dies between confirmation and acknowledgement leaves
some runs in both queues: the next command moves them again, as copies with the same ids, which B's
workers know by their idempotency keys.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import NamedTuple, cast

from redis.asyncio import Redis

from turnout.router.consumer import Consumer, consuming
from turnout.router.database import Database
from turnout.router.depth import Depth
from turnout.router.history import search
from turnout.router.history.search import Record
from turnout.router.history.write import move
from turnout.router.link import Links
from turnout.router.registry import Actor, Flow, Invalid, WrongState, changing
from turnout.shared import envelope, names
from turnout.shared.amqp import Delivery
from turnout.shared.envelope import Envelope
from turnout.shared.errors import InvalidEnvelope
from turnout.shared.notices import Cancelled
from turnout.shared.ordering import queues
from turnout.shared.publisher import Publisher, Verdict

#: Runs that one call looks at, at most, and that are under way together: a few seconds of work.
_MOST = 10_000
_TOGETHER = 500
#: Seconds without a further message that mean: there is none.
_QUIET = 0.5


class Waiting(NamedTuple):
    """What waits for a flow."""

    runs: list[Record]
    """A part of it, the oldest first."""
    states: dict[str, int]
    """How many runs wait in which state, as far as the history knows."""
    ready: int
    """Messages that no worker has, as the broker counts them at this moment."""


class Moved(NamedTuple):
    """What one call moved."""

    moved: int
    left: int
    """Messages that are in the queue still."""
    refused: str
    """Why some stayed where they were; "" if none did."""


class Queues:
    """The verbs of the queues of flows.

    Args:
        database: holds the history.
        links: the connection to the broker.
        publisher: of the router.
        depth: counts what waits.
        client: the cache, which has the cancelled runs.
    """

    def __init__(
        self,
        database: Database,
        links: Links,
        publisher: Publisher,
        depth: Depth,
        client: Redis,
    ) -> None:
        self._database = database
        self._links = links
        self._publisher = publisher
        self._depth = depth
        self._client = client

    async def waiting(self, flow: Flow, *, after: str, limit: int) -> Waiting:
        """Tell what waits for a flow.

        Raises:
            BrokerError: the broker cannot be asked.
        """
        group, slug = flow.group, flow.slug
        async with self._database.reading() as connection:
            runs = await search.waiting(connection, group, slug, after=after, limit=limit)
            states = await search.count_waiting(connection, group, slug)
        ready = [await self._depth.of(each) for each in queues(group, slug, flow.partitions)]
        return Waiting(runs, states, sum(ready))

    async def move(self, flow: Flow, target: Flow, actor: Actor) -> Moved:
        """Move what waits in a flow's queue to another flow, or some thousand of it.

        Runs that have begun end where they are; those that wait for another attempt come back to
        their own flow. A cancelled run stays, to be reported as such.

        Raises:
            BrokerError: the broker does not go on; what was moved is.
            Invalid: the target is of another group, or the same.
            WrongState: the flow is not paused, or one of both is ordered.
        """
        _check(flow, target)
        async with changing(self._database, actor) as change:
            await change.note(
                "flow.move_queue",
                object_id=flow.id,
                label=flow.address,
                group=flow.group,
                detail={"to": target.address},
            )
        return await self._move(flow, target)

    async def _move(self, flow: Flow, target: Flow) -> Moved:
        source = names.flow_queue(flow.group, flow.slug)
        notices = await self._client.hgetall(names.cancelled(flow.address))
        cancelled = Cancelled(cast("dict[bytes, bytes]", notices))
        moved, acknowledged, kept, room, refused = 0, 0, 0, _TOGETHER, ""
        async with consuming(self._links, source, _TOGETHER) as consumer:
            while moved + kept < _MOST and not refused and (some := await _next(consumer)):
                runs = [_run(each, flow, target, cancelled) for each in some]
                pairs = [(d, run) for d, run in zip(some, runs, strict=True) if run is not None]
                kept += len(some) - len(pairs)
                if room - kept < _TOGETHER // 2:  # else what stays would let nothing more come
                    await consumer.begin(source, _TOGETHER + kept - room)
                    room = _TOGETHER + kept
                done, refused = await self._publish([run for _, run in pairs], target)
                if done:
                    async with self._database.writing() as connection:
                        taken = [run for _, run in pairs if run.run_id in done]
                        await move(connection, taken, f"moved from {flow.address}")
                for delivery, run in pairs:
                    if run.run_id in done:
                        consumer.ack(delivery.tag)
                        acknowledged += 1
                moved += len(done)
            # Before what came and stays goes back: that takes the broker a moment.
            left = await consumer.cease() - acknowledged + await self._depth.of(source)
        if kept and (not moved or moved + kept < _MOST):  # else there is more to look at
            refused = refused or f"{kept} are cancelled, or cannot be read"
        return Moved(moved, left, refused)

    async def _publish(self, runs: Sequence[Envelope], target: Flow) -> tuple[set[str], str]:
        """Publish runs; return the ids of those that the broker has, and why it has not others."""
        queue = names.flow_queue(target.group, target.slug)
        confirms = await asyncio.gather(
            *(self._publisher.publish("", queue, e.encode(), kind=envelope.TYPE) for e in runs)
        )
        done: set[str] = set()
        refused = ""
        for run, confirm in zip(runs, confirms, strict=True):
            if confirm.verdict is Verdict.ACCEPTED:
                done.add(run.run_id)
            else:
                refused = confirm.reason
        return done, refused


def _check(flow: Flow, target: Flow) -> None:
    """Make sure that what waits for one flow can be moved to another.

    Raises:
        Invalid: the target is of another group, or the same.
        WrongState: the flow is not paused, or one of both is ordered.
    """
    if target.group != flow.group:
        raise Invalid("to", "nothing crosses a group")
    if target.address == flow.address:
        raise Invalid("to", "it is the same flow")
    if flow.partitions or target.partitions:
        raise WrongState("a flow with an order keeps what waits for it: a move would break it")
    if flow.paused_at is None:
        raise WrongState(
            f"pause {flow.address} first, so that no run of it starts while they are moved"
        )


async def _next(consumer: Consumer) -> list[Delivery]:
    """Return what has come; nothing, if there is no more."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_QUIET):
            return await consumer.take()
    return []


def _run(delivery: Delivery, flow: Flow, target: Flow, cancelled: Cancelled) -> Envelope | None:
    """Return the run as the target gets it; None: it stays."""
    try:
        run = Envelope.decode(delivery.body)
    except InvalidEnvelope:
        return None
    if cancelled and cancelled.reason(run.run_id) is not None:
        return None
    return run._replace(
        flow=target.slug,
        flow_id=target.id,
        # By it the workers of the target find out if a crash has made it come twice.
        idempotency=run.idempotency or run.run_id,
    )
