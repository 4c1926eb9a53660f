"""Rounds of measurements: contenders one after the other, and what all their rounds say."""

import statistics
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from bench.load import Failed
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

_WIDTH = 140  # characters; no table is legible in fewer


class Named(Protocol):
    """What is compared."""

    @property
    def name(self) -> str:
        """For the command line."""

    @property
    def title(self) -> str:
        """For the table."""


C = TypeVar("C", bound=Named)
F = TypeVar("F")


@dataclass
class Result(Generic[C, F]):
    """All that was found out about one contender."""

    contender: C
    rounds: list[F] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def median(self, figure: Callable[[F], float]) -> float:
        """Return the median of all rounds."""
        return statistics.median(map(figure, self.rounds))

    def spread(self, figure: Callable[[F], float]) -> float:
        """Return half the distance between the best and the worst round, as part of the median."""
        ordered = sorted(map(figure, self.rounds))
        return (ordered[-1] - ordered[0]) / 2 / self.median(figure)

    def ratio(
        self, others: "Sequence[Result[C, F]]", name: str, figure: Callable[[F], float]
    ) -> float | None:
        """Return how many times the figure of another one this one's is; None: that has none."""
        for other in others:
            if other.contender.name == name and other.rounds:
                return self.median(figure) / other.median(figure)
        return None


def rows(
    results: Sequence[Result[C, F]],
    columns: Sequence[str],
    cells: Callable[[Result[C, F]], Sequence[str]],
) -> list[tuple[str, ...]]:
    """Make the lines of a table: a title and its cells; who failed once has no figures."""
    failed = ["failed", *[""] * (len(columns) - 2)]
    return [(each.contender.title, *(failed if each.failures else cells(each))) for each in results]


def length(times: int, seconds: float) -> str:
    """Say how long it was measured."""
    return f"{times} {'round' if times == 1 else 'rounds'} of {seconds:g} s each"


def console() -> Console:
    """Make one that is wide enough."""
    return Console(width=max(Console().width, _WIDTH))


async def measure_all(
    chosen: Sequence[C],
    measure: Callable[[C], Awaitable[F]],
    rounds: int,
    console: Console,
) -> list[Result[C, F]]:
    """Measure all contenders, round by round: what disturbs the machine hits all of them alike."""
    results: list[Result[C, F]] = [Result(contender) for contender in chosen]
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("", total=rounds * len(results))
        for number in range(rounds):
            # To and fro, so that nobody always comes after the same one.
            for result in results if number % 2 == 0 else reversed(results):
                name = result.contender.name
                progress.update(task, description=f"round {number + 1}: {name}")
                try:
                    figures = await measure(result.contender)
                except Failed as failure:
                    result.failures.append(str(failure))
                    progress.console.print(f"[red]{name}: {escape(str(failure))}[/red]")
                else:
                    result.rounds.append(figures)
                progress.advance(task)
    return results


def show(
    console: Console, columns: Sequence[str], lines: Sequence[Sequence[str]], about: str
) -> None:
    """Print a table, whose first column is text and the others figures, and what it is about."""
    table = Table(box=box.SIMPLE)
    for column in columns:
        table.add_column(column, justify="right" if column else "left", no_wrap=not column)
    for line in lines:
        table.add_row(*map(escape, line))
    console.print(table)
    console.print(about, soft_wrap=True)
