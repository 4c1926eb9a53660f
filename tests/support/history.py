"""Events and outcomes as ingress and workers write them, as many as a test wants."""

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

from turnout.router.declare import declare
from turnout.router.topology import Binding, Exchange, Queue, Topology
from turnout.shared import block, ids, names, outcome
from turnout.shared.amqp import Link
from turnout.shared.block import Block
from turnout.shared.envelope import Envelope
from turnout.shared.outcome import Outcome
from turnout.shared.publisher import Publisher, Verdict

_Item = TypeVar("_Item")

#: Messages that are under way at once.
_TOGETHER = 200

_STREAM = {"x-queue-type": "stream", "x-stream-max-segment-size-bytes": 1_000_000}

#: The worker of all outcomes.
WORKER = "wrk_" + "0" * 32

#: Of what events are made: a few triggers of a few flows, called with a few keys.
_ROUTES = [
    (f"trg_{number:032x}", f"key_{number % 7:032x}", group, flow)
    for number, (group, flow) in enumerate(
        itertools.product(("crm", "shop", "ops"), ("update", "import", "report", "sync"))
    )
]


def event(number: int = 0, **fields: Any) -> Envelope:
    """Make an event; the route follows from its number unless fields say otherwise."""
    trigger_id, key_id, group, flow = _ROUTES[number % len(_ROUTES)]
    event_id = ids.new(ids.EVENT)
    envelope = Envelope(
        event_id=event_id,
        run_id=ids.same_uuid(event_id, ids.RUN),
        routing_key="r" * 24,
        trigger_id=trigger_id,
        key_id=key_id,
        flow_id="flw_" + "0" * 32,
        group_id="grp_" + "0" * 32,
        group=group,
        flow=flow,
        received_at=time.time_ns(),
        method="POST",
        path="",
        query="",
        headers=(("Content-Type", "application/json"), ("User-Agent", "tests/1")),
        content_type="application/json",
        remote="203.0.113.7",
        body=b'{"number": %d, "order": {"id": "A-%d"}}' % (number, number),
    )
    return envelope._replace(**fields)


def ended(envelope: Envelope, state: str = outcome.SUCCEEDED, **fields: Any) -> Outcome:
    """Make an outcome of an attempt at an event."""
    attempt = fields.get("attempt", 1)
    started_at = envelope.received_at + attempt * 1_000_000_000
    made = Outcome(
        state=state,
        event_id=envelope.event_id,
        run_id=envelope.run_id,
        attempt=attempt,
        group=envelope.group,
        flow=envelope.flow,
        worker_id=WORKER,
        started_at=started_at,
        ended_at=0 if state == outcome.STARTED else started_at + 5_000_000,
    )
    if state in {outcome.RETRYING, outcome.DEAD}:
        made = made._replace(error="ValueError: no", traceback="Traceback …\nValueError: no")
    return made._replace(**fields)


def story(envelope: Envelope, chosen: random.Random) -> list[Outcome]:
    """Make all outcomes of a run: some end well at once, some after retries, some never."""
    outcomes = []
    last = chosen.choice([1, 1, 1, 2, 3])
    for attempt in range(1, last + 1):
        begun = ended(envelope, outcome.STARTED, attempt=attempt)
        final = chosen.choice([outcome.SUCCEEDED, outcome.SUCCEEDED, outcome.DEAD])
        outcomes += [
            begun,
            ended(envelope, outcome.RETRYING if attempt < last else final, attempt=attempt),
        ]
    return outcomes


def moment(nanoseconds: int) -> datetime:
    """Return a moment of an envelope."""
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC)


async def declare_streams(url: str, **arguments: Any) -> None:
    """Declare the archive and the outcomes, with small segments."""
    streams = [Queue(name, {**_STREAM, **arguments}) for name in (names.ARCHIVE, names.OUTCOMES)]
    link = await Link.connect(url, name="test")
    await declare(
        link,
        Topology(
            frozenset(Exchange(each.name) for each in streams),
            frozenset(streams),
            frozenset(Binding(each.name, each.name) for each in streams),
        ),
    )
    await link.close()


class Writer:
    """Writes to both streams, as one ingress and one worker.

    Args:
        publisher: publishes to the broker.
    """

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._sequence = 0

    async def events(
        self,
        events: Sequence[Envelope],
        *,
        in_block: int = 50,
        verdicts: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Write events in blocks, and verdicts with the first of them."""
        told = tuple(verdicts)
        bodies = []
        for group in _groups(events, in_block) if events else iter([()]):
            self._sequence += 1
            written = Block(
                process="test",
                sequence=self._sequence,
                first=group[0].received_at if group else 0,
                last=group[-1].received_at if group else 0,
                events=tuple(each.encode() for each in group),
                verdicts=told,
            )
            bodies.append(written.encode(compress=True))
            told = ()
        await self._publish(names.ARCHIVE, block.TYPE, bodies)

    async def outcomes(self, outcomes: Sequence[Outcome], *, in_message: int = 50) -> None:
        """Write outcomes, so many together."""
        bodies = [outcome.encode(group) for group in _groups(outcomes, in_message)]
        await self._publish(names.OUTCOMES, outcome.TYPE, bodies)

    async def _publish(self, exchange: str, kind: str, bodies: Iterable[bytes]) -> None:
        for group in _groups(list(bodies), _TOGETHER):
            confirms = await asyncio.gather(
                *(self._publisher.publish(exchange, "", each, kind=kind) for each in group)
            )
            assert all(each.verdict is Verdict.ACCEPTED for each in confirms)


@asynccontextmanager
async def writing(url: str) -> AsyncIterator[Writer]:
    """Write to both streams for the length of a context."""
    publisher = Publisher([url], name="test")
    await publisher.start()
    await publisher.ready()
    yield Writer(publisher)
    await publisher.close()


def _groups(items: Sequence[_Item], size: int) -> Iterator[Sequence[_Item]]:
    for begin in range(0, len(items), size):
        yield items[begin : begin + size]
