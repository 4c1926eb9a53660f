"""`turnout usage`: how often flows were called."""

import typer

from turnout.router.cli import client
from turnout.router.cli.arguments import Last, Unit, examples
from turnout.router.cli.named import OfFlow, OfGroup, OfKey, OfTrigger
from turnout.router.cli.output import Document, Json, show_json, show_table

EXAMPLES = examples(
    "usage --flow crm/update-lead-status --by minute", "usage --key hubspot --by hour --last 48"
)

_LENGTHS = {"day": 10, "hour": 13, "minute": 16}


def usage(
    *,
    group: OfGroup = None,
    flow: OfFlow = None,
    trigger: OfTrigger = None,
    key: OfKey = None,
    by: Unit = "day",
    last: Last = None,
    json: Json = False,
) -> None:
    """Count the accepted calls, by period and by trigger and API key."""
    found = client.find().get(
        "usage", group=group, flow=flow, trigger=trigger, key=key, unit=by, last=last
    )
    if json:
        show_json(found)
        return
    if not found["total"]:
        typer.echo(f"No calls in the last {len(found['periods'])} {by}s.", err=True)
        return
    show_table(
        [f"={by.capitalize()} (UTC)", ">Calls"],
        [
            *(
                [period(each, by), str(calls)]
                for each, calls in zip(found["periods"], found["counts"], strict=True)
            ),
            ["total", str(found["total"])],
        ],
        empty="",
    )
    typer.echo()
    show_table(
        ["Flow and trigger", "Key", ">Calls"],
        ([trigger_of(each), key_of(each), str(each["total"])] for each in found["items"]),
        empty="",
    )


def period(moment: str, unit: str) -> str:
    """Shorten the beginning of a period to what tells it from others."""
    return moment[: _LENGTHS[unit]].replace("T", " ")


def trigger_of(item: Document) -> str:
    """Say through which trigger a call came; one that the registry does not know by its id."""
    if item["flow"] is None:
        return str(item["trigger"]["id"]) if item["trigger"] else "-"
    return f"{item['flow']}\n{item['trigger']['description']}"


def key_of(item: Document) -> str:
    """Say with which key a call came; one that the registry does not know by its id."""
    key = item["key"]
    return "-" if key is None else str(key["name"] or key["id"])
