"""How many tasks a second one worker process runs, at which price: Turnout and other libraries.

    bench/run workers [--messages 100000] [--seconds 5] [--rounds 1] [POOL]...

Each round fills a queue with messages of a task that does nothing and starts one worker process;
then the same with a task that waits 5 ms; then sends messages at a constant rate, half of what the
queue takes and hands out at once. What ran is counted, and what is left in the queue: together that
must be all. The medians of all rounds go to the terminal and, when all were measured, to
docs/performance.md.
"""

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import uvloop
from bench import chart, load, machine, nodes, page, rounds
from bench.load import Failed
from bench.pools import CELERY, EMPTY, MANY, PAUSE, RAW, TASKS, TIMED, Pool, pools, versions
from bench.rounds import Result
from bench.services import Service, started
from bench.tally import VARIABLE, Tally
from bench.turnout import Turnout
from bench.usage import cpu_seconds, resident_bytes

_WARM_UP = 1.0  # seconds
_LOOK = 0.005
_SECONDS_TO_START = 30.0
_SECONDS_TO_END = 10.0
_WAITS = 100

_SVG = page.DIRECTORY / "performance-workers.svg"


@dataclass(frozen=True)
class Drain:
    """What came of a worker that had more to do than it could."""

    rate: float
    """Runs a second."""
    worker_cpu: float
    """Microseconds of its process and the children of that for one run."""
    broker_cpu: float
    """The same of the broker."""
    worker_memory: int
    """Bytes that the worker had at the end."""


@dataclass(frozen=True)
class Figures:
    """What one round found out about one pool; None: it has no such task."""

    empty: Drain
    queued: float
    """Bytes that a message in the queue took in the broker's memory."""
    pause: Drain | None = None
    ideal: float = 0.0
    """Runs a second of `pause`, if waiting cost no more than in an event loop with nothing else."""
    half_p99: float | None = None
    """Milliseconds from accepted to started at half load."""


Results = Sequence[Result[Pool, Figures]]


