"""`turnout token`: what opens the admin API."""

from typing import Annotated, Literal

import typer

from turnout.router.cli import client
from turnout.router.cli.arguments import examples, expiry
from turnout.router.cli.output import (
    Document,
    Json,
    day,
    moment,
    show_fields,
    show_json,
    show_table,
)

app = typer.Typer(help="Admin tokens: they open the admin API.", no_args_is_help=True)


@app.command(
    epilog=examples('token create "night shift" --role operator --group crm --expires 30d')
)
def create(
    name: Annotated[str, typer.Argument(help="Who or what it is for.")],
    *,
    role: Annotated[
        Literal["viewer", "operator", "admin"],
        typer.Option(help="A viewer looks; an operator changes; an admin hands out tokens, too."),
    ] = "viewer",
    group: Annotated[
        list[str] | None, typer.Option(help="Limit it to this group; may be given often.")
    ] = None,
    expires: Annotated[
        str | None, typer.Option(metavar="DAY|SPAN", help="2027-01-31, 30d or 12h; else never.")
    ] = None,
    json: Json = False,
) -> None:
    """Make an admin token; its text is shown this one time."""
    body = {
        "name": name,
        "role": role,
        "groups": group or None,
        "expires_at": None if expires is None else expiry(expires),
    }
    token = client.find().create("tokens", body=body)
    if json:
        show_json(token)
    else:
        show_fields(
            {"token": token["token"] or "lost with the answer: revoke it", **_fields(token)}
        )


@app.command("list")
def list_(json: Json = False) -> None:
    """List all admin tokens."""
    tokens = client.find().get("tokens")
    if json:
        show_json(tokens)
        return
    show_table(
        ["Name", "Role", "Groups", "Expires", "State", "=Id"],
        (
            [
                each["name"],
                each["role"],
                _groups(each),
                day(each["expires_at"]),
                "revoked" if each["revoked_at"] else "valid",
                each["id"],
            ]
            for each in tokens["items"]
        ),
        empty="No tokens.",
    )


@app.command()
def revoke(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="The token's id: tok_….")],
    reason: Annotated[str | None, typer.Option(help="Why, for the audit log.")] = None,
    json: Json = False,
) -> None:
    """Let an admin token open nothing any more, for ever."""
    token = client.find().post("tokens", token_id, "revoke", body={"reason": reason})
    show_json(token) if json else show_fields(_fields(token))


def _groups(token: Document) -> str:
    return "all" if token["groups"] is None else ", ".join(token["groups"])


def _fields(token: Document) -> dict[str, str]:
    return {
        "name": token["name"],
        "id": token["id"],
        "role": token["role"],
        "groups": _groups(token),
        "expires": moment(token["expires_at"]),
        "revoked": moment(token["revoked_at"]),
    }
