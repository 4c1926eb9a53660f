"""`turnout unrouted`: events whose binding was missing."""

import typer

from turnout.router.cli import client
from turnout.router.cli.output import Json, moment, show_json, show_table

app = typer.Typer(
    help="Unrouted events: parked until their binding exists, then published again by themselves.",
    no_args_is_help=True,
)


@app.command("list")
def list_(json: Json = False) -> None:
    """Count the events that have no route, by where they were to go."""
    found = client.find().get("unrouted")
    if json:
        show_json(found)
        return
    show_table(
        ["Flow and trigger", "=Route", ">Events", "=Since"],
        (
            [
                f"{each['flow'] or 'unreadable'}\n{each['trigger_id'] or ''}".rstrip(),
                each["route"],
                str(each["count"]),
                moment(each["first"]),
            ]
            for each in found["items"]
        ),
        empty="Every event has a route.",
    )
