"""`turnout trigger`: the URLs that start flows."""

from http import HTTPStatus
from typing import Annotated

import typer

from turnout.router.cli import arguments, client, limits, named, overlaps
from turnout.router.cli.arguments import Overlap, Reason, examples, flow_address
from turnout.router.cli.keys import KEEP, LOST
from turnout.router.cli.limits import Burst, MaxBody, MaxHeaders, Rate, ReadTimeout
from turnout.router.cli.named import OfFlow, Trigger
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

_ANY = "any"

Keys = Annotated[
    list[str] | None,
    typer.Option(
        "--key",
        metavar="NAME_OR_ID",
        help="A key that it accepts, repeatable; any: all of the group.",
    ),
]
Methods = Annotated[
    list[str] | None,
    typer.Option("--method", metavar="METHOD", help="An HTTP method that it allows, repeatable."),
]
ContentTypes = Annotated[
    list[str] | None,
    typer.Option(
        "--content-type",
        metavar="TYPE",
        help="A media type that it accepts, like application/json or text/*, repeatable.",
    ),
]
KeyInQuery = Annotated[
    bool | None,
    typer.Option(
        "--key-in-query/--no-key-in-query",
        help="Accept the key as ?api_key=, where access logs keep it.",
    ),
]

Wait = Annotated[
    bool | None,
    typer.Option(
        "--wait/--no-wait",
        help="Let callers wait for the result of the flow, by the header Prefer: wait=10.",
    ),
]


@app.command(
    epilog=examples(
        'trigger create crm/update-lead-status --description "Deal updated"',
        'trigger create crm/update-lead-status --description "Deal updated" --new-key hubspot',
    )
)
def create(
    address: Annotated[
        str,
        typer.Argument(
            metavar="GROUP/FLOW", autocompletion=named.flows, help="The flow that it starts."
        ),
    ],
    *,
    description: Annotated[str, typer.Option(help="What calls it, and why.")],
    key: Keys = None,
    new_key: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Make a key that it accepts, and show it, this one time."
        ),
    ] = None,
    method: Methods = None,
    content_type: ContentTypes = None,
    key_in_query: KeyInQuery = None,
    wait: Wait = None,
    rate: Rate = None,
    burst: Burst = None,
    max_body: MaxBody = None,
    max_headers: MaxHeaders = None,
    read_timeout: ReadTimeout = None,
    json: Json = False,
) -> None:
    """Make an HTTP trigger of a flow, with a new routing key.

    Without options it takes POST, any media type and any key of the group.
    """
    group, flow = flow_address(address)
    trigger = client.find().create(
        "flows",
        group,
        flow,
        "triggers",
        body={
            "description": description,
            "keys": _keys(key),
            "new_key": None if new_key is None else {"name": new_key},
            "methods": _methods(method),
            "content_types": content_type or None,
            "wait": wait,
            "key_in_query": key_in_query,
            "limits": limits.read(
                rate=rate,
                burst=burst,
                max_body=max_body,
                max_headers=max_headers,
                read_timeout=read_timeout,
            ),
        },
    )
    if json:
        show_json(trigger)
        return
    if new_key is not None:
        made = trigger["new_key"]
        show_fields({"key": made["key"] or "-"})
        typer.echo(KEEP if made["key"] else LOST.format(id=made["id"]), err=True)
    _show(trigger)


@app.command("list")
def list_(
    flow: OfFlow = None,
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
                _state(each).partition(":")[0],
                last_used(each),
                calls_today(each),
            ]
            for each in triggers["items"]
        ),
        empty="No triggers yet: turnout trigger create GROUP/FLOW --description …",
    )


@app.command(epilog=examples('trigger show "Deal updated"', "trigger show crm/update-lead-status"))
def show(
    trigger_id: Trigger,
    json: Json = False,
) -> None:
    """Show one HTTP trigger, with its URL."""
    api = client.find()
    trigger = api.get("triggers", trigger_id)
    if json:
        show_json(trigger)
        return
    _show(trigger)
    if trigger["old_until"]:
        overlaps.show(api.get("triggers", trigger_id, "overlap"))


@app.command()
def limit(
    trigger_id: Trigger,
    *,
    rate: Rate = None,
    burst: Burst = None,
    max_body: MaxBody = None,
    max_headers: MaxHeaders = None,
    read_timeout: ReadTimeout = None,
    json: Json = False,
) -> None:
    """Change an HTTP trigger's own limits; "none" takes one away."""
    body = limits.change(
        rate=rate,
        burst=burst,
        max_body=max_body,
        max_headers=max_headers,
        read_timeout=read_timeout,
    )
    trigger = client.find().patch("triggers", trigger_id, body=body)
    show_json(trigger) if json else _show(trigger)


