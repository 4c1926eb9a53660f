"""How long do the statistics of a flow take, with very many runs in the history?

    bench/run statistics [--runs N] [--on sqlite|postgresql]

So many runs of one flow are written into SQL, one of a hundred dead; then its statistics are read
five times. The result goes to the terminal and to docs/performance.md.
"""

import argparse
import asyncio
import random
import time
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from bench import databases, machine, page

from turnout.router.database import Database, open_database
from turnout.router.history.models import Run
from turnout.router.history.search import Filter
from turnout.router.history.statistics import statistics
from turnout.shared import ids

_CHUNK = 10_000
_TIMES = 5
_FLOW = Filter(group="crm", flow="update", since=0)


def _runs(count: int) -> Iterator[dict[str, Any]]:
    for number in range(count):
        began = time.time_ns()
        run_id = ids.new(ids.RUN)
        yield {
            "id": run_id,
            "event_id": ids.same_uuid(run_id, ids.EVENT),
            "group_slug": "crm",
            "flow_slug": "update",
            "trigger_id": f"trg_{number % 5:032x}",
            "key_id": f"key_{number % 7:032x}",
            "kind": "event",
            "state": "dead" if number % 100 == 0 else "succeeded",
            "attempt": 1,
            "progress": 1,
            "started_at": began,
            "ended_at": began + random.randrange(1_000_000_000),
        }


async def fill(database: Database, count: int) -> None:
    """Write runs."""
    runs = _runs(count)
    for _ in range(0, count, _CHUNK):
        async with database.writing() as connection:
            await connection.execute(sa.insert(Run), [next(runs) for _ in range(_CHUNK)])


async def measure(url: str, count: int) -> list[float]:
    """Return the seconds that each answer took."""
    async with open_database(url) as database:
        await database.migrate()
        await fill(database, count)
        took = []
        for _ in range(_TIMES):
            began = time.perf_counter()
            async with database.reading() as connection:
                await statistics(connection, _FLOW)
            took.append(time.perf_counter() - began)
    return took


def main(count: int, on: Sequence[str]) -> None:
    """Measure, print and write."""
    rows = []
    for name in on:
        with databases.empty(name) as url:
            took = asyncio.run(measure(url, count))
        figures = (f"{each * 1000:.0f}" for each in (min(took), max(took)))
        rows.append((databases.NAMES[name], *figures))
    table = page.table((f"statistics of {count:,} runs", "quickest, ms", "slowest, ms"), rows)
    text = f"{_TIMES} times each. {machine.describe()}.\n\n{table}"
    print(text)
    page.replace("statistics", text)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="bench/run statistics", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--on", choices=databases.NAMES, nargs="+", default=list(databases.NAMES))
    chosen = parser.parse_args()
    main(chosen.runs, chosen.on)
