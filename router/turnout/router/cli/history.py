"""`turnout history`: how far events and outcomes are recorded."""

import typer

from turnout.router.cli import client
from turnout.router.cli.output import Json, second, show_json, show_table

app = typer.Typer(help="The history: how far it is recorded.", no_args_is_help=True)


@app.command()
def status(json: Json = False) -> None:
    """Show how far the archive and the outcomes are recorded."""
    found = client.find().get("history")
    if json:
        show_json(found)
        return
    show_table(
        ["=Stream", ">Recorded", ">Newest", ">Behind", "Recorded until", ">Unreadable", ">Missed"],
        (
            [
                each["stream"],
                _number(each["recorded"]),
                _number(each["newest"]),
                str(each["behind"]),
                second(each["recorded_until"]),
                str(each["unreadable"]),
                str(each["missed"]),
            ]
            for each in found["items"]
        ),
        empty="",
    )


def _number(value: int | None) -> str:
    return "-" if value is None else str(value)
