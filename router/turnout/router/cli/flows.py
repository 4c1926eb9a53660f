"""`turnout flow`: what runs."""

from typing import Annotated

import typer

from turnout.router.cli import client
from turnout.router.cli.arguments import flow_address
from turnout.router.cli.output import Document, Json, moment, show_fields, show_json, show_table

app = typer.Typer(help="Flows: the code that runs.", no_args_is_help=True)

Address = Annotated[str, typer.Argument(metavar="GROUP/FLOW", help="The flow's address.")]


@app.command()
def create(
    address: Address,
    name: Annotated[str | None, typer.Option(help="How people call it.")] = None,
    json: Json = False,
) -> None:
    """Register a flow of a group."""
    group, slug = flow_address(address)
    flow = client.find().post("groups", group, "flows", body={"slug": slug, "name": name})
    show_json(flow) if json else _show(flow)


@app.command("list")
def list_(
    group: Annotated[str | None, typer.Option(help="Only those of this group.")] = None,
    json: Json = False,
) -> None:
    """List flows."""
    api = client.find()
    flows = api.get("flows") if group is None else api.get("groups", group, "flows")
    if json:
        show_json(flows)
        return
    show_table(
        ["Flow", "Name", "=Id"],
        ([_address(each), each["name"], each["id"]] for each in flows["items"]),
        empty="No flows yet: turnout flow create GROUP/FLOW",
    )


@app.command()
def show(address: Address, json: Json = False) -> None:
    """Show one flow."""
    flow = client.find().get("flows", *flow_address(address))
    show_json(flow) if json else _show(flow)


def _address(flow: Document) -> str:
    return f"{flow['group']}/{flow['slug']}"


def _show(flow: Document) -> None:
    show_fields(
        {
            "flow": _address(flow),
            "name": flow["name"],
            "id": flow["id"],
            "created": moment(flow["created_at"]),
        }
    )
