"""Look-up: how soon the newest 50 of a million runs are found, by all that the command line offers.

    bench/run lookup [--runs N] [--on sqlite|postgresql]

A history is made of runs of some flows, most of which have succeeded, with some replays at the end;
then a page is asked for by each combination of group, flow, trigger, key, state, time and error
type, of values that nearly all runs have, that few have, and that none has. For each combination
the slowest of three answers counts, after one that warms the cache. The result goes to the terminal
and to docs/performance.md.
"""

import argparse
import itertools
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any

import uvloop
from bench import databases, machine, page
from sqlalchemy import String, insert, text
from sqlalchemy.ext.asyncio import AsyncConnection

from turnout.router.database import Database, open_database
from turnout.router.history import search, states
from turnout.router.history.fold import Rows
from turnout.router.history.models import Attempt, Event, Run
from turnout.router.history.search import Filter
from turnout.router.history.write import write
from turnout.router.replay.models import Replay
from turnout.shared import ids, log

_CHUNK = 20_000
_TIMES = 3
_MOST_MS = 100.0

#: Nanoseconds between two events, and when the newest came.
_APART = 50_000_000
_NOW = time.time_ns()
_HOUR = 3600 * 1_000_000_000

#: What a filter is made of.
_COLUMNS = ("of", "party", "state", "time", "error")

#: Of a hundred runs: how many end so.
_ENDS = ((states.SUCCEEDED, 96), (states.DEAD, 2), (states.QUEUED, 1), (states.CANCELLED, 1))


