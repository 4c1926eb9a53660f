"""From a sender's call to the flow that ran: how many a second, with archive, outcomes and history.

    bench/run end_to_end [--seconds 10] [--rounds 3]

Router, ingress and a worker run as `turnout up` runs them, one process each. wrk sends as many
calls as are answered; then calls come at half the rate at which flows were executed meanwhile.
Every call that was answered 202 must have been executed, archived, and reported. Beside it, in the
same run: an aiohttp server that does nothing. The medians go to the terminal and to
docs/performance.md.
"""

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import uvloop
from bench import load, machine, nodes, page, rounds
from bench.contenders import BARE, bare
from bench.load import Failed
from bench.nodes import Nodes
from bench.pools import TIMED
from bench.rounds import Result
from bench.tally import VARIABLE, Tally
from bench.turnout import Turnout
from bench.usage import cpu_seconds

_WARM_UP = 2.0  # seconds
_LOOK = 0.01
_SECONDS_TO_END = 60.0

_PARTS = ("ingress", "worker", "router", "broker")


@dataclass(frozen=True)
class Figures:
    """What one round found out."""

    accepted: float
    """Calls a second that were answered 202."""
    executed: float | None = None
    """Flows that were executed in a second meanwhile; None: there are none."""
    half_p99: float = 0.0
    """Milliseconds from accepted to started, at half of `executed`."""
    cpu: dict[str, float] = field(default_factory=dict)
    """Microseconds of each part for one call."""


@dataclass(frozen=True)
class Contender:
    """One line of the table."""

    name: str
    title: str


Results = Sequence[Result[Contender, Figures]]

CONTENDERS = (Contender(BARE, "bare aiohttp"), Contender("turnout", "Turnout, end to end"))


class Measurement:
    """Measures both.

    Args:
        found: the nodes that are used.
        turnout: prepared, with a flow that notes its runs.
        directory: for logs and the tally.
        seconds: of the flood, and of the calls at half load.
    """

    def __init__(self, found: Nodes, turnout: Turnout, directory: Path, seconds: float) -> None:
        self._nodes = found
        self._turnout = turnout
        self._directory = directory
        self._seconds = seconds

    async def measure(self, contender: Contender) -> Figures:
        """Measure one of them once.

        Raises:
            Failed: it did not start, or something that was accepted is missing.
        """
        return await (self._bare() if contender.name == BARE else self._end_to_end())

    async def _bare(self) -> Figures:
        async with bare(self._directory) as running:
            await load.flood(running.target, _WARM_UP)
            return Figures((await load.flood(running.target, self._seconds)).rate)

    async def _end_to_end(self) -> Figures:
        tally = Tally(self._directory / "tally")
        target = self._turnout.target
        async with self._turnout.with_worker() as services:
            pids = {each.name: each.pid for each in services}
            pids["broker"] = self._nodes.broker.process.pid
            accepted = (await load.flood(target, _WARM_UP)).accepted
            before, used = tally.count(), {part: cpu_seconds(pids[part]) for part in _PARTS}
            flood = await load.flood(target, self._seconds)
            executed = (tally.count() - before) / flood.seconds
            used = {part: cpu_seconds(pids[part]) - used[part] for part in _PARTS}
            accepted += flood.accepted
            await _all_ran(tally, accepted)
            stream = await load.stream(target, executed / 2, self._seconds)
            await _all_ran(tally, accepted + stream.accepted)
            await self._turnout.count(accepted + stream.accepted, worker=True)
        latencies = sorted(tally.numbers()[accepted:])
        return Figures(
            flood.rate,
            executed,
            latencies[int(len(latencies) * 0.99)] / 1e3,
            {part: seconds / flood.accepted * 1e6 for part, seconds in used.items()},
        )


async def _all_ran(tally: Tally, accepted: int) -> None:
    end = time.monotonic() + _SECONDS_TO_END
    while tally.count() < accepted:
        if time.monotonic() > end:
            raise Failed(f"of {accepted} accepted calls {tally.count()} were executed")
        await asyncio.sleep(_LOOK)


COLUMNS = (
    *("", "accepted/s", "executed/s", "±", "vs aiohttp", "p99 ms to the start, at half load"),
    *(f"{part} CPU µs" for part in _PARTS),
)


def rows(results: Results) -> list[tuple[str, ...]]:
    """Make the lines of the table; whoever failed once has no figures."""
    return rounds.rows(results, COLUMNS, partial(_cells, results=results))


def _cells(result: Result[Contender, Figures], results: Results) -> list[str]:
    ratio = result.ratio(results, BARE, _rate)
    compared = (f"{result.spread(_rate):.0%}", "" if ratio is None else f"{ratio:.2f}")
    accepted = f"{result.median(_accepted):,.0f}"
    if result.contender.name == BARE:
        return [accepted, "", *compared, "", *[""] * len(_PARTS)]
    return [
        accepted,
        f"{result.median(_rate):,.0f}",
        *compared,
        f"{result.median(lambda each: each.half_p99):,.1f}",
        *(f"{result.median(_cpu_of(part)):,.0f}" for part in _PARTS),
    ]


def _accepted(figures: Figures) -> float:
    return figures.accepted


def _rate(figures: Figures) -> float:
    """Return what is compared: flows executed, or calls answered where there are no flows."""
    return figures.accepted if figures.executed is None else figures.executed


def _cpu_of(part: str) -> Callable[[Figures], float]:
    return lambda figures: figures.cpu[part]


async def main(seconds: float, times: int) -> int:
    """Measure, print and write; return the exit code."""
    load.require_wrk()
    console = rounds.console()
    with tempfile.TemporaryDirectory(prefix="turnout-bench-") as name:
        directory = Path(name)
        os.environ[VARIABLE] = str(directory / "tally")
        async with nodes.running(directory) as found:
            about = (
                f"{rounds.length(times, seconds)}, {load.CONNECTIONS} connections, "
                f"{len(load.BODY)} bytes of JSON, one process of each. {machine.describe()}; "
                f"{await found.versions()}, {machine.wrk_version()}."
            )
            turnout = Turnout(found, directory, flow=TIMED, module="bench.tasks.turnout")
            await turnout.prepare()
            measurement = Measurement(found, turnout, directory, seconds)
            results = await rounds.measure_all(CONTENDERS, measurement.measure, times, console)
    rounds.show(console, COLUMNS, rows(results), about)
    page.replace("end-to-end", f"{page.table(COLUMNS, rows(results))}\n{about}")
    return 1 if any(each.failures for each in results) else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="bench/run end_to_end", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="of each load")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    raise SystemExit(uvloop.run(main(given.seconds, given.rounds)))
