"""`turnout up`, `ingress`, `router`: the processes, each loaded only when it runs."""

from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from turnout.router.cli import workers

_PANEL = "Services"


def add_to(app: typer.Typer) -> None:
    """Add the commands to the root."""
    for command in (up, ingress, router):
        app.command(rich_help_panel=_PANEL)(command)
    app.add_typer(workers.app, name="worker", rich_help_panel=_PANEL)


def up(
    modules: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MODULE]...", help="Modules with flows; without: the examples."),
    ] = None,
) -> None:
    """Run everything on this machine, with a private RabbitMQ and Redis if none is given."""
    run = import_module("turnout.router.up").run
    raise typer.Exit(run(Path.cwd() / ".turnout", modules or []))


def ingress(
    host: Annotated[
        str | None, typer.Option(help="The address to listen on; else TURNOUT_INGRESS_HOST.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="The port to listen on; else TURNOUT_INGRESS_PORT.")
    ] = None,
    processes: Annotated[
        int,
        typer.Option(min=1, help="How many share the port; from 2 on, SIGHUP replaces them all."),
    ] = 1,
) -> None:
    """Run the HTTP face: takes calls and hands them to RabbitMQ."""
    if processes == 1:
        import_module("turnout.ingress.service").main(host, port)
    else:
        import_module("turnout.ingress.processes").main(processes, host, port)


def router() -> None:
    """Run the control plane: registry, topology, projection, admin API."""
    import_module("turnout.router.service").main()