def rows(number: int, count: int) -> Iterator[tuple[Any, Any, Any]]:
    """Make the rows of runs, oldest first: of events, of runs, of attempts."""
    chosen = random.Random(number)
    ends = [state for state, share in _ENDS for _ in range(share)]
    for each in range(number, number + _CHUNK):
        at = _NOW - (count - each) * _APART
        uuid = f"{at // 1_000_000:012x}7{chosen.getrandbits(76):019x}"
        rare = each % 10_000 == 0
        flow = chosen.randrange(12)
        first = int(count * 0.9)
        replay = f"rpl_{1:032x}" if each >= first else None
        run_id = f"run_{uuid}"
        if replay:
            run_id = ids.derived(ids.RUN, _NOW // 1_000_000, each - first, "")
        state = ends[chosen.randrange(100)]
        error = f"shop.Error{chosen.randrange(4)}: no" if state == states.DEAD else None
        yield (
            (
                *(f"evt_{uuid}", at, "POST", "", "application/json", "203.0.113.7", 230),
                *divmod(each, 20),
            ),
            (
                *(run_id, f"evt_{uuid}"),
                *(("rare", "rare") if rare else (f"group-{flow % 3}", f"flow-{flow}")),
                f"trg_{99 if rare else flow * 2 + each % 2:032x}",
                f"key_{99 if rare else each % 5:032x}",
                *("replay" if replay else "event", None, replay),
                *(state, 1, states.progress(state, 1), at, at + 5_000_000),
                *(error and error.partition(":")[0], error),
            ),
            (
                f"run_{uuid}",
                1,
                at,
                at + 5_000_000,
                state,
                "wrk_1",
                "",
                False,
                error,
                None,
                None,
                None,
            ),
        )


async def fill(database: Database, count: int) -> None:
    """Write a history of so many runs."""
    for begin in range(0, count, _CHUNK):
        events, runs, attempts = zip(*rows(begin, count), strict=True)
        async with database.writing(durable=False) as connection:
            if connection.dialect.name == "postgresql":
                await _copy(connection, {Event: events, Run: runs, Attempt: attempts})
            else:
                await write(connection, Rows(events, list(map(list, runs)), [], [], attempts))
    async with database.writing() as connection:
        columns = {each.name: each for each in Replay.__table__.c if not each.nullable}
        values = {
            name: "" if isinstance(each.type, String) else 0 for name, each in columns.items()
        }
        values |= {"id": f"rpl_{1:032x}", "position": count // 10, "started_at": _NOW}
        await connection.execute(insert(Replay).values(values | {"dry_run": False}))
        if connection.dialect.name == "postgresql":  # as it does by itself, some time later
            await connection.execute(text("ANALYZE"))


async def _copy(connection: AsyncConnection, tables: dict[Any, Any]) -> None:
    driver: Any = (await connection.get_raw_connection()).driver_connection
    for model, records in tables.items():
        await driver.copy_records_to_table(model.__tablename__, records=records)


def filters() -> Iterator[tuple[dict[str, str], Filter]]:
    """Return all combinations: as words, and as what the history looks for."""
    parties: dict[str, dict[str, Any]] = {
        "-": {},
        "group": {"group": "group-1"},
        "group, rare": {"group": "rare"},
        "flow": {"group": "group-1", "flow": "flow-4"},
        "flow, rare": {"group": "rare", "flow": "rare"},
        "trigger": {"trigger_id": f"trg_{8:032x}"},
        "trigger, rare": {"trigger_id": f"trg_{99:032x}"},
        "key": {"key_id": f"key_{3:032x}"},
        "key, rare": {"key_id": f"key_{99:032x}"},
        "key, never used": {"key_id": "key_none"},
        "flow and key": {"group": "group-1", "flow": "flow-4", "key_id": f"key_{3:032x}"},
        "trigger and key": {"trigger_id": f"trg_{8:032x}", "key_id": f"key_{3:032x}"},
    }
    of_states: dict[str, dict[str, Any]] = {
        "-": {},
        **{state: {"state": state} for state in (states.SUCCEEDED, states.DEAD, states.RETRYING)},
    }
    times: dict[str, dict[str, Any]] = {
        "-": {},
        "last hour": {"since": _NOW - _HOUR},
        "an hour before": {"since": _NOW - 4 * _HOUR, "until": _NOW - 3 * _HOUR},
    }
    errors: dict[str, dict[str, Any]] = {
        "-": {},
        "error": {"error_type": "Error2"},
        "error that never was": {"error_type": "shop.Never"},
    }
    kinds: dict[str, dict[str, Any]] = {"runs": {}, "events": {"replays": False}}
    every = (kinds, parties, of_states, times, errors)
    for some in itertools.product(*(each.items() for each in every)):
        names = dict(zip(_COLUMNS, (name for name, _ in some), strict=True))
        yield names, Filter(**{key: value for _, fields in some for key, value in fields.items()})


async def look_up(database: Database) -> list[tuple[float, dict[str, str]]]:
    """Measure each combination; return milliseconds, the slowest first."""
    found = []
    for names, wanted in filters():
        slowest = 0.0
        for number in range(_TIMES + 1):
            began = time.perf_counter()
            async with database.reading() as connection:
                await search.newest(connection, wanted, before=None, limit=50)
            if number:
                slowest = max(slowest, time.perf_counter() - began)
        found.append((slowest * 1000, names))
    return sorted(found, key=lambda each: each[0], reverse=True)


async def measure(url: str, count: int) -> list[tuple[float, dict[str, str]]]:
    """Measure one database."""
    async with open_database(url) as database:
        await database.migrate()
        began = time.monotonic()
        await fill(database, count)
        print(f"{count:,} runs written in {time.monotonic() - began:.0f} s")
        return await look_up(database)


def tell(found: Sequence[tuple[float, dict[str, str]]]) -> None:
    """Print the slowest answers, and the slowest by each condition."""
    for column in _COLUMNS:
        by_value: dict[str, float] = {}
        for milliseconds, names in found:
            by_value.setdefault(names[column], milliseconds)
        print(f"  {column}: " + ", ".join(f"{value} {ms:.1f}" for value, ms in by_value.items()))
    for milliseconds, names in found[:12]:
        print(f"  {milliseconds:7.1f} ms  {names}")


def main(given: argparse.Namespace) -> None:
    """Measure, print and write."""
    log.configure("warning", "console")
    rows = []
    for name in given.on:
        print(f"\n{databases.NAMES[name]}:")
        with databases.empty(name) as url:
            found = uvloop.run(measure(url, given.runs))
        tell(found)
        times = [milliseconds for milliseconds, _ in found]
        quantiles = (statistics.median(times), statistics.quantiles(times, n=100)[98], times[0])
        slow = sum(each > _MOST_MS for each in times)
        rows.append((databases.NAMES[name], *(f"{each:.1f}" for each in quantiles), f"{slow}"))
    table = page.table(
        (
            "the newest 50 by each combination, ms",
            *("p50", "p99", "slowest", f"over {_MOST_MS:g} ms"),
        ),
        rows,
    )
    text = f"{given.runs:,} runs, {len(found)} combinations. {machine.describe()}.\n\n{table}"
    print(f"\n{text}")
    page.replace("lookup", text)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="bench/run lookup", description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--on", choices=databases.NAMES, nargs="+", default=list(databases.NAMES))
    main(parser.parse_args())
