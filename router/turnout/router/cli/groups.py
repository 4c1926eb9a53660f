"""`turnout group`: they own flows and API keys."""

from typing import Annotated

import typer

from turnout.router.cli import client, limits, named
from turnout.router.cli.arguments import examples
from turnout.router.cli.limits import Burst, InFlight, MaxBody, MaxHeaders, Rate, ReadTimeout
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

Slug = Annotated[
    str,
    typer.Argument(
        metavar="SLUG", autocompletion=named.groups, help="The group's slug: a-z, 0-9 and '-'."
    ),
]


@app.command(
    epilog=examples(
        "group create crm", 'group create crm --name "CRM team" --rate 50 --max-body 64KiB'
    )
)
def create(
    slug: Slug,
    *,
    name: Annotated[str | None, typer.Option(help="How people call it.")] = None,
    rate: Rate = None,
    burst: Burst = None,
    in_flight: InFlight = None,
    max_body: MaxBody = None,
    max_headers: MaxHeaders = None,
    read_timeout: ReadTimeout = None,
    json: Json = False,
) -> None:
    """Register a group; its limits hold for each key, those of header and body for each trigger."""
    given = limits.read(
        rate=rate,
        burst=burst,
        in_flight=in_flight,
        max_body=max_body,
        max_headers=max_headers,
        read_timeout=read_timeout,
    )
    group = client.find().create("groups", body={"slug": slug, "name": name, "limits": given})
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


@app.command(
    epilog=examples("group limit crm --rate 50 --burst 200", "group limit crm --rate none")
)
def limit(
    slug: Slug,
    *,
    rate: Rate = None,
    burst: Burst = None,
    in_flight: InFlight = None,
    max_body: MaxBody = None,
    max_headers: MaxHeaders = None,
    read_timeout: ReadTimeout = None,
    json: Json = False,
) -> None:
    """Change limits of each key of a group, or those of header and body of each of its triggers."""
    body = limits.change(
        rate=rate,
        burst=burst,
        in_flight=in_flight,
        max_body=max_body,
        max_headers=max_headers,
        read_timeout=read_timeout,
    )
    group = client.find().patch("groups", slug, body=body)
    show_json(group) if json else _show(group)


def _show(group: Document) -> None:
    show_fields(
        {
            "group": group["slug"],
            "name": group["name"],
            "id": group["id"],
            "created": moment(group["created_at"]),
            **limits.group_fields(group),
        }
    )
