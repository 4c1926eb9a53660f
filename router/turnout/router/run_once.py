"""Run once: an operator's test of a flow, over the real route, whose end comes back at once.

ready? ──no──▶ NotReady: nothing is sent
  │ yes
  ▼
turnout.triggers (the trigger's routing key, ahead of others) ──▶ the flow's queue ──▶ worker
  │                                                                                     │
turnout.archive: so that history knows it                                               ▼
result, logs, traceback ◀────────────── Redis channel of this router ◀────────── outcome
"""

import asyncio
import secrets
import time
from typing import NamedTuple

from redis.asyncio import Redis

from turnout.router.depth import Depth
from turnout.router.registry import Actor, Registry, Trigger
from turnout.shared import block, envelope, ids, names, ordering
from turnout.shared.announcement import Announcement
from turnout.shared.block import Block
from turnout.shared.envelope import Envelope
from turnout.shared.errors import BrokerError, TurnoutError
from turnout.shared.outcome import Outcome
from turnout.shared.publisher import Publisher, Verdict
from turnout.shared.replies import Replies

#: RabbitMQ 4 hands such a message out before others; 3.x takes no notice of it.
PRIORITY = 9


class NotReady(TurnoutError):
    """The flow would not run now, so nothing was sent."""


class Readiness(NamedTuple):
    """What decides how soon a flow runs."""

    workers: int
    """Processes that serve it."""
    waiting: int
    """Runs in its queue that no worker has."""
    paused: str | None = None
    """Why the flow is paused; None: it is not."""


class Call(NamedTuple):
    """What the flow is to receive."""

    method: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    path: str = ""
    query: str = ""

    @property
    def content_type(self) -> str:
        """What its headers say of its body."""
        return next((value for name, value in self.headers if name.lower() == "content-type"), "")


class Once(NamedTuple):
    """A test run, as far as it is known."""

    event_id: str
    run_id: str
    readiness: Readiness
    """As it was before."""
    outcome: Outcome | None
    """None: it did not end in time."""


class RunOnce:
    """Starts test runs and waits for them.

    Args:
        registry: knows which flows are paused.
        client: the cache, where workers announce themselves.
        depth: counts what waits.
        publisher: of the router.
        replies: where outcomes arrive.
    """

    def __init__(
        self,
        registry: Registry,
        client: Redis,
        depth: Depth,
        publisher: Publisher,
        replies: Replies,
    ) -> None:
        self._registry = registry
        self._client = client
        self._depth = depth
        self._publisher = publisher
        self._replies = replies
        self._process = f"turnout-router-once-{secrets.token_hex(4)}"
        self._blocks = 0

    async def readiness(self, trigger: Trigger) -> Readiness:
        """Tell who serves the flow of a trigger and what waits before it.

        Raises:
            BrokerError, RedisError: it cannot be known.
        """
        flow = await self._registry.flow(trigger.group, trigger.flow)
        announced = await Announcement.read_all(self._client)
        return Readiness(
            workers=sum(trigger.address in each.flows for each in announced),
            waiting=sum(
                [
                    await self._depth.of(queue)
                    for queue in ordering.queues(trigger.group, trigger.flow, trigger.partitions)
                ]
            ),
            paused=None if flow.paused_at is None else flow.paused_reason or "no reason given",
        )

    async def run(self, trigger: Trigger, call: Call, timeout: float, actor: Actor) -> Once:
        """Run the flow of a trigger once, and wait for its end.

        Args:
            trigger: whose routing key is used.
            call: what the flow receives.
            timeout: seconds to wait. The run goes on after them.
            actor: whose test it is.

        Raises:
            NotReady: no worker would take it now.
            BrokerError, RedisError: it could not be sent.
        """
        readiness = await self.readiness(trigger)
        if not readiness.workers:
            raise NotReady(
                f"no worker serves {trigger.address}, and {readiness.waiting} runs wait for one: "
                "nothing was sent. Start it with `turnout worker MODULE`"
            )
        if readiness.paused is not None:
            raise NotReady(
                f"{trigger.address} is paused ({readiness.paused}), and {readiness.waiting} runs "
                "wait: nothing was sent. Let it go on with `turnout flow resume`"
            )
        event = self._event(trigger, call)
        await self._registry.acting(actor).note(
            "trigger.run-once",
            {"event": event.event_id},
            object_id=trigger.id,
            label=trigger.label,
            group=trigger.group,
        )
        with self._replies.expect(event.run_id) as outcomes:
            await self._publish(event)
            try:
                async with asyncio.timeout(timeout):
                    outcome = await outcomes.get()
            except TimeoutError:
                outcome = None
        return Once(event.event_id, event.run_id, readiness, outcome)

    def _event(self, trigger: Trigger, call: Call) -> Envelope:
        event_id = ids.new(ids.EVENT)
        return Envelope(
            event_id=event_id,
            run_id=ids.same_uuid(event_id, ids.RUN),
            routing_key=ordering.route(
                trigger.route(trigger.routing_key),
                call.body,
                trigger.ordered_by,
                trigger.partitions,
            ),
            trigger_id=trigger.id,
            key_id="",
            flow_id=trigger.flow_id,
            group_id=trigger.group_id,
            group=trigger.group,
            flow=trigger.flow,
            received_at=time.time_ns(),
            method=call.method,
            path=call.path,
            query=call.query,
            headers=call.headers,
            content_type=call.content_type,
            remote="",
            body=call.body,
            kind=envelope.ONCE,
            reply_to=self._replies.channel,
        )

    async def _publish(self, event: Envelope) -> None:
        """Send it to the flow, and into the archive, where history finds it."""
        encoded = event.encode()
        self._blocks += 1
        archived = Block(
            self._process, self._blocks, event.received_at, event.received_at, (encoded,)
        ).encode(compress=True)
        confirms = await asyncio.gather(
            self._publisher.publish(names.ARCHIVE, "", archived, kind=block.TYPE),
            self._publisher.publish(
                names.TRIGGERS,
                event.routing_key,
                encoded,
                kind=envelope.TYPE,
                priority=PRIORITY,
            ),
        )
        for confirm in confirms:
            if confirm.verdict is not Verdict.ACCEPTED:
                raise BrokerError(f"the run once was not published: {confirm.reason}")
