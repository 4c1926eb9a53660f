"""`turnout topology`: what the broker has to hold."""

import typer

from turnout.router.cli import client
from turnout.router.cli.output import Json, show_json

app = typer.Typer(help="Exchanges, queues and bindings at the broker.", no_args_is_help=True)


@app.command()
def check(json: Json = False) -> None:
    """Name what the broker lacks; exit 1 when it lacks anything."""
    found = client.find().get("topology")
    if json:
        show_json(found)
    elif found["ok"]:
        typer.echo("The broker has all that the registry asks for.")
    else:
        for part in found["missing"]:
            typer.echo(f"missing {part['kind']} {part['name']}")
        typer.echo("Declare it with: turnout topology apply", err=True)
    if not found["ok"]:
        raise typer.Exit(1)


@app.command()
def apply(json: Json = False) -> None:
    """Declare what the broker lacks."""
    applied = client.find().post("topology", "apply")
    if json:
        show_json(applied)
        return
    for part in applied["declared"]:
        typer.echo(f"declared {part['kind']} {part['name']}")
    if not applied["declared"]:
        typer.echo("Nothing was missing.")
