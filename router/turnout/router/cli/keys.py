"""`turnout key`: API keys."""

from typing import Annotated

import typer

from turnout.router.cli import client, limits
from turnout.router.cli.arguments import expiry
from turnout.router.cli.limits import Burst, InFlight, Rate
from turnout.router.cli.output import (
    Document,
    Json,
    calls_today,
    day,
    last_used,
    moment,
    show_fields,
    show_json,
    show_table,
    usage_fields,
)

app = typer.Typer(help="API keys: reusable over all flows of their group.", no_args_is_help=True)

Group = Annotated[str, typer.Option(help="The slug of the key's group.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="The key's id: key_…")]


@app.command()
def create(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="What it is for, unique in the group.")
    ],
    *,
    group: Group,
    expires: Annotated[
        str | None,
        typer.Option(help="From when on it is refused: a day (its beginning in UTC), 30d or 12h."),
    ] = None,
    rate: Rate = None,
    burst: Burst = None,
    in_flight: InFlight = None,
    json: Json = False,
) -> None:
    """Make an API key and show it, this one time."""
    expires_at = None if expires is None else expiry(expires)
    given = limits.read(rate=rate, burst=burst, in_flight=in_flight)
    body = {"name": name, "expires_at": expires_at, "limits": given}
    key = client.find().post("groups", group, "keys", body=body)
    if json:
        show_json(key)
        return
    show_fields({"key": key["key"], **_fields(key)})
    typer.echo("Keep the key now: it is stored nowhere and cannot be shown again.", err=True)


@app.command("list")
def list_(group: Group, json: Json = False) -> None:
    """List the API keys of a group."""
    keys = client.find().get("groups", group, "keys")
    if json:
        show_json(keys)
        return
    show_table(
        ["Name, id and prefix", "=Created,\nexpires", "=Last used", ">Today"],
        (
            [
                f"{each['name']}\n{each['id']}\n{each['prefix']}",
                f"{day(each['created_at'])}\n{_end(each)}",
                last_used(each),
                calls_today(each),
            ]
            for each in keys["items"]
        ),
        empty=f"No keys yet: turnout key create NAME --group {group}",
    )


@app.command()
def show(
    key_id: Id,
    json: Json = False,
) -> None:
    """Show one API key, and which triggers accept it."""
    key = client.find().get("keys", key_id)
    if json:
        show_json(key)
        return
    show_fields(_fields(key))
    typer.echo()
    show_table(
        ["Accepted by", "=Trigger"],
        ([f"{each['flow']}\n{each['description']}", each["id"]] for each in key["triggers"]),
        empty="No trigger accepts it.",
    )


@app.command()
def limit(
    key_id: Id,
    *,
    rate: Rate = None,
    burst: Burst = None,
    in_flight: InFlight = None,
    json: Json = False,
) -> None:
    """Change an API key's own limits; "none" takes one away: that of its group holds."""
    body = limits.change(rate=rate, burst=burst, in_flight=in_flight)
    key = client.find().patch("keys", key_id, body=body)
    show_json(key) if json else show_fields(_fields(key))


def _end(key: Document) -> str:
    return "revoked" if key["revoked_at"] else day(key["expires_at"])


def _fields(key: Document) -> dict[str, str]:
    fields = {
        "name": key["name"],
        "group": key["group"],
        "id": key["id"],
        "prefix": key["prefix"],
        "created": moment(key["created_at"]),
        "expires": moment(key["expires_at"]),
    }
    if key["revoked_at"]:
        fields["revoked"] = moment(key["revoked_at"])
    return {**fields, **limits.fields(key), **usage_fields(key)}
