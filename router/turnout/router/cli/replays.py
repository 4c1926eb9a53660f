"""`turnout replay`: events that run again."""

import base64
import json as json_
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from turnout.router.cli import client, named
from turnout.router.cli.arguments import (
    From,
    Header,
    JsonPath,
    Reason,
    Text,
    To,
    examples,
    past,
)
from turnout.router.cli.client import AdminApi
from turnout.router.cli.named import OfFlow, OfGroup, OfKey, OfTrigger
from turnout.router.cli.output import Document, Json, moment, show_fields, show_json, show_table

app = typer.Typer(
    help="Replays: events of the archive that run again, planned, paced and watched.",
    no_args_is_help=True,
)

Id = Annotated[str, typer.Argument(metavar="ID", help="The replay's id: rpl_…")]
Rate = Annotated[float, typer.Option(min=0, help="Runs a second at most; 0: as fast as it goes.")]
Merge = Annotated[
    str | None,
    typer.Option(metavar="JSON", help="A JSON merge patch (RFC 7396) for each body."),
]
BodyFile = Annotated[
    str | None, typer.Option("--body", metavar="FILE", help="A body instead of each one.")
]
Events = Annotated[list[str] | None, typer.Argument(metavar="[EVENT]...", help="Events: evt_…")]
#: Seconds between two looks at a replay.
_LOOK = 0.5

_ENDED = ("done", "aborted")


@app.command(
    epilog=examples(
        "replay plan --flow crm/update-lead-status --from 3h --state dead",
        "replay plan --key crm-prod --where order.id=17",
    )
)
def plan(
    events: Events = None,
    *,
    group: OfGroup = None,
    flow: OfFlow = None,
    trigger: OfTrigger = None,
    key: OfKey = None,
    state: Annotated[
        str | None, typer.Option(help="Only runs in this state: dead, succeeded, …")
    ] = None,
    error: Annotated[
        str | None, typer.Option(metavar="TYPE", help="Only runs that failed with this exception.")
    ] = None,
    from_: From = None,
    to: To = None,
    header: Header = None,
    json_path: JsonPath = None,
    text: Text = None,
    merge: Merge = None,
    body: BodyFile = None,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="GROUP/FLOW",
            autocompletion=named.flows,
            help="Another flow that runs instead; with --dry-run.",
        ),
    ] = None,
    version: Annotated[
        str | None,
        typer.Option(help="The version of the flow's code that alone runs it; with --dry-run."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Each run is a test: one attempt, marked as such.")
    ] = False,
    order: Annotated[
        str, typer.Option(help="any; or kept: each run waits until the one before has ended.")
    ] = "any",
    rate: Rate = 500.0,
    json: Json = False,
) -> None:
    """Count what would run again, and show how long it would take; nothing runs yet."""
    selection = {
        "events": events or None,
        "group": group,
        "flow": flow,
        "trigger": trigger,
        "key": key,
        "state": state,
        "error_type": error,
        "since": past(from_),
        "until": past(to),
        "header": header,
        "json": json_path,
        "text": text,
    }
    api = client.find()
    planned = api.post(
        "replays",
        body={
            "events": {name: value for name, value in selection.items() if value is not None},
            "edit": edit(merge, body),
            "target": target,
            "version": version,
            "dry_run": dry_run,
            "order": order,
            "rate": rate,
        },
    )
    while planned["state"] == "planning":
        time.sleep(_LOOK / 5)
        planned = api.get("replays", planned["id"])
    if json:
        show_json(planned)
        return
    _show(planned)
    if planned["state"] == "planned" and planned["total"]:
        typer.echo(f"\nNothing runs yet. Start it with: turnout replay start {planned['id']}")


@app.command()
def start(
    replay_id: Id,
    *,
    rate: Annotated[
        float | None, typer.Option(min=0, help="Runs a second at most; else as it was planned.")
    ] = None,
    watch: Annotated[bool, typer.Option(help="Stay, and show how it gets on.")] = True,
    reason: Reason = None,
    json: Json = False,
) -> None:
    """Start a planned replay."""
    api = client.find()
    body = {"rate": rate, "reason": reason}
    _follow(api, api.post("replays", replay_id, "start", body=body), watch, json)


@app.command()
def status(
    replay_id: Id,
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Stay, until it has ended.")] = False,
    json: Json = False,
) -> None:
    """Show a replay, how it gets on, and what became of its runs."""
    api = client.find()
    _follow(api, api.get("replays", replay_id), watch, json)


@app.command("list")
def list_(json: Json = False) -> None:
    """List the newest replays."""
    found = client.find().get("replays", limit=50)
    if json:
        show_json(found)
        return
    show_table(
        ["Replay", "=State", ">Done", ">Of", "=Created"],
        (
            [
                f"{each['id']}\n{_selected(each)}",
                each["state"],
                str(each["done"]),
                str(each["total"]),
                moment(each["created_at"]),
            ]
            for each in found["items"]
        ),
        empty="No replays yet: turnout replay plan --help",
    )


@app.command()
def pause(replay_id: Id, reason: Reason = None, json: Json = False) -> None:
    """Let a replay wait."""
    _changed(client.find().post("replays", replay_id, "pause", body={"reason": reason}), json)


