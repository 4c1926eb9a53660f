"""`turnout run`: executions of flows, replays among them."""

from http import HTTPStatus
from typing import Annotated, cast

import typer

from turnout.router.cli import client
from turnout.router.cli.arguments import From, To, Why, flow_address, past
from turnout.router.cli.events import Cursor, Error, Limit, State
from turnout.router.cli.named import OfFlow, OfGroup, OfKey, OfTrigger
from turnout.router.cli.output import (
    Document,
    Json,
    second,
    show_fields,
    show_json,
    show_table,
    tell_more,
)
from turnout.router.cli.story import show_story

app = typer.Typer(help="Runs: executions of flows, replays too.", no_args_is_help=True)


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
    limit: Limit = 20,
    cursor: Cursor = None,
    json: Json = False,
) -> None:
    """List runs, the newest first."""
    query = {"from": past(from_), "to": past(to)}
    found = client.find().get(
        "runs",
        group=group,
        flow=flow,
        trigger=trigger,
        key=key,
        state=state,
        error=error,
        limit=limit,
        cursor=cursor,
        **query,
    )
    if json:
        show_json(found)
        return
    show_table(
        ["=Started (UTC)", "=State", ">Attempt", "=Flow and id", "Error"],
        (
            [
                second(each["started_at"]),
                each["state"],
                str(each["attempt"]),
                f"{each['flow']}\n{each['id']}"
                + (f"\nreplay of\n{each['origin']}" if each["replay"] else ""),
                each["error"] or "",
            ]
            for each in found["items"]
        ),
        empty="No such runs.",
    )
    tell_more(found)


@app.command()
def show(
    run_id: Annotated[str, typer.Argument(metavar="ID", help="The run's id: run_…")],
    json: Json = False,
) -> None:
    """Tell the story of a run's event."""
    story = client.find().get("runs", run_id)
    show_json(story) if json else show_story(story)


@app.command()
def cancel(
    run_id: Annotated[str, typer.Argument(metavar="ID", help="The run's id: run_…")],
    *,
    reason: Why,
    flow: Annotated[
        str | None,
        typer.Option(metavar="GROUP/FLOW", help="Its flow, if the history does not have it yet."),
    ] = None,
    json: Json = False,
) -> None:
    """Cancel a queued run; one that has started goes on. All of a flow: `turnout queue cancel`."""
    api = client.find()
    if flow is not None:
        body = {"run_id": run_id, "reason": reason}
        made = api.post("flows", *flow_address(flow), "cancellations", body=body)
    else:
        made = _cancel(api, run_id, reason)
    if json:
        show_json(made)
        return
    show_fields(
        {
            "flow": f"{made['group']}/{made['flow']}",
            "cancelled": made["run_id"],
            "reason": made["reason"],
        }
    )


def _cancel(api: client.AdminApi, run_id: str, reason: str) -> Document:
    body = {"reason": reason}
    try:
        return cast("Document", api.post("runs", run_id, "cancel", body=body))
    except client.AdminApiError as error:
        if error.status == HTTPStatus.NOT_FOUND:
            text = f"the history does not have {run_id}, perhaps not yet: say its flow with --flow"
            raise client.AdminApiError(text, error.status) from None
        raise