class Measurement:
    """Measures pools.

    Args:
        directory: for the tally.
        messages: how many wait when a worker starts.
        seconds: for which it is measured, unless it has run all before.
        waiting: seconds of CPU that it takes an event loop to wait once for 5 ms.
    """

    def __init__(self, directory: Path, messages: int, seconds: float, waiting: float) -> None:
        self._tally = directory / "tally"
        Tally(self._tally)  # producers load the tasks, which look for it
        self._messages = messages
        self._seconds = seconds
        self._waiting = waiting

    async def measure(self, pool: Pool) -> Figures:
        """Measure one pool once.

        Raises:
            Failed: it did not start, or not all messages were run or left in the queue.
        """
        before = await pool.broker_memory()
        filled = await pool.fill(EMPTY, self._messages)
        queued = (await pool.broker_memory() - before) / self._messages
        empty = await self._drain(pool, EMPTY)
        # The queue was full before: now it takes as many as it hands out.
        half = 1 / (1 / filled + 1 / empty.rate) / 2
        ideal = 1 / (1 / empty.rate + self._waiting)
        pause = half_p99 = None
        if PAUSE in pool.tasks:
            await pool.fill(PAUSE, self._messages)
            pause = await self._drain(pool, PAUSE)
        if TIMED in pool.tasks:
            half_p99 = await self._stream(pool, half)
        return Figures(empty, queued, pause, ideal, half_p99)

    async def _drain(self, pool: Pool, task: str) -> Drain:
        """Run what is in the queue of a task."""
        async with self._running(pool, task) as (worker, tally):
            await self._first(tally, worker, self._messages // 10)
            done, began = tally.count(), time.monotonic()
            cpu, broker_cpu = cpu_seconds(worker.pid), cpu_seconds(pool.broker_pid)
            end = began + self._seconds
            while tally.count() < self._messages and time.monotonic() < end:  # noqa: ASYNC110 - another process counts
                await asyncio.sleep(_LOOK)
            took, number = time.monotonic() - began, tally.count() - done
            cpu = cpu_seconds(worker.pid) - cpu
            broker_cpu = cpu_seconds(pool.broker_pid) - broker_cpu
            memory = resident_bytes(worker.pid)
        if not number:
            raise Failed(f"{self._messages} are too few: all were run before the measurement")
        await self._account(pool, task, tally, self._messages)
        return Drain(number / took, cpu / number * 1e6, broker_cpu / number * 1e6, memory)

    async def _stream(self, pool: Pool, rate: float) -> float:
        """Return the 99th percentile from accepted to started, in milliseconds."""
        await pool.fill(TIMED, 1)
        async with self._running(pool, TIMED) as (worker, tally):
            await self._first(tally, worker, 1)
            sent = 1 + await pool.stream(TIMED, rate, self._seconds)
            end = time.monotonic() + _SECONDS_TO_END
            while tally.count() < sent and time.monotonic() < end:  # noqa: ASYNC110 - another process counts
                await asyncio.sleep(_LOOK)
        await self._account(pool, TIMED, tally, sent)
        latencies = sorted(tally.numbers()[1:])
        return latencies[int(len(latencies) * 0.99)] / 1e3

    @asynccontextmanager
    async def _running(self, pool: Pool, task: str) -> AsyncIterator[tuple[Service, Tally]]:
        tally = Tally(self._tally)
        worker = pool.worker(task)
        async with started(worker):
            yield worker, tally

    async def _first(self, tally: Tally, worker: Service, number: int) -> None:
        """Let the worker warm up: for a second, or a number of runs."""
        end = time.monotonic() + _SECONDS_TO_START
        while not tally.count():
            if time.monotonic() > end:
                raise Failed(f"it runs nothing\n{worker.last_lines()}")
            await asyncio.sleep(_LOOK)
        end = time.monotonic() + _WARM_UP
        while tally.count() < number and time.monotonic() < end:  # noqa: ASYNC110 - another process counts
            await asyncio.sleep(_LOOK)

    async def _account(self, pool: Pool, task: str, tally: Tally, sent: int) -> None:
        done, left = tally.count(), await pool.left(task)
        # What a worker held when it ended is back in the queue a moment later.
        end = time.monotonic() + _SECONDS_TO_END
        while done + left < sent and time.monotonic() < end:
            await asyncio.sleep(_LOOK)
            left += await pool.left(task)
        if done + left < sent:
            raise Failed(f"{task}: of {sent} messages {done} were run, {left} are in the queue")
        await pool.check(done)


COLUMNS = (
    "",
    "empty/s",
    "±",
    "vs raw",
    "vs Celery",
    "CPU µs",
    "broker CPU µs",
    "5 ms/s",
    "of ideal",
    "p99 ms at half load",
    "MiB",
    "queued bytes",
)


def rows(results: Results) -> list[tuple[str, ...]]:
    """Make the lines of the table; a pool that failed once has no figures."""
    return rounds.rows(results, COLUMNS, partial(_cells, results=results))


def _cells(result: Result[Pool, Figures], results: Results) -> list[str]:
    def ratio(name: str, digits: int) -> str:
        found = result.ratio(results, name, _rate)
        return "" if found is None else f"{found:,.{digits}f}"

    def cell(figure: Callable[[Figures], float | None], how: str) -> str:
        values = [value for each in result.rounds if (value := figure(each)) is not None]
        return format(sorted(values)[len(values) // 2], how) if values else ""

    return [
        cell(_rate, ",.0f"),
        f"{result.spread(_rate):.0%}",
        ratio(RAW, 2),
        ratio(CELERY, 1),
        cell(_worker_cpu, ",.0f"),
        cell(lambda each: each.empty.broker_cpu, ",.0f"),
        cell(lambda each: each.pause and each.pause.rate, ",.0f"),
        cell(lambda each: each.pause and each.pause.rate / each.ideal, ".2f"),
        cell(lambda each: each.half_p99, ",.1f"),
        cell(lambda each: each.empty.worker_memory / 2**20, ",.0f"),
        cell(lambda each: each.queued, ",.0f"),
    ]


def _rate(figures: Figures) -> float:
    return figures.empty.rate


def _worker_cpu(figures: Figures) -> float:
    return figures.empty.worker_cpu


async def _waiting() -> float:
    """Measure the seconds of CPU that it takes an event loop to wait once for 5 ms."""

    async def wait() -> None:
        for _ in range(_WAITS):
            await asyncio.sleep(0.005)

    began = time.process_time()
    await asyncio.gather(*(wait() for _ in range(MANY)))
    return (time.process_time() - began) / (_WAITS * MANY)


def _write(results: Results, about: str) -> None:
    """Write table and plot into the documentation."""
    plot = f"![Empty tasks a second, and CPU for each]({_SVG.name})"
    page.replace("workers", f"{page.table(COLUMNS, rows(results))}\n{about}\n\n{plot}")
    shown = [each for each in results if each.rounds and not each.failures]
    chart.bars(
        _SVG,
        [each.contender.title for each in shown],
        {
            "empty tasks a second": [each.median(_rate) for each in shown],
            "CPU of the worker, µs for each": [each.median(_worker_cpu) for each in shown],
        },
        highlighted="Turnout",
    )


async def main(names: Sequence[str], messages: int, seconds: float, times: int) -> int:
    """Measure, print and write; return the exit code."""
    console = rounds.console()
    with tempfile.TemporaryDirectory(prefix="turnout-bench-") as name:
        directory = Path(name)
        os.environ[VARIABLE] = str(directory / "tally")
        waiting = await _waiting()
        async with nodes.running(directory) as found:
            about = (
                f"{rounds.length(times, seconds)}, {messages:,} messages queued, each with "
                f"{len(load.BODY)} bytes of JSON; {MANY:,} runs at once; waiting for 5 ms takes an "
                f"event loop {waiting * 1e6:.1f} µs. {machine.describe()}; "
                f"{await found.versions()}, {versions()}."
            )
            turnout = Turnout(found, directory)
            await turnout.prepare_flows(TASKS)
            every = pools(found, turnout, directory)
            chosen = [each for each in every if not names or each.name in names]
            measurement = Measurement(directory, messages, seconds, waiting)
            results = await rounds.measure_all(chosen, measurement.measure, times, console)
    rounds.show(console, COLUMNS, rows(results), about)
    if chosen == every:
        _write(results, about)
    return 1 if any(each.failures for each in results) else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="bench/run workers", description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=100_000, help="queued; see memory")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement at most")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("names", nargs="*", metavar="POOL", help="only these, writing nothing")
    given = parser.parse_args()
    raise SystemExit(uvloop.run(main(given.names, given.messages, given.seconds, given.rounds)))
