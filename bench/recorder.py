"""The recorder: how many events a second it writes into SQLite, and how fast the newest are found.

    bench/run recorder [--events N] [--database URL]

Writes events in blocks and their outcomes into the two streams of a private RabbitMQ, then lets a
recorder catch up, first with the events alone and then with the outcomes of the same number of
other events as well. Then it looks up pages of the newest 50. Prints what came of it.

How the recorder fares beside the full load of calls is measured with the whole system:
`bench/run ingest`.
"""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

import sqlalchemy as sa
import uvloop
from bench.machine import describe
from tests.support import brokers, history
from tests.support.history import declare_streams, writing

from turnout.router.database import Database, open_database
from turnout.router.history import search
from turnout.router.history.models import Event, Run
from turnout.router.history.recorder import Recorder
from turnout.router.history.search import Filter
from turnout.router.link import Links
from turnout.shared import log, outcome
from turnout.shared.envelope import Envelope

_VHOST = "bench"
_PAGES = 20
_CHUNK = 20_000


async def measure(amqp_url: str, database_url: str, count: int) -> None:
    """Measure and print."""
    await declare_streams(amqp_url, **{"x-stream-max-segment-size-bytes": 100_000_000})
    async with open_database(database_url) as database:
        await database.migrate()
        last = await _write(amqp_url, count, with_outcomes=False)
        await _catch_up("events alone", amqp_url, database, count, Run.id == last.run_id)
        last = await _write(amqp_url, count, with_outcomes=True)
        done = sa.and_(Run.id == last.run_id, Run.state == "succeeded")
        await _catch_up("events, a start and an end of each", amqp_url, database, count, done)
        await _look_up(database, last)


async def _write(amqp_url: str, count: int, *, with_outcomes: bool) -> Envelope:
    """Write events as ingress does under load, some 20 in a block; return the last."""
    async with writing(amqp_url) as writer:
        for begin in range(0, count, _CHUNK):
            events = [history.event(number) for number in range(begin, min(begin + _CHUNK, count))]
            await writer.events(events, in_block=20)
            if with_outcomes:
                started = [history.ended(each, outcome.STARTED) for each in events]
                ended = [history.ended(each) for each in events]
                await writer.outcomes(
                    [each for pair in zip(started, ended, strict=True) for each in pair],
                    in_message=40,
                )
    return events[-1]


async def _catch_up(
    what: str, amqp_url: str, database: Database, count: int, done: sa.ColumnElement[bool]
) -> None:
    links = Links([amqp_url], "recorder")
    began, cpu = time.monotonic(), time.process_time()
    recorder = asyncio.create_task(Recorder(database, links).run())

    async def is_done() -> bool:
        async with database.reading() as connection:
            return bool(await connection.scalar(sa.select(Run.id).where(done)))

    worst = 0.0
    while not await is_done():
        tick = time.monotonic()
        await asyncio.sleep(0.05)
        worst = max(worst, time.monotonic() - tick - 0.05)
    took, cpu = time.monotonic() - began, time.process_time() - cpu
    print(
        f"{what}: {count / took:,.0f} events/s ({count:,} in {took:.1f} s, "
        f"{cpu / count * 1e6:.0f} µs of CPU each; the event loop was held up for {worst * 1000:.0f} ms at most)"
    )
    recorder.cancel()
    await asyncio.wait([recorder])
    await links.close()


async def _look_up(database: Database, last: Envelope) -> None:
    async with database.reading() as connection:
        total = await connection.scalar(sa.select(sa.func.count()).select_from(Event))
    wanted = {
        "the newest 50": Filter(),
        "of a group": Filter(group=last.group),
        "of a flow": Filter(group=last.group, flow=last.flow),
        "of a trigger": Filter(trigger_id=last.trigger_id),
        "of a key": Filter(key_id=last.key_id),
        "of a key that was never used": Filter(key_id="key_none"),
        "that are dead, of which there are none": Filter(state="dead"),
        "of a flow that are dead": Filter(group=last.group, flow=last.flow, state="dead"),
    }
    print(f"pages of the newest 50 of {total:,} events, the slowest of {_PAGES}:")
    for name, filter_ in wanted.items():
        slowest = 0.0
        for _ in range(_PAGES):
            began = time.perf_counter()
            async with database.reading() as connection:
                await search.newest(connection, filter_, before=None, limit=50)
            slowest = max(slowest, time.perf_counter() - began)
        print(f"  {name}: {slowest * 1000:.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--database", help="postgresql+asyncpg://…; default: a new SQLite file")
    given = parser.parse_args()
    log.configure("warning", "console")
    print(describe())
    with tempfile.TemporaryDirectory() as directory:
        url = given.database or f"sqlite+aiosqlite:///{directory}/turnout.db"
        with brokers.private_rabbitmq(Path(directory) / "rabbitmq") as broker:
            broker.management.make_vhost(_VHOST)
            uvloop.run(measure(broker.amqp_url(_VHOST), url, given.events))


if __name__ == "__main__":
    main()
