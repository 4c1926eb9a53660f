"""`turnout audit`: who changed what."""

from typing import Annotated

import typer

from turnout.router.cli import client
from turnout.router.cli.named import OfGroup
from turnout.router.cli.output import Document, Json, second, show_json, show_table

app = typer.Typer(help="The audit log: who changed what, when and why.", no_args_is_help=True)


@app.command("list")
def list_(
    *,
    group: OfGroup = None,
    actor: Annotated[
        str | None, typer.Option(help="Only changes with this token: its name or id.")
    ] = None,
    verb: Annotated[
        str | None, typer.Option(help='Only this, for example "key.revoke", or all of "key".')
    ] = None,
    object_: Annotated[
        str | None, typer.Option("--object", metavar="ID", help="Only changes of this.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")] = 50,
    json: Json = False,
) -> None:
    """List changes, newest first."""
    found = client.find().get(
        "audit", group=group, actor=actor, verb=verb, object=object_, limit=limit
    )
    if json:
        show_json(found)
        return
    show_table(
        ["=When (UTC)", "Who", "What", "Why"],
        (
            [
                second(each["at"]),
                "\n".join(filter(None, [each["actor_name"], each["remote"]])),
                f"{each['verb']}\n{each['label']}\n{_difference(each)}".strip(),
                each["reason"] or "-",
            ]
            for each in found["items"]
        ),
        empty="No changes.",
    )


def _difference(entry: Document) -> str:
    """Say what was changed to what, where it was a change of something that stays."""
    before, after = entry["before"], entry["after"]
    if before is None or after is None:
        return ""
    return "\n".join(f"{name}: {before[name]} → {after[name]}" for name in after)
