"""`turnout key`: API keys."""

from typing import Annotated

import typer

from turnout.router.cli import arguments, client, limits, named, overlaps
from turnout.router.cli.arguments import Overlap, Reason, examples, expiry
from turnout.router.cli.limits import Burst, InFlight, Rate
from turnout.router.cli.named import Key, OfGroup
from turnout.router.cli.output import (
    Document,
    Json,
    calls_today,
    day,
    last_used,
    moment,
    show_fields,
    show_json,
    show_table,
    usage_fields,
)
from turnout.router.cli.usage import trigger_of

app = typer.Typer(help="API keys: reusable over all flows of their group.", no_args_is_help=True)

Group = Annotated[
    str, typer.Option(autocompletion=named.groups, help="The slug of the key's group.")
]
Flows = Annotated[
    list[str] | None,
    typer.Option(
        "--flow",
        metavar="SLUG",
        help="A flow that it may trigger, repeatable; without: any of its group.",
    ),
]

#: What to do about each finding.
ADVICE = {
    "unused": "no call in the last 30 days: revoke it if nobody needs it",
    "never_rotated": "the same secret for more than 90 days: rotate it",
    "expiring": "it expires within days: give it another expiry, or its callers another key",
    "expired": "it has expired: revoke it, or give it another expiry",
}

KEEP = "Keep the key now: it is stored nowhere and cannot be shown again."
LOST = (
    "The key was made, but the answer that showed it was lost, and it is stored nowhere. "
    "Make another secret: turnout key rotate {id} --overlap 0"
)


@app.command(
    epilog=examples(
        'key create "CRM integration" --group crm',
        "key create hubspot --group crm --flow update-lead-status --expires 365d",
    )
)
def create(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="What it is for, unique in the group.")
    ],
    *,
    group: Group,
    expires: Annotated[
        str | None,
        typer.Option(help="From when on it is refused: a day (its beginning in UTC), 30d or 12h."),
    ] = None,
    flow: Flows = None,
    rate: Rate = None,
    burst: Burst = None,
    in_flight: InFlight = None,
    json: Json = False,
) -> None:
    """Make an API key and show it, this one time."""
    expires_at = None if expires is None else expiry(expires)
    given = limits.read(rate=rate, burst=burst, in_flight=in_flight)
    body = {"name": name, "expires_at": expires_at, "flows": flow or None, "limits": given}
    key = client.find().create("groups", group, "keys", body=body)
    _show_new(key, json=json)


@app.command("list")
def list_(group: OfGroup = None, json: Json = False) -> None:
    """List API keys."""
    api = client.find()
    keys = api.get("keys") if group is None else api.get("groups", group, "keys")
    if json:
        show_json(keys)
        return
    show_table(
        ["Name, id and prefix", "=State", "=Created,\nexpires", "=Last used", ">Today"],
        (
            [
                f"{_name(each, group)}\n{each['id']}\n{each['prefix']}",
                each["state"],
                f"{day(each['created_at'])}\n{day(each['expires_at'])}",
                last_used(each),
                calls_today(each),
            ]
            for each in keys["items"]
        ),
        empty=f"No keys yet: turnout key create NAME --group {group or 'GROUP'}",
    )
    if any(each["findings"] for each in keys["items"]):
        of_group = "" if group is None else f" --group {group}"
        typer.echo(f"Some should be looked at: turnout key review{of_group}", err=True)


@app.command(epilog=examples("key show hubspot", "key show crm/hubspot"))
def show(
    key_id: Key,
    json: Json = False,
) -> None:
    """Show one API key, and which flows use it."""
    key = client.find().get("keys", key_id)
    if json:
        show_json(key)
        return
    show_fields(_fields(key))
    typer.echo()
    show_table(
        ["Flow and trigger", "=Accepts it", ">30 days"],
        (
            [
                f"{each['flow'] or '-'}\n{each['description'] or 'deleted'}\n{each['id']}",
                "yes" if each["accepts"] else "no more",
                "?" if each["calls"] is None else str(each["calls"]),
            ]
            for each in key["triggers"]
        ),
        empty="No trigger accepts it, and none was called with it.",
    )
    if key["old_until"]:
        overlaps.show(client.find().get("keys", key_id, "overlap"))


@app.command(epilog=examples("key activity hubspot --days 7"))
def activity(
    key_id: Key,
    days: Annotated[int, typer.Option(min=1, help="Of how many days, today included.")] = 30,
    json: Json = False,
) -> None:
    """Show what an API key was used for, day by day, and how that ended."""
    api = client.find()
    found = api.get("keys", key_id, "activity", days=days)
    if json:
        show_json(found)
        return
    show_table(
        ["=Day (UTC)", "Flow and trigger", "Result", ">Calls"],
        (
            [day(moment_), trigger_of(item), item["result"], str(item["counts"][index])]
            for index, moment_ in reversed(list(enumerate(found["days"])))
            for item in found["items"]
            if item["counts"][index]
        ),
        empty=f"No calls in the last {days} days.",
    )


