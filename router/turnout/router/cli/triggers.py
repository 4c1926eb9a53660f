"""`turnout trigger`: the URLs that start flows."""

from typing import Annotated

import typer

from turnout.router.cli import client, limits
from turnout.router.cli.arguments import flow_address
from turnout.router.cli.limits import Burst, MaxBody, Rate
from turnout.router.cli.output import (
    Document,
    Json,
    calls_today,
    last_used,
    moment,
    show_fields,
    show_json,
    show_table,
    usage_fields,
)
from turnout.shared import names

app = typer.Typer(help="HTTP triggers: the URLs that start flows.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="The trigger's id: trg_…")]


@app.command()
def create(
    address: Annotated[str, typer.Argument(metavar="GROUP/FLOW", help="The flow that it starts.")],
    *,
    description: Annotated[str, typer.Option(help="What calls it, and why.")],
    key: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME_OR_ID",
            help="A key that it accepts, repeatable; without: any key of the group.",
        ),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(metavar="METHOD", help="An HTTP method that it allows; without: POST."),
    ] = None,
    key_in_query: Annotated[
        bool,
        typer.Option(
            "--key-in-query", help="Accept the key as ?api_key=, where access logs keep it."
        ),
    ] = False,
    rate: Rate = None,
    burst: Burst = None,
    max_body: MaxBody = None,
    json: Json = False,
) -> None:
    """Make an HTTP trigger of a flow, with a new routing key."""
    group, flow = flow_address(address)
    trigger = client.find().post(
        "flows",
        group,
        flow,
        "triggers",
        body={
            "description": description,
            "keys": key or None,
            "methods": [each.upper() for each in method] if method else None,
            "key_in_query": key_in_query,
            "limits": limits.read(rate=rate, burst=burst, max_body=max_body),
        },
    )
    show_json(trigger) if json else _show(trigger)


@app.command("list")
def list_(
    flow: Annotated[
        str | None, typer.Option(metavar="GROUP/FLOW", help="Only those of this flow.")
    ] = None,
    json: Json = False,
) -> None:
    """List HTTP triggers; their routing keys are shortened."""
    api = client.find()
    triggers = (
        api.get("triggers") if flow is None else api.get("flows", *flow_address(flow), "triggers")
    )
    if json:
        show_json(triggers)
        return
    show_table(
        ["Flow, description and id", "=Route", "=State", "=Last used", ">Today"],
        (
            [
                f"{each['group']}/{each['flow']}\n{each['description']}\n{each['id']}",
                names.redact(each["routing_key"]),
                _state(each),
                last_used(each),
                calls_today(each),
            ]
            for each in triggers["items"]
        ),
        empty="No triggers yet: turnout trigger create GROUP/FLOW --description …",
    )


@app.command()
def show(
    trigger_id: Id,
    json: Json = False,
) -> None:
    """Show one HTTP trigger, with its URL."""
    trigger = client.find().get("triggers", trigger_id)
    show_json(trigger) if json else _show(trigger)


@app.command()
def limit(
    trigger_id: Id,
    *,
    rate: Rate = None,
    burst: Burst = None,
    max_body: MaxBody = None,
    json: Json = False,
) -> None:
    """Change an HTTP trigger's own limits; "none" takes one away."""
    body = limits.change(rate=rate, burst=burst, max_body=max_body)
    trigger = client.find().patch("triggers", trigger_id, body=body)
    show_json(trigger) if json else _show(trigger)


def _state(trigger: Document) -> str:
    if not trigger["enabled"]:
        return "off"
    return "live" if trigger["live"] else "pending"


def _show(trigger: Document) -> None:
    keys = trigger["keys"]
    show_fields(
        {
            "url": trigger["url"],
            "routing key": trigger["routing_key"],
            "flow": f"{trigger['group']}/{trigger['flow']}",
            "description": trigger["description"],
            "id": trigger["id"],
            "state": _state(trigger),
            "methods": ", ".join(trigger["methods"]),
            "keys": f"any of group {trigger['group']}"
            if keys is None
            else ", ".join(f"{each['name']} ({each['id']})" for each in keys),
            "key in query": "accepted" if trigger["key_in_query"] else "refused",
            "created": moment(trigger["created_at"]),
            **limits.fields(trigger),
            **usage_fields(trigger),
        }
    )
