"""`turnout refusal`: the calls that were refused, and why."""

from collections.abc import Iterable
from typing import Annotated

import typer

from turnout.router.cli import client
from turnout.router.cli.arguments import examples
from turnout.router.cli.named import OfFlow, OfGroup, OfKey, OfTrigger
from turnout.router.cli.output import Document, Json, second, show_json, show_table
from turnout.router.cli.usage import key_of, trigger_of

app = typer.Typer(help="Refused calls: why did a webhook not arrive?", no_args_is_help=True)

Code = Annotated[str | None, typer.Option(help="Only this reason, for example rate_limited.")]


@app.command(
    "list", epilog=examples("refusal list --key hubspot", "refusal list --code invalid_api_key")
)
def list_(
    *,
    group: OfGroup = None,
    flow: OfFlow = None,
    trigger: OfTrigger = None,
    key: OfKey = None,
    code: Code = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")] = 20,
    json: Json = False,
) -> None:
    """List the newest refused calls, of many alike a few, and what their codes mean."""
    found = client.find().get(
        "refusals", group=group, flow=flow, trigger=trigger, key=key, code=code, limit=limit
    )
    if json:
        show_json(found)
        return
    show_table(
        ["=When (UTC)", "=Why", "Call", "Key"],
        (
            [
                second(each["at"]),
                f"{each['code']}\n{each['status']}",
                _call(each),
                _credential(each),
            ]
            for each in found["items"]
        ),
        empty="No refused calls.",
    )
    _explain(found["items"])


@app.command(epilog=examples("refusal counts --days 3"))
def counts(
    *,
    group: OfGroup = None,
    flow: OfFlow = None,
    trigger: OfTrigger = None,
    key: OfKey = None,
    code: Code = None,
    days: Annotated[int, typer.Option(min=1, help="Of how many days, today included.")] = 7,
    json: Json = False,
) -> None:
    """Count refused calls by reason, trigger and API key, as far as these were known."""
    found = client.find().get(
        "refusals", "counts", group=group, flow=flow, trigger=trigger, key=key, code=code, days=days
    )
    if json:
        show_json(found)
        return
    show_table(
        ["=Why", "Flow and trigger", "Key", ">Today", ">Total"],
        (
            [
                each["code"],
                trigger_of(each),
                key_of(each),
                str(each["counts"][-1]),
                str(each["total"]),
            ]
            for each in found["items"]
        ),
        empty=f"No refused calls in the last {days} days.",
    )
    _explain(found["items"])


def _call(refusal: Document) -> str:
    """Say where a call went and where it came from, and what else ingress knows of it."""
    route = f"/t/{refusal['route']}…" if refusal["route"] else "-"
    lines = [
        f"{refusal['method']} {route}",
        refusal["flow"],
        f"from {refusal['remote']}",
        refusal["reason"],
    ]
    return "\n".join(filter(None, lines))


def _credential(refusal: Document) -> str:
    """Say what a call showed: the name of the key, if one is registered, and its prefix."""
    lines = [key_of(refusal) if refusal["key"] else None, refusal["prefix"]]
    return "\n".join(filter(None, lines)) or "-"


def _explain(items: Iterable[Document]) -> None:
    hints = {each["code"]: each["hint"] for each in items if each["hint"]}
    if hints:
        typer.echo()
        show_table(["=Code", "What it means"], sorted(hints.items()), empty="")
