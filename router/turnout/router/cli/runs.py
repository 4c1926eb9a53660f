"""`turnout run`: executions of flows."""

from typing import Annotated

import typer

from turnout.router.cli import client
from turnout.router.cli.arguments import Why, flow_address
from turnout.router.cli.output import Json, moment, show_fields, show_json

app = typer.Typer(help="Runs: executions of flows.", no_args_is_help=True)


@app.command()
def cancel(
    flow: Annotated[str, typer.Option(metavar="GROUP/FLOW", help="The flow of the runs.")],
    reason: Why,
    run_id: Annotated[
        str | None, typer.Argument(metavar="[RUN_ID]", help="One; without: all that are queued.")
    ] = None,
    json: Json = False,
) -> None:
    """Cancel a queued run of a flow, or all of them; what has started goes on."""
    made = client.find().post(
        *("flows", *flow_address(flow), "cancellations"),
        body={"run_id": run_id, "reason": reason},
    )
    if json:
        show_json(made)
        return
    show_fields(
        {
            "flow": f"{made['group']}/{made['flow']}",
            "cancelled": made["run_id"] or f"all runs made until {moment(made['created_at'])}",
            "reason": made["reason"],
        }
    )