@app.command()
def review(
    group: OfGroup = None,
    json: Json = False,
) -> None:
    """Name the API keys that should be looked at, and say why."""
    api = client.find()
    keys = api.get("keys") if group is None else api.get("groups", group, "keys")
    found = [each for each in keys["items"] if each["findings"]]
    if json:
        show_json({"items": found})
        return
    show_table(
        ["Name, group and id", "What to do"],
        (
            [
                f"{each['name']}\n{each['group']}\n{each['id']}",
                "\n".join(ADVICE[finding] for finding in each["findings"]),
            ]
            for each in found
        ),
        empty="No key needs to be looked at.",
    )


@app.command(epilog=examples("key limit hubspot --rate 5", "key limit hubspot --rate none"))
def limit(
    key_id: Key,
    *,
    rate: Rate = None,
    burst: Burst = None,
    in_flight: InFlight = None,
    json: Json = False,
) -> None:
    """Change an API key's own limits; "none" takes one away: that of its group holds."""
    body = limits.change(rate=rate, burst=burst, in_flight=in_flight)
    key = client.find().patch("keys", key_id, body=body)
    show_json(key) if json else show_fields(_fields(key))


@app.command()
def rename(
    key_id: Key,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Another one, unique in the group.")],
    json: Json = False,
) -> None:
    """Give an API key another name."""
    key = client.find().patch("keys", key_id, body={"name": name})
    show_json(key) if json else show_fields(_fields(key))


@app.command(epilog=examples("key expire hubspot 2027-01-31", "key expire hubspot never"))
def expire(
    key_id: Key,
    when: Annotated[
        str, typer.Argument(metavar="WHEN", help="A day (its beginning in UTC), 30d, 12h or never.")
    ],
    json: Json = False,
) -> None:
    """Change from when on an API key is refused."""
    expires_at = None if when == "never" else expiry(when)
    key = client.find().patch("keys", key_id, body={"expires_at": expires_at})
    show_json(key) if json else show_fields(_fields(key))


@app.command(epilog=examples("key scope hubspot --flow update-lead-status", "key scope hubspot"))
def scope(key_id: Key, flow: Flows = None, json: Json = False) -> None:
    """Change which flows of its group an API key may trigger."""
    key = client.find().patch("keys", key_id, body={"flows": flow or None})
    show_json(key) if json else show_fields(_fields(key))


@app.command(
    epilog=examples("key rotate hubspot", 'key rotate hubspot --overlap 7d --reason "yearly"')
)
def rotate(
    key_id: Key, overlap: Overlap = "24h", reason: Reason = None, json: Json = False
) -> None:
    """Make a new secret and show it, this one time; the old one is good for a while."""
    body = {"overlap": arguments.overlap(overlap), "reason": reason}
    _show_new(client.find().create("keys", key_id, "rotate", body=body), json=json)


@app.command()
def end_overlap(key_id: Key, reason: Reason = None, json: Json = False) -> None:
    """Let the old secret of an API key be good no longer."""
    key = client.find().post("keys", key_id, "end-overlap", body={"reason": reason})
    show_json(key) if json else show_fields(_fields(key))


@app.command(epilog=examples('key revoke hubspot --reason "in a public repository"'))
def revoke(key_id: Key, reason: Reason = None, json: Json = False) -> None:
    """Let an API key be good no longer, for ever; ingress refuses it at once."""
    key = client.find().post("keys", key_id, "revoke", body={"reason": reason})
    show_json(key) if json else show_fields(_fields(key))


def _name(key: Document, group: str | None) -> str:
    """Return what tells a key from others, within a group or among those of all groups."""
    return str(key["name"]) if group is not None else f"{key['group']}/{key['name']}"


def _show_new(key: Document, *, json: bool) -> None:
    if json:
        show_json(key)
        return
    show_fields({"key": key["key"] or "-", **_fields(key)})
    typer.echo(KEEP if key["key"] else LOST.format(id=key["id"]), err=True)


def _fields(key: Document) -> dict[str, str]:
    fields = {
        "name": key["name"],
        "group": key["group"],
        "id": key["id"],
        "prefix": key["prefix"],
        "state": key["state"],
        "flows": f"any of group {key['group']}"
        if key["flows"] is None
        else ", ".join(key["flows"]),
        "created": moment(key["created_at"]),
        "expires": moment(key["expires_at"]),
        "rotated": moment(key["rotated_at"]),
    }
    if key["state"] == "rotating":
        fields["old secret"] = f"{key['old_prefix']}, good until {moment(key['old_until'])}"
    if key["revoked_at"]:
        fields["revoked"] = moment(key["revoked_at"])
        fields["reason"] = key["revoked_reason"] or "-"
    return {**fields, **limits.fields(key), **usage_fields(key)}