@app.command(
    epilog=examples(
        'trigger update "Deal updated" --method POST --method PUT',
        'trigger update "Deal updated" --key hubspot --content-type application/json',
    )
)
def update(
    trigger_id: Trigger,
    *,
    description: Annotated[str | None, typer.Option(help="What calls it, and why.")] = None,
    key: Keys = None,
    method: Methods = None,
    content_type: ContentTypes = None,
    key_in_query: KeyInQuery = None,
    wait: Wait = None,
    rate: Rate = None,
    burst: Burst = None,
    max_body: MaxBody = None,
    max_headers: MaxHeaders = None,
    read_timeout: ReadTimeout = None,
    json: Json = False,
) -> None:
    """Change what an HTTP trigger is for and what it accepts; --key any, --content-type any."""
    body: Document = {}
    if description is not None:
        body["description"] = description
    if key:
        body["keys"] = _keys(key)
    if method:
        body["methods"] = _methods(method)
    if content_type:
        body["content_types"] = None if content_type == [_ANY] else content_type
    if key_in_query is not None:
        body["key_in_query"] = key_in_query
    if wait is not None:
        body["wait"] = wait
    if given := limits.read(
        rate=rate,
        burst=burst,
        max_body=max_body,
        max_headers=max_headers,
        read_timeout=read_timeout,
    ):
        body["limits"] = given
    if not body:
        raise typer.BadParameter("say what to change, for example --description or --method")
    trigger = client.find().patch("triggers", trigger_id, body=body)
    show_json(trigger) if json else _show(trigger)


@app.command()
def enable(trigger_id: Trigger, reason: Reason = None, json: Json = False) -> None:
    """Let an HTTP trigger take calls again."""
    _do(trigger_id, "enable", {"reason": reason}, json=json)


@app.command(epilog=examples('trigger disable "Deal updated" --reason "a flood"'))
def disable(trigger_id: Trigger, reason: Reason = None, json: Json = False) -> None:
    """Let an HTTP trigger refuse all calls until it is enabled."""
    _do(trigger_id, "disable", {"reason": reason}, json=json)


@app.command(epilog=examples('trigger rotate "Deal updated" --overlap 7d'))
def rotate(
    trigger_id: Trigger, overlap: Overlap = "24h", reason: Reason = None, json: Json = False
) -> None:
    """Make a new routing key, so another URL; the old one is good for a while."""
    body = {"overlap": arguments.overlap(overlap), "reason": reason}
    _do(trigger_id, "rotate", body, json=json)


@app.command()
def end_overlap(trigger_id: Trigger, reason: Reason = None, json: Json = False) -> None:
    """Let the old routing key of an HTTP trigger be good no longer."""
    _do(trigger_id, "end-overlap", {"reason": reason}, json=json)


@app.command(epilog=examples('trigger move "Deal updated" crm/update-v2'))
def move(
    trigger_id: Trigger,
    flow: Annotated[
        str,
        typer.Argument(
            metavar="GROUP/FLOW",
            autocompletion=named.flows,
            help="Another flow of the trigger's group.",
        ),
    ],
    reason: Reason = None,
    json: Json = False,
) -> None:
    """Let an HTTP trigger start another flow, and keep its URL.

    No call is lost or runs twice: each goes to the one flow or the other. What is queued already
    stays with its flow.
    """
    group, slug = flow_address(flow)
    api = client.find()
    trigger = api.get("triggers", trigger_id)
    if trigger["group"] != group:
        raise typer.BadParameter(f"a trigger stays in its group, {trigger['group']}")
    moved = api.post("triggers", trigger_id, "move", body={"flow": slug, "reason": reason})
    show_json(moved) if json else _show(moved)


@app.command()
def delete(
    trigger_id: Trigger,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Take an HTTP trigger away; what is queued runs nevertheless."""
    api = client.find()
    if not yes:
        trigger = api.get("triggers", trigger_id)
        _show(trigger)
        try:
            api.delete("triggers", trigger_id)
        except client.AdminApiError as error:
            if error.status != HTTPStatus.CONFLICT:
                raise
            typer.echo(str(error), err=True)
        typer.confirm("Delete it?", abort=True, err=True)
    api.delete("triggers", trigger_id, confirm="true")
    typer.echo(f"Deleted {trigger_id}.")


def _do(trigger_id: str, verb: str, body: Document, *, json: bool) -> None:
    trigger = client.find().post("triggers", trigger_id, verb, body=body)
    show_json(trigger) if json else _show(trigger)


def _keys(given: list[str] | None) -> list[str] | None:
    return None if not given or given == [_ANY] else given


def _methods(given: list[str] | None) -> list[str] | None:
    return [each.upper() for each in given] if given else None


def _state(trigger: Document) -> str:
    if not trigger["enabled"]:
        reason = trigger["disabled_reason"]
        return f"off: {reason}" if reason else "off"
    return "live" if trigger["live"] else "pending"


def _old_route(trigger: Document) -> dict[str, str]:
    if trigger["old_routing_key"] is None:
        return {}
    return {
        "old route": f"{names.redact(trigger['old_routing_key'])}, "
        f"good until {moment(trigger['old_until'])}"
    }


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
            **_old_route(trigger),
            "methods": ", ".join(trigger["methods"]),
            "callers": "may wait for the result" if trigger["wait"] else "do not wait",
            "content types": ", ".join(trigger["content_types"] or ["any"]),
            "keys": f"any of group {trigger['group']}"
            if keys is None
            else ", ".join(f"{each['name']} ({each['id']})" for each in keys),
            "key in query": "accepted" if trigger["key_in_query"] else "refused",
            "created": moment(trigger["created_at"]),
            **limits.fields(trigger),
            **usage_fields(trigger),
        }
    )
