"""Who still calls with what was replaced: the old secret of a key, an old routing key."""

import typer

from turnout.router.cli.output import Document, moment, show_table
from turnout.router.cli.usage import trigger_of


def show(overlap: Document) -> None:
    """Show the calls with what was replaced, by caller."""
    typer.echo()
    if overlap["overlaps"]:
        typer.echo(f"The old one is good until {moment(overlap['old_until'])}. It was used by:")
    else:
        typer.echo(f"The old one ended {moment(overlap['old_until'])}. It was used by:")
    show_table(
        ["Flow and trigger", "=From", "With", ">Calls", "=Last"],
        (
            [
                trigger_of(each),
                each["network"],
                each["agent"],
                str(each["calls"]),
                moment(each["last_at"]),
            ]
            for each in overlap["items"]
        ),
        empty="nobody",
    )
