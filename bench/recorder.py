"""The recorder: how many events a second it writes into SQL.

    bench/run recorder [--events N] [--seconds N] [--database URL]

Two measurements, over private nodes; the result goes to the terminal and to docs/performance.md.

1. Catching up: so many events are in the archive, then as many with a start and an end of each in
   the outcomes too; a recorder begins, and is awaited.
2. Beside the full load: router and ingress, then a worker too, under as many calls as go, with the
   recorder in the router; how much it has recorded when the load ends, and how long the rest takes.
"""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

import sqlalchemy as sa
import uvloop
from bench import load, machine, nodes, page
from bench.load import Failed
from bench.turnout import Turnout
from tests.support import history
from tests.support.history import declare_streams, writing

from turnout.router.database import Database, open_database
from turnout.router.history.models import Run
from turnout.router.history.recorder import Recorder
from turnout.router.link import Links
from turnout.shared import log, outcome
from turnout.shared.envelope import Envelope

_CHUNK = 20_000


_CATCHING_UP = ("catching up", "events/s", "router CPU µs", "event loop held up, ms")
_BESIDE = ("beside", "calls/s", "recorded/s meanwhile", "all recorded after, s")

Row = tuple[str, ...]


async def catch_up(amqp_url: str, database_url: str, count: int) -> list[Row]:
    """Measure how fast the recorder reads what came before it."""
    await declare_streams(amqp_url, **{"x-stream-max-segment-size-bytes": 100_000_000})
    async with open_database(database_url) as database:
        await database.migrate()
        last = await write_events(amqp_url, count, with_outcomes=False)
        alone = await _catch_up(amqp_url, database, count, Run.id == last.run_id)
        last = await write_events(amqp_url, count, with_outcomes=True)
        done = sa.and_(Run.id == last.run_id, Run.state == "succeeded")
        ended = await _catch_up(amqp_url, database, count, done)
    return [("events alone", *alone), ("events, and a start and an end of each", *ended)]


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
    amqp_url: str, database: Database, count: int, done: sa.ColumnElement[bool]
) -> Row:
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
    recorder.cancel()
    await asyncio.wait([recorder])
    await links.close()
    return f"{count / took:,.0f}", f"{cpu / count * 1e6:.0f}", f"{worst * 1000:.0f}"


async def beside_load(turnout: Turnout, directory: Path, seconds: float, *, worker: bool) -> Row:
    """Measure under as many calls as go, which a worker runs or nobody."""
    url = f"sqlite+aiosqlite:///{directory / 'registry.db'}"
    async with turnout.running(worker=worker), open_database(url) as database:
        before = await _count(database, worker)
        flood = await load.flood(turnout.target, seconds)
        meanwhile = await _count(database, worker) - before
        began = time.monotonic()
        while await _count(database, worker) - before < flood.accepted:  # noqa: ASYNC110 - another process writes
            await asyncio.sleep(0.1)
        rest = time.monotonic() - began
        await turnout.count(flood.accepted, worker=worker)
    what = "ingress, and a worker that runs all" if worker else "ingress"
    return what, f"{flood.rate:,.0f}", f"{meanwhile / flood.seconds:,.0f}", f"{rest:.1f}"


async def _count(database: Database, ended: bool) -> int:
    """Count the runs, or those that have ended."""
    async with database.reading() as connection:
        query = sa.select(sa.func.count()).select_from(Run)
        if ended:
            query = query.where(Run.state == "succeeded")
        return int(await connection.scalar(query) or 0)


async def main(given: argparse.Namespace) -> None:
    """Measure, print and write."""
    log.configure("warning", "console")
    load.require_wrk()
    with tempfile.TemporaryDirectory(prefix="turnout-bench-") as name:
        directory = Path(name)
        async with nodes.running(directory) as found:
            url = given.database or f"sqlite+aiosqlite:///{directory}/recorder.db"
            caught_up = await catch_up(found.peers_url, url, given.events)
            turnout = Turnout(found, directory)
            await turnout.prepare()
            beside = [
                await beside_load(turnout, directory, given.seconds, worker=worker)
                for worker in (False, True)
            ]
            about = f"{given.events:,} events. {machine.describe()}; {await found.versions()}."
    text = f"{page.table(_CATCHING_UP, caught_up)}\n{page.table(_BESIDE, beside)}\n{about}"
    print(text)
    if given.database is None:
        page.replace("recorder", text)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="bench/run recorder", description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--database", help="postgresql+asyncpg://…; default: a new SQLite file")
    try:
        uvloop.run(main(parser.parse_args()))
    except Failed as failure:
        raise SystemExit(f"failed: {failure}") from None