@app.command()
def resume(replay_id: Id, reason: Reason = None, json: Json = False) -> None:
    """Let a replay go on."""
    _changed(client.find().post("replays", replay_id, "resume", body={"reason": reason}), json)


@app.command()
def abort(replay_id: Id, reason: Reason = None, json: Json = False) -> None:
    """End a replay. What it has published runs; nothing more is published."""
    _changed(client.find().post("replays", replay_id, "abort", body={"reason": reason}), json)


@app.command()
def rate(
    replay_id: Id,
    rate: Annotated[float, typer.Argument(min=0, help="Runs a second; 0: as fast as it goes.")],
    json: Json = False,
) -> None:
    """Change how fast a replay goes on."""
    _changed(client.find().patch("replays", replay_id, body={"rate": rate}), json)


def launch(selection: Document, *, edit: Document | None, rate: float, json: bool) -> None:
    """Plan a replay, start it and show how it gets on."""
    api = client.find()
    body = {**selection, "edit": edit, "rate": rate, "start": True}
    _follow(api, api.post("replays", body=body), True, json)


def edit(merge: str | None, body: str | None) -> Document | None:
    """Read what is to become of bodies.

    Raises:
        BadParameter: the patch is no JSON object, the file cannot be read, or both are given.
    """
    if merge is not None and body is not None:
        raise typer.BadParameter("either --merge or --body")
    if merge is not None:
        try:
            patch = json_.loads(merge)
        except ValueError as error:
            raise typer.BadParameter(f"it is no JSON: {error}", param_hint="--merge") from None
        return {"merge": patch}
    if body is None:
        return None
    try:
        content = sys.stdin.buffer.read() if body == "-" else Path(body).read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{body}: {error.strerror}", param_hint="--body") from None
    return {"body": base64.b64encode(content).decode()}


def _follow(api: AdminApi, replay: Document, watch: bool, json: bool) -> None:
    """Show a replay, from now to its end if somebody stays."""
    if watch and replay["state"] not in _ENDED:
        from rich.console import Console  # noqa: PLC0415 - so that help is instant
        from rich.progress import (  # noqa: PLC0415 - the same
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TaskProgressColumn,
            TextColumn,
        )

        columns = (
            BarColumn(),
            MofNCompleteColumn(),
            TaskProgressColumn(),
            TextColumn("{task.description}"),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True, disable=json) as bar:
            task = bar.add_task("", total=None)
            while replay["state"] not in _ENDED:
                bar.update(
                    task, total=replay["total"], completed=replay["done"], description=_pace(replay)
                )
                time.sleep(_LOOK)
                replay = api.get("replays", replay["id"])
    replay = api.get("replays", replay["id"])
    show_json(replay) if json else _show(replay)


def _changed(replay: Document, json: bool) -> None:
    show_json(replay) if json else typer.echo(
        f"{replay['state']}, {replay['done']} of {replay['total']} done"
    )


def _pace(replay: Document) -> str:
    if replay["state"] != "running":
        return str(replay["state"])
    if replay["note"] and not replay["current_rate"]:
        return f"waits: {replay['note']}"
    left = replay["remaining_seconds"]
    return f"{replay['current_rate']:g}/s" + (f", {_span(left)} left" if left is not None else "")


def _show(replay: Document) -> None:
    total, seconds = replay["total"], replay["remaining_seconds"]
    fields = {
        "id": replay["id"],
        "state": replay["state"],
        "of": _selected(replay),
        "runs": f"{replay['done']} of {total} published" if replay["started_at"] else str(total),
        "gone": _gone(replay),
        "skipped": str(replay["skipped"] or ""),
        "edited": "yes" if replay["edited"] else "",
        "target": replay["target"] or "",
        "version": replay["version"] or "",
        "order": "each run waits until the one before has ended"
        if replay["order"] == "kept"
        else "",
        "dry run": "yes: each run is a test" if replay["dry_run"] else "",
        "rate": f"{replay['rate']:g}/s at most" if replay["rate"] else "as fast as it goes",
        "takes": f"about {_span(seconds)}" if replay["state"] == "planned" and seconds else "",
        "note": replay["note"],
        "outcomes": ", ".join(f"{n} {state}" for state, n in replay.get("outcomes", {}).items()),
        "first": "\n".join(
            f"{moment(each['received_at'])} {each['event_id']}"
            for each in replay.get("samples", [])
        ),
    }
    show_fields({name: value for name, value in fields.items() if value})


def _gone(replay: Document) -> str:
    told = []
    if replay["gone"]:
        told.append(f"{replay['gone']} more events were meant: the archive has dropped them")
    if replay["gone_since"]:
        told.append(f"{replay['gone_since']} have left the archive since: they are skipped")
    return "\n".join(told)


def _selected(replay: Document) -> str:
    selection: dict[str, Any] = replay["selection"]
    told = [
        f"{len(value)} {name}" if isinstance(value, list) else f"{name} {value}"
        for name, value in selection.items()
    ]
    return ("dead letters: " if replay["source"] == "dead" else "") + ", ".join(told)


def _span(seconds: float) -> str:
    return str(timedelta(seconds=max(1, round(seconds))))
