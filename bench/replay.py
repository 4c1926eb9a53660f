"""Replay: how many events of the archive run again in a second, beside what the broker can take.

    bench/run replay [--events N] [--database URL]

Over private nodes: so many events are archived and recorded. Then one publisher publishes bodies
like theirs as fast as the broker confirms; and a replay of all events is planned, and runs as fast
as it goes: read from the archive, published with confirms, written into the history. A process
beside takes everything out of the queues.
"""

import argparse
import asyncio
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa
import uvloop
from bench import machine, nodes, page
from bench.recorder import write_events
from pamqp import commands
from tests.support.history import declare_streams, event

from turnout.router.database import Database, open_database
from turnout.router.declare import declare
from turnout.router.depth import Depth
from turnout.router.history.archive import Archive
from turnout.router.history.models import Run
from turnout.router.history.recorder import Recorder
from turnout.router.history.search import Filter
from turnout.router.link import Links
from turnout.router.registry.change import ROUTER
from turnout.router.replay.plan import Selection
from turnout.router.replay.replay import Replay
from turnout.router.replay.replays import Replays
from turnout.router.topology import Queue, Topology
from turnout.shared import envelope, log, names, service
from turnout.shared.amqp import Channel, Delivery, Link
from turnout.shared.publisher import ACCEPTED, Confirm, Publisher

_BATCH = 500
_UNDER_WAY = 20


class _Taker(Channel):
    """Takes everything out of a queue."""

    def __init__(self) -> None:
        super().__init__()
        self._count = 0

    def on_delivery(self, delivery: Delivery) -> None:
        self._count += 1
        if not self._count % 100:
            self.ack(delivery.tag, multiple=True)


def take_all(url: str, queues: Sequence[str]) -> None:
    """Take everything out of some queues, for ever; a process of its own."""

    async def take() -> None:
        link = await Link.connect(url, name="bench takes")
        for queue in queues:
            taker = _Taker()
            await link.open(taker)
            await taker.call(commands.Basic.Qos(prefetch_count=2000), commands.Basic.QosOk)
            await taker.call(commands.Basic.Consume(queue=queue), commands.Basic.ConsumeOk)
        await link.closed

    uvloop.run(take())


@contextmanager
def taking(url: str, queues: Sequence[str]) -> Iterator[None]:
    """Take everything out of some queues, for the length of a context."""
    process = multiprocessing.get_context("spawn").Process(target=take_all, args=(url, queues))
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join()


async def record(amqp_url: str, database: Database, count: int) -> None:
    """Archive events, and wait until they are recorded."""
    last = await write_events(amqp_url, count, with_outcomes=False)
    links = Links([amqp_url], "recorder")
    recorder = asyncio.create_task(Recorder(database, links).run())

    async def is_done() -> bool:
        async with database.reading() as connection:
            return bool(await connection.scalar(sa.select(Run.id).where(Run.id == last.run_id)))

    while not await is_done():  # noqa: ASYNC110 - the database is asked
        await asyncio.sleep(0.2)
    recorder.cancel()
    await asyncio.wait([recorder])
    await links.close()


async def publish(publisher: Publisher, queues: Sequence[str], count: int) -> float:
    """Publish bodies as fast as they are confirmed; return how many in a second."""
    bodies = [event(number).encode() for number in range(_BATCH)]
    under_way: list[list[asyncio.Future[Confirm]]] = []
    began = time.monotonic()
    for number in range(0, count, _BATCH):
        if len(under_way) == _UNDER_WAY:
            for confirm in under_way.pop(0):
                assert await confirm == ACCEPTED
        queue = queues[number // _BATCH % len(queues)]
        under_way.append(
            [publisher.publish("", queue, each, kind=envelope.TYPE) for each in bodies]
        )
    for batch in under_way:
        for confirm in batch:
            assert await confirm == ACCEPTED
    return count / (time.monotonic() - began)


class Replayed(NamedTuple):
    """What a replay took."""

    planned: float
    """Seconds to plan it."""
    took: float
    """Seconds from its start to its end."""
    cpu: float
    """Seconds of CPU of this process meanwhile."""


async def replay(replays: Replays, count: int) -> Replayed:
    """Plan and run a replay of all."""

    async def after(state: str) -> Replay:
        while (found := await replays.get(made.id)).state == state:  # noqa: ASYNC110 - the same
            await asyncio.sleep(0.05)
        return found

    began = time.monotonic()
    wanted = Selection(filter=Filter(until=time.time_ns()))
    made = await replays.plan(wanted, rate=0, actor=ROUTER)
    found = await after("planning")
    planned = time.monotonic() - began
    assert (found.total, found.gone) == (count, 0), found
    began, cpu = time.monotonic(), time.process_time()
    await replays.start(made.id, None, ROUTER)
    found = await after("running")
    assert (found.state, found.skipped) == ("done", 0), found
    return Replayed(planned, time.monotonic() - began, time.process_time() - cpu)


async def main(given: argparse.Namespace) -> None:
    """Measure, print and write."""
    log.configure("warning", "console")
    count: int = given.events
    flows = {(each.group, each.flow) for each in map(event, range(20))}
    queues = [names.flow_queue(*each) for each in sorted(flows)]
    with tempfile.TemporaryDirectory(prefix="turnout-bench-") as name:
        async with nodes.running(Path(name)) as found:
            url = found.peers_url
            await declare_streams(url, **{"x-stream-max-segment-size-bytes": 100_000_000})
            link = await Link.connect(url, name="bench declares")
            quorum = {"x-queue-type": "quorum"}
            await declare(link, Topology(queues=frozenset(Queue(each, quorum) for each in queues)))
            await link.close()
            versions = await found.versions()
            database_url = given.database or f"sqlite+aiosqlite:///{name}/replay.db"
            async with open_database(database_url) as database:
                await database.migrate()
                await record(url, database, count)
                links = Links([url], "replay")
                publisher = Publisher([url], name="replay publishes")
                await publisher.start()
                await publisher.ready()
                replays = Replays(database, Archive(links), publisher, Depth(links))
                running = asyncio.create_task(replays.run())
                service.ready()  # the garbage collector is that of a router
                with taking(url, queues):
                    alone = await publish(publisher, queues, count)
                    done = await replay(replays, count)
                running.cancel()
                await asyncio.wait([running])
                await publisher.close()
                await links.close()
    table = page.table(
        (f"{count:,} events", "a second"),
        [
            ("planned", f"{count / done.planned:,.0f}"),
            ("replayed", f"{count / done.took:,.0f}"),
            ("published alone, by one publisher", f"{alone:,.0f}"),
            ("replayed, of what can be published", f"{count / done.took / alone:.2f}"),
            ("CPU of the router for each", f"{done.cpu / count * 1e6:.0f} µs"),
            (
                "memory at most",
                f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB",
            ),
        ],
    )
    about = f"{table}\n{machine.describe()}. {versions}."
    print(about)
    page.replace("replay", about)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="bench/run replay", description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--database", help="postgresql+asyncpg://…; default: a new SQLite file")
    uvloop.run(main(parser.parse_args()))
