"""How many calls a second, at which price: Turnout, bare aiohttp, and what else one would build.

    bench/run ingest [--seconds 10] [--rounds 3] [--connections 256] [CONTENDER]...

Each round starts each contender anew, warms it up, floods it, then sends half of what it took at a
constant rate, and counts afterwards whether the broker has all that was accepted. The medians of
all rounds go to the terminal and, when all contenders were measured, to docs/performance.md.
"""

import argparse
import asyncio
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench import chart, load, machine, nodes, page, rounds
from bench.contenders import BARE, CELERY, Contender, contenders, versions
from bench.rounds import Result
from bench.turnout import Turnout
from bench.usage import cpu_seconds

_WARM_UP = 2.0  # seconds

_SVG = page.DIRECTORY / "performance-ingest.svg"


@dataclass(frozen=True)
class Figures:
    """What one round found out about one contender."""

    rate: float
    """Calls a second."""
    cpu: float
    """Microseconds of its process and the children of that for one call."""
    p50: float
    """Milliseconds under the flood, as `p99`."""
    p99: float
    half_p99: float
    """Milliseconds at half of `rate`."""


Results = Sequence[Result[Contender, Figures]]


async def measure(contender: Contender, seconds: float, connections: int) -> Figures:
    """Measure one contender once.

    Raises:
        Failed: it did not start, a call was not answered 2xx, or the broker lacks one.
    """
    async with contender.running() as running:
        warm_up = await load.flood(running.target, _WARM_UP, connections)
        before = cpu_seconds(running.service.pid)
        flood = await load.flood(running.target, seconds, connections)
        used = cpu_seconds(running.service.pid) - before
        stream = await load.stream(running.target, flood.rate / 2, seconds / 2)
        await running.count(warm_up.accepted + flood.accepted + stream.accepted)
    return Figures(flood.rate, used / flood.accepted * 1e6, flood.p50, flood.p99, stream.p99)


COLUMNS = (
    "",
    "calls/s",
    "±",
    "vs aiohttp",
    "vs Celery",
    "CPU µs/call",
    "vs aiohttp",
    "p50 ms",
    "p99 ms",
    "p99 ms at half load",
)


def rows(results: Results) -> list[tuple[str, ...]]:
    """Make the lines of the table; a contender that failed once has no figures."""
    return rounds.rows(results, COLUMNS, partial(_cells, results=results))


def _cells(result: Result[Contender, Figures], results: Results) -> list[str]:
    def ratio(name: str, figure: Callable[[Figures], float], digits: int) -> str:
        found = result.ratio(results, name, figure)
        return "" if found is None else f"{found:,.{digits}f}"

    return [
        f"{result.median(_rate):,.0f}",
        f"{result.spread(_rate):.0%}",
        ratio(BARE, _rate, 2),
        ratio(CELERY, _rate, 1),
        f"{result.median(_cpu):,.0f}",
        ratio(BARE, _cpu, 2),
        *(
            f"{result.median(figure):,.1f}"
            for figure in (lambda each: each.p50, lambda each: each.p99, lambda each: each.half_p99)
        ),
    ]


def _rate(figures: Figures) -> float:
    return figures.rate


def _cpu(figures: Figures) -> float:
    return figures.cpu


def _write(results: Results, about: str) -> None:
    """Write table and plot into the documentation."""
    page.replace("ingest", f"{page.table(COLUMNS, rows(results))}\n{about}")
    shown = [each for each in results if each.rounds and not each.failures]
    titles = [each.contender.title for each in shown]
    chart.bars(
        _SVG,
        titles,
        {
            "calls a second": [each.median(_rate) for each in shown],
            "CPU of the receiving process, µs for each call": [each.median(_cpu) for each in shown],
        },
        highlighted="Turnout",
    )


async def main(names: Sequence[str], seconds: float, times: int, connections: int) -> int:
    """Measure, print and write; return the exit code."""
    load.require_wrk()
    console = rounds.console()
    with tempfile.TemporaryDirectory(prefix="turnout-bench-") as name:
        directory = Path(name)
        async with nodes.running(directory) as found:
            about = (
                f"{rounds.length(times, seconds)}, {connections} connections, "
                f"{len(load.BODY)} bytes of JSON. {machine.describe()}; "
                f"{await found.versions()}, {machine.wrk_version()}, {versions()}."
            )
            turnout = Turnout(found, directory)
            await turnout.prepare()
            every = contenders(found, turnout, directory)
            chosen = [each for each in every if not names or each.name in names]
            results = await rounds.measure_all(
                chosen,
                partial(measure, seconds=seconds, connections=connections),
                times,
                console,
            )
    rounds.show(console, COLUMNS, rows(results), about)
    if chosen == every:
        _write(results, about)
    return 1 if any(each.failures for each in results) else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="bench/run ingest", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="of each flood")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=load.CONNECTIONS)
    parser.add_argument("names", nargs="*", metavar="CONTENDER", help="only these, writing nothing")
    given = parser.parse_args()
    raise SystemExit(asyncio.run(main(given.names, given.seconds, given.rounds, given.connections)))
