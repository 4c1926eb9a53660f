"""`turnout flow`: what runs."""

from typing import Annotated

import typer

from turnout.router.cli import client, limits, named, statistics
from turnout.router.cli.arguments import Last, Unit, Why, examples, flow_address
from turnout.router.cli.named import OfGroup
from turnout.router.cli.output import (
    Document,
    Json,
    moment,
    number,
    show_fields,
    show_json,
    show_table,
)

app = typer.Typer(help="Flows: the code that runs.", no_args_is_help=True)

Address = Annotated[
    str,
    typer.Argument(metavar="GROUP/FLOW", autocompletion=named.flows, help="The flow's address."),
]


@app.command(
    epilog=examples(
        "flow create crm/update-lead-status", "flow create crm/bill --ordered-by customer.id"
    )
)
def create(
    address: Address,
    name: Annotated[str | None, typer.Option(help="How people call it.")] = None,
    ordered_by: Annotated[
        str | None,
        typer.Option(
            metavar="PATH", help="Events with the same value there run in order: customer.id."
        ),
    ] = None,
    partitions: Annotated[
        int | None, typer.Option(help="Of an ordered flow: how many workers can share it.")
    ] = None,
    json: Json = False,
) -> None:
    """Register a flow of a group."""
    group, slug = flow_address(address)
    flow = client.find().create(
        "groups",
        group,
        "flows",
        body={"slug": slug, "name": name, "ordered_by": ordered_by, "partitions": partitions},
    )
    show_json(flow) if json else _show(flow)


@app.command("list")
def list_(
    group: OfGroup = None,
    json: Json = False,
) -> None:
    """List flows."""
    api = client.find()
    flows = api.get("flows") if group is None else api.get("groups", group, "flows")
    if json:
        show_json(flows)
        return
    show_table(
        ["Flow", "State", ">Queued", ">Workers", "=Id"],
        (
            [
                _address(each),
                each["state"],
                number(each["queued"]),
                number(each["workers"]),
                each["id"],
            ]
            for each in flows["items"]
        ),
        empty="No flows yet: turnout flow create GROUP/FLOW",
    )


@app.command()
def show(address: Address, json: Json = False) -> None:
    """Show one flow."""
    flow = client.find().get("flows", *flow_address(address))
    show_json(flow) if json else _show(flow)


@app.command(epilog=examples("flow limit crm/update-lead-status --running 10"))
def limit(
    address: Address,
    running: Annotated[
        str,
        typer.Option(
            metavar="N|none", help="Runs in progress at once, over all workers; none: any number."
        ),
    ],
    json: Json = False,
) -> None:
    """Limit how many runs of a flow are in progress at once, over all workers."""
    body = limits.read(running=running)
    flow = client.find().patch("flows", *flow_address(address), body=body)
    show_json(flow) if json else _show(flow)


@app.command(
    epilog=examples(
        "flow stats crm/update-lead-status",
        "flow stats crm/update-lead-status --by minute --last 15",
    )
)
def stats(
    address: Address,
    by: Unit = "day",
    last: Last = None,
    json: Json = False,
) -> None:
    """Show what a flow had to do, and how it did: calls, refusals, runs, durations."""
    found = client.find().get("flows", *flow_address(address), "stats", unit=by, last=last)
    show_json(found) if json else statistics.show(found)


@app.command(epilog=examples('flow pause crm/update-lead-status --reason "HubSpot is down"'))
def pause(address: Address, reason: Why, json: Json = False) -> None:
    """Let no run of a flow start: those in progress end, calls are queued."""
    flow = client.find().post("flows", *flow_address(address), "pause", body={"reason": reason})
    show_json(flow) if json else _show(flow)


@app.command()
def resume(address: Address, json: Json = False) -> None:
    """Let runs of a flow start again."""
    flow = client.find().post("flows", *flow_address(address), "resume")
    show_json(flow) if json else _show(flow)


def _address(flow: Document) -> str:
    return f"{flow['group']}/{flow['slug']}"


def _state(flow: Document) -> str:
    if (paused := flow["paused"]) is None:
        return str(flow["state"])
    return f"paused since {moment(paused['since'])}: {paused['reason']}"


def _waiting(flow: Document) -> str:
    return f", waiting about {flow['wait']:.0f} s" if flow["queued"] else ""


def _show(flow: Document) -> None:
    show_fields(
        {
            "flow": _address(flow),
            "name": flow["name"],
            "id": flow["id"],
            "created": moment(flow["created_at"]),
            **(
                {"ordered by": f"{flow['ordered_by']}, {flow['partitions']} partitions"}
                if flow["ordered_by"]
                else {}
            ),
            "at once": "any number"
            if flow["max_running"] is None
            else f"{flow['max_running']}, over all workers",
            "state": _state(flow),
            "queued": number(flow["queued"]) + _waiting(flow),
            "running": number(flow["running"]),
            "workers": number(flow["workers"]),
        }
    )
