"""`turnout group`: they own flows and API keys."""

from typing import Annotated

import typer

from turnout.router.cli import client
from turnout.router.cli.output import (
    Document,
    Json,
    day,
    moment,
    show_fields,
    show_json,
    show_table,
)

app = typer.Typer(help="Groups: they own flows and API keys.", no_args_is_help=True)

Slug = Annotated[str, typer.Argument(metavar="SLUG", help="The group's slug: a-z, 0-9 and '-'.")]


@app.command()
def create(
    slug: Slug,
    name: Annotated[str | None, typer.Option(help="How people call it.")] = None,
    json: Json = False,
) -> None:
    """Register a group."""
    group = client.find().post("groups", body={"slug": slug, "name": name})
    show_json(group) if json else _show(group)


@app.command("list")
def list_(json: Json = False) -> None:
    """List all groups."""
    groups = client.find().get("groups")
    if json:
        show_json(groups)
        return
    show_table(
        ["Group", "Name", "=Created", "=Id"],
        (
            [each["slug"], each["name"], day(each["created_at"]), each["id"]]
            for each in groups["items"]
        ),
        empty="No groups yet: turnout group create SLUG",
    )


@app.command()
def show(slug: Slug, json: Json = False) -> None:
    """Show one group."""
    group = client.find().get("groups", slug)
    show_json(group) if json else _show(group)


def _show(group: Document) -> None:
    show_fields(
        {
            "group": group["slug"],
            "name": group["name"],
            "id": group["id"],
            "created": moment(group["created_at"]),
        }
    )
