"""The recorder: how many events a second it writes into SQL, and how fast the newest are found.

    bench/run recorder [--events N] [--seconds N] [--database URL]

Three measurements, over private nodes:

1. Catching up: so many events are in the archive, then as many with a start and an end of each in
   the outcomes too; a recorder begins, and is awaited.
2. Looking up: pages of the newest 50 of all these.
3. Beside the full load: router, ingress and a worker under as many calls as go, with the recorder
   in the router; how much it has recorded when the load ends, and how long the rest takes.
"""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

import sqlalchemy as sa
import uvloop
from bench import load, machine, nodes
from bench.load import Failed
from bench.nodes import Nodes
from bench.turnout import Turnout
from tests.support import history
from tests.support.history import declare_streams, writing

from turnout.router.database import Database, open_database
from turnout.router.history import search
from turnout.router.history.models import Event, Run
from turnout.router.history.recorder import Recorder
from turnout.router.history.search import Filter
from turnout.router.link import Links
from turnout.shared import log, outcome
from turnout.shared.envelope import Envelope

_PAGES = 20
_CHUNK = 20_000


async def measure(amqp_url: str, database_url: str, count: int) -> None:
    """Measure and print."""
    await declare_streams(amqp_url, **{"x-stream-max-segment-size-bytes": 100_000_000})
    async with open_database(database_url) as database:
        await database.migrate()
        last = await write_events(amqp_url, count, with_outcomes=False)
        await _catch_up("events alone", amqp_url, database, count, Run.id == last.run_id)
        last = await write_events(amqp_url, count, with_outcomes=True)
        done = sa.and_(Run.id == last.run_id, Run.state == "succeeded")
        await _catch_up("events, a start and an end of each", amqp_url, database, count, done)
        await _look_up(database, last)


async def write_events(amqp_url: str, count: int, *, with_outcomes: bool) -> Envelope:
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
        f"{cpu / count * 1e6:.0f} µs of CPU each; the event loop was held up for "
        f"{worst * 1000:.0f} ms at most)"
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


async def beside_load(found: Nodes, directory: Path, seconds: float) -> None:
    """Measure under as many calls as go, and print."""
    turnout = Turnout(found, directory)
    await turnout.prepare()
    url = f"sqlite+aiosqlite:///{directory / 'registry.db'}"
    async with turnout.running(worker=True), open_database(url) as database:
        flood = await load.flood(turnout.target, seconds)
        meanwhile = await _count(database)
        began = time.monotonic()
        while await _count(database, Run.state == "succeeded") < flood.accepted:  # noqa: ASYNC110 - another process writes
            await asyncio.sleep(0.1)
        rest = time.monotonic() - began
    print(
        f"beside {flood.rate:,.0f} calls/s that are run by a worker: "
        f"{meanwhile / flood.seconds:,.0f} events/s; all is recorded {rest:.1f} s after the load"
    )


async def _count(database: Database, *conditions: sa.ColumnElement[bool]) -> int:
    async with database.reading() as connection:
        query = sa.select(sa.func.count()).select_from(Run).where(*conditions)
        return int(await connection.scalar(query) or 0)


async def main(given: argparse.Namespace) -> None:
    """Measure and print."""
    log.configure("warning", "console")
    load.require_wrk()
    print(machine.describe())
    with tempfile.TemporaryDirectory(prefix="turnout-bench-") as name:
        directory = Path(name)
        async with nodes.running(directory) as found:
            url = given.database or f"sqlite+aiosqlite:///{directory}/recorder.db"
            await measure(found.peers_url, url, given.events)
            if given.seconds:
                await beside_load(found, directory, given.seconds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="bench/run recorder", description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--database", help="postgresql+asyncpg://…; default: a new SQLite file")
    try:
        uvloop.run(main(parser.parse_args()))
    except Failed as failure:
        raise SystemExit(f"failed: {failure}") from None
