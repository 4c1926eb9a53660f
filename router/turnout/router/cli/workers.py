"""`turnout worker MODULE…` runs a worker; `turnout worker list` shows those that live."""

import os
import re
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from turnout.router.cli import client
from turnout.router.cli.output import Json, moment, show_json, show_table


class _RunByDefault(TyperGroup):
    """What names no command is what `run` takes: `turnout worker my_flows.py`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the name of the command in front, if it is missing."""
        if not args or args[0] not in {*self.commands, *ctx.help_option_names}:
            args = ["run", *args]
        return super().parse_args(ctx, args)


_HELP = """Workers: they execute flows.

`turnout worker MODULE...` runs one; `turnout worker run --help` tells its options."""

app = typer.Typer(cls=_RunByDefault, help=_HELP)


@app.command()
def run(  # noqa: PLR0917 - typer makes options of them
    modules: Annotated[
        list[str], typer.Argument(metavar="MODULE...", help="Modules or files with flows.")
    ],
    concurrency: Annotated[
        int | None,
        typer.Option(min=1, help="How many runs of each flow at a time; else TURNOUT_CONCURRENCY."),
    ] = None,
    flows: Annotated[
        str | None,
        typer.Option(metavar="PATTERNS", help="Only these of them, for example crm/*,-crm/slow."),
    ] = None,
    processes: Annotated[
        str | None,
        typer.Option(metavar="N|auto", help="How many processes; auto: one for each core."),
    ] = None,
    autoscale: Annotated[
        str | None,
        typer.Option(metavar="N..M", help="As many processes as the queues need, from N to M."),
    ] = None,
    reload: Annotated[
        bool, typer.Option("--reload", help="For development: start again when a file changes.")
    ] = False,
) -> None:
    """Run the flows of these modules; `turnout worker MODULE...` is enough."""
    fewest, most = _count(processes, autoscale)
    if (fewest, most) == (1, 1):
        import_module("turnout.workers.service").main(modules, concurrency, flows, reload=reload)
        return
    if reload:
        raise typer.BadParameter("it is for one process", param_hint="--reload")
    arguments = [*modules]
    if concurrency is not None:
        arguments.append(f"--concurrency={concurrency}")
    if flows is not None:
        arguments.append(f"--flows={flows}")
    supervisor = import_module("turnout.workers.supervisor")
    supervisor.main(supervisor.Count(fewest, most), arguments)


@app.command("list")
def list_(json: Json = False) -> None:
    """List the worker processes that live, and what they serve."""
    workers = client.find().get("workers")
    if json:
        show_json(workers)
        return
    show_table(
        ["Host", ">Pid", "Started", "Flow", "Version", ">Busy", ">Of"],
        (
            [
                each["host"],
                str(each["pid"]),
                moment(each["started_at"]),
                served["flow"],
                served["version"],
                str(served["busy"]),
                str(served["concurrency"]),
            ]
            for each in workers["items"]
            for served in each["flows"]
        ),
        empty="No worker lives: turnout worker MODULE",
    )


def _count(processes: str | None, autoscale: str | None) -> tuple[int, int]:
    """Return how many processes there are at least and at most.

    Raises:
        BadParameter: an option is no number, or both are given.
    """
    if autoscale is not None:
        if processes is not None:
            raise typer.BadParameter("give --processes or --autoscale", param_hint="--autoscale")
        found = re.fullmatch(r"(\d{1,3})\.\.(\d{1,3})", autoscale)
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise typer.BadParameter(
                f"{autoscale!r} is not a range like 1..8", param_hint="--autoscale"
            )
        return int(found[1]), int(found[2])
    if processes == "auto":
        cores = len(os.sched_getaffinity(0))
        return cores, cores
    if processes is not None and not re.fullmatch(r"[1-9]\d{0,2}", processes):
        raise typer.BadParameter(
            f"{processes!r} is neither a number nor auto", param_hint="--processes"
        )
    count = int(processes or 1)
    return count, count
