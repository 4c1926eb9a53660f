"""`turnout dead`: runs that used up their attempts."""

import base64
import sys
from typing import Annotated, Any

import typer

from turnout.router.cli import client, replays
from turnout.router.cli.events import Cursor, Limit
from turnout.router.cli.named import OfFlow, OfGroup
from turnout.router.cli.output import (
    Document,
    Json,
    moment,
    show_fields,
    show_json,
    show_table,
    tell_more,
)
from turnout.router.cli.replays import BodyFile, Merge, Rate
from turnout.router.cli.story import pretty

app = typer.Typer(
    help="Dead letters: runs that used up their attempts, kept with their payload.",
    no_args_is_help=True,
)

Fingerprint = Annotated[
    str | None,
    typer.Option(metavar="HEX", help="Only those that look alike: see `dead list --groups`."),
]
Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Dead letters: run_…")]


@app.command("list")
def list_(
    *,
    group: OfGroup = None,
    flow: OfFlow = None,
    fingerprint: Fingerprint = None,
    state: Annotated[str, typer.Option(help="kept, replayed, discarded or all.")] = "kept",
    groups: Annotated[
        bool, typer.Option("--groups", help="Count those that look alike instead.")
    ] = False,
    limit: Limit = 50,
    cursor: Cursor = None,
    json: Json = False,
) -> None:
    """List dead letters, newest first."""
    api = client.find()
    query: dict[str, Any] = {
        "group": group,
        "flow": flow,
        "fingerprint": fingerprint,
        "state": state,
    }
    found = (
        api.get("dead-groups", **query)
        if groups
        else api.get("dead", **query, limit=limit, cursor=cursor)
    )
    if json:
        show_json(found)
    elif groups:
        show_table(
            [">Count", "=Fingerprint", "Flow and error", "=Last"],
            (
                [
                    str(each["count"]),
                    each["fingerprint"],
                    f"{each['flow']}\n{each['error'] or each['reason']}\n{each['place']}".rstrip(),
                    moment(each["last"]),
                ]
                for each in found["items"]
            ),
            empty="No dead letters.",
        )
    else:
        show_table(
            ["Flow, error and id", "=Died", "=State"],
            (
                [
                    f"{each['flow']}\n{each['error'] or each['reason']}\n{each['id']}",
                    moment(each["died_at"]),
                    each["state"] + (" (a test)" if each["kind"] == "once" else ""),
                ]
                for each in found["items"]
            ),
            empty="No dead letters.",
        )
        tell_more(found)


@app.command()
def show(
    letter_id: Annotated[str, typer.Argument(metavar="ID", help="The dead letter's id: run_…")],
    *,
    body: Annotated[
        bool, typer.Option("--body", help="Print its body alone, byte for byte.")
    ] = False,
    json: Json = False,
) -> None:
    """Show a dead letter, with its payload."""
    letter = client.find().get("dead", letter_id)
    content = base64.b64decode(letter["body"])
    if body:
        sys.stdout.buffer.write(content)
    elif json:
        show_json(letter)
    else:
        show_fields(_fields(letter))
        typer.echo()
        typer.echo(pretty(letter["content_type"], content))


@app.command()
def replay(
    ids: Ids = None,
    *,
    group: OfGroup = None,
    flow: OfFlow = None,
    fingerprint: Fingerprint = None,
    merge: Merge = None,
    body: BodyFile = None,
    rate: Rate = 500.0,
    json: Json = False,
) -> None:
    """Run dead letters again: some, or all that look alike, of a flow or a group."""
    replays.launch(
        {"dead": _selection(ids, group, flow, fingerprint)},
        edit=replays.edit(merge, body),
        rate=rate,
        json=json,
    )


@app.command()
def discard(
    ids: Ids = None,
    *,
    group: OfGroup = None,
    flow: OfFlow = None,
    fingerprint: Fingerprint = None,
    reason: Annotated[str, typer.Option(help="Why; it is kept.")],
    json: Json = False,
) -> None:
    """Discard dead letters: some, or all that look alike, of a flow or a group."""
    done = client.find().post(
        "dead", "discard", body={**_selection(ids, group, flow, fingerprint), "reason": reason}
    )
    show_json(done) if json else typer.echo(f"{done['count']} discarded")


def _selection(
    ids: list[str] | None, group: str | None, flow: str | None, fingerprint: str | None
) -> Document:
    chosen = {"ids": ids or None, "group": group, "flow": flow, "fingerprint": fingerprint}
    given = {name: value for name, value in chosen.items() if value is not None}
    if not given:
        raise typer.BadParameter("say which: ids, --flow, --group or --fingerprint")
    return given


def _fields(letter: Document) -> dict[str, str]:
    fields = {
        "id": letter["id"],
        "event": letter["event_id"] or "none: it cannot be read",
        "flow": letter["flow"],
        "attempt": str(letter["attempt"]),
        "received": moment(letter["received_at"]),
        "died": moment(letter["died_at"]),
        "reason": letter["reason"],
        "error": letter["error"],
        "place": letter["place"],
        "fingerprint": letter["fingerprint"],
        "state": letter["state"],
        "settled": f"{moment(letter['settled_at'])}: {letter['settled_by']}",
        "content type": letter["content_type"],
    }
    if letter["state"] == "kept":
        del fields["settled"]
    return {name: value for name, value in fields.items() if value}
