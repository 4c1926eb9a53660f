"""`turnout event`: accepted calls, and what happened to each."""

from pathlib import Path
from typing import Annotated, Any

import typer

from turnout.router.cli import client
from turnout.router.cli.arguments import From, Header, JsonPath, Text, To, Why, past
from turnout.router.cli.named import OfFlow, OfGroup, OfKey, OfTrigger
from turnout.router.cli.output import Document, Json, second, show_json, show_table, tell_more
from turnout.router.cli.story import show_body, show_story

app = typer.Typer(help="Events: what happened to a call?", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="The event's id: evt_…")]
State = Annotated[
    str | None,
    typer.Option(
        "--state",
        help="queued, running, retrying, succeeded, dead, cancelled, refused or unknown.",
    ),
]
Error = Annotated[
    str | None,
    typer.Option("--error", metavar="TYPE", help="Failed with this exception, like ValueError."),
]
Limit = Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many at most.")]
Cursor = Annotated[
    str | None, typer.Option("--cursor", metavar="CURSOR", help="Go on where a listing has ended.")
]


@app.command("list")
def list_(
    *,
    group: OfGroup = None,
    flow: OfFlow = None,
    trigger: OfTrigger = None,
    key: OfKey = None,
    state: State = None,
    error: Error = None,
    from_: From = None,
    to: To = None,
    header: Header = None,
    json_path: JsonPath = None,
    text: Text = None,
    limit: Limit = 20,
    cursor: Cursor = None,
    json: Json = False,
) -> None:
    """List events, newest first."""
    query: dict[str, Any] = {
        "group": group,
        "flow": flow,
        "trigger": trigger,
        "key": key,
        "state": state,
        "error": error,
        "from": past(from_),
        "to": past(to),
        "limit": limit,
    }
    payload = {"header": header, "json": json_path, "text": text}
    if any(payload.values()):
        if cursor is not None:
            raise typer.BadParameter("end earlier with --to", param_hint="--cursor")
        found = {"items": _search({**query, **payload})}
    else:
        found = client.find().get("events", **query, cursor=cursor)
    if json:
        show_json(found)
        return
    show_table(
        ["=When (UTC)", "=State", "=Flow, call and id", "Error"],
        (
            [
                second(each["received_at"]),
                each["state"],
                _call(each),
                each["error"] or "",
            ]
            for each in found["items"]
        ),
        empty="No such events.",
    )
    tell_more(found)


@app.command()
def show(
    event_id: Id,
    *,
    body: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the body, as it came, into this file; -: here."),
    ] = None,
    json: Json = False,
) -> None:
    """Tell the whole story of one event, and show what came with it."""
    api = client.find()
    if body is not None:
        content = api.read("events", event_id, "body")
        if str(body) == "-":
            typer.get_binary_stream("stdout").write(content)
        else:
            body.write_bytes(content)
            typer.echo(f"{len(content)} bytes written to {body}", err=True)
        return
    story = api.get("events", event_id)
    if json:
        show_json(story)
        return
    show_story(story)
    show_body(api, event_id)


@app.command()
def erase(
    event_id: Id,
    *,
    reason: Why,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Erase what came with an event, and what its runs said, for good."""
    if not yes:
        typer.confirm(f"Erase the payload and metadata of {event_id} for good?", abort=True)
    story = client.find().post("events", event_id, "erase", body={"reason": reason})
    if json:
        show_json(story)
        return
    typer.echo(f"{event_id} is erased: nothing shows or replays it any more.")
    typer.echo(
        "The archive holds its bytes until the archive's own retention (TURNOUT_ARCHIVE_MAX_AGE), "
        "and a run that has not ended has them in its queue.",
        err=True,
    )


def _search(query: dict[str, Any]) -> list[Document]:
    """Search by payload, with a bar that shows how much of the archive is read."""
    from rich.console import Console  # noqa: PLC0415 - so that help is instant
    from rich.progress import Progress  # noqa: PLC0415 - the same

    found: list[Document] = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("Reading the archive", total=1.0)
        for line in client.find().lines("events", "search", **query):
            found += line["found"]
            progress.update(
                task,
                completed=line["share"],
                description=f"{line['scanned']} events read, {len(found)} found",
            )
    return found


def _call(event: Document) -> str:
    call = f"{event['method']} {event['path']}".strip() if event["method"] else "erased or unread"
    test = ", a test" if event["kind"] == "once" else ""
    return f"{event['flow']}\n{call}{test}\n{event['id']}"
