"""`turnout queue`: what waits for a flow."""

from typing import Annotated

import typer

from turnout.router.cli import client, named
from turnout.router.cli.arguments import Why, examples, flow_address
from turnout.router.cli.events import Cursor, Limit
from turnout.router.cli.output import Json, moment, show_fields, show_json, show_table, tell_more

app = typer.Typer(help="Queues: what waits for a flow.", no_args_is_help=True)

Address = Annotated[
    str,
    typer.Argument(metavar="GROUP/FLOW", autocompletion=named.flows, help="The flow's address."),
]


@app.command("list")
def list_(flow: Address, *, limit: Limit = 20, cursor: Cursor = None, json: Json = False) -> None:
    """List the runs that wait for a flow, the oldest first; nothing is taken out of its queue."""
    found = client.find().get("flows", *flow_address(flow), "queue", limit=limit, cursor=cursor)
    if json:
        show_json(found)
        return
    show_table(
        ["=Run", "=State", ">Attempt", "Note"],
        (
            [each["id"], each["state"], str(each["attempt"]), each["error"] or ""]
            for each in found["items"]
        ),
        empty="Nothing waits.",
    )
    tell_more(found)
    typer.echo(
        f"{found['queued']} queued, {found['retrying']} wait for another attempt; RabbitMQ has "
        f"{found['ready']} that no worker has taken",
        err=True,
    )


@app.command(epilog=examples('queue cancel crm/update-lead-status --reason "bad import"'))
def cancel(flow: Address, *, reason: Why, json: Json = False) -> None:
    """Cancel all that waits for a flow now; what has started goes on. One: `turnout run cancel`."""
    made = client.find().post(
        "flows", *flow_address(flow), "cancellations", body={"reason": reason}
    )
    if json:
        show_json(made)
        return
    show_fields(
        {
            "flow": f"{made['group']}/{made['flow']}",
            "cancelled": f"all runs made until {moment(made['created_at'])}",
            "reason": made["reason"],
        }
    )


@app.command(
    epilog=examples(
        'flow pause crm/update-lead-status --reason "HubSpot is down"',
        'queue move crm/update-lead-status --to crm/collect-leads --reason "HubSpot is down"',
    )
)
def move(
    flow: Address,
    *,
    to: Annotated[
        str,
        typer.Option(
            metavar="GROUP/FLOW",
            autocompletion=named.flows,
            help="Another flow of the group, to run them.",
        ),
    ],
    reason: Why,
    json: Json = False,
) -> None:
    """Move what waits in the queue of a paused flow to another flow, each run once."""
    from rich.console import Console  # noqa: PLC0415 - so that help is instant
    from rich.progress import Progress  # noqa: PLC0415 - the same

    api, moved = client.find(), 0
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("Moving", total=None)
        while True:
            done = api.post(
                *("flows", *flow_address(flow), "queue", "move"),
                body={"to": to, "reason": reason},
                patience=60,
            )
            moved += done["moved"]
            progress.update(task, completed=moved, total=moved + done["left"])
            if not done["moved"] or not done["left"] or done["refused"]:
                break
    if json:
        show_json({**done, "moved": moved})
        return
    typer.echo(f"{moved} runs moved to {to}")
    if done["refused"]:
        typer.echo(f"{done['left']} stayed: {done['refused']}", err=True)
