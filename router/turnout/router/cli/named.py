"""Keys, triggers, flows and groups as people call them: on the command line, and when it completes.

    key      its id, its name, GROUP/NAME, its prefix
    trigger  its id, its description, 6 or more first characters of its routing key, GROUP/FLOW

A command gets the id. What fits more than one thing is refused, with a list of these.
"""

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Annotated

import typer

from turnout.router.cli import client
from turnout.router.cli.output import Document
from turnout.shared import ids, names
from turnout.shared.errors import TurnoutError

#: Characters of a routing key that tell it from others.
_PREFIX = 6

_KEY = re.compile(rf"{ids.KEY}_[0-9a-f]{{32}}")
_TRIGGER = re.compile(rf"{ids.TRIGGER}_[0-9a-f]{{32}}")

_Test = Callable[[Document], bool]


def key_id(label: str) -> str:
    """Return the id of the one API key that is called like this.

    Raises:
        AdminApiError: the admin API does not answer.
        BadParameter: there is none, or more than one.
    """
    if _KEY.fullmatch(label):
        return label
    tests: list[_Test] = [
        lambda each: each["name"] == label,
        lambda each: f"{each['group']}/{each['name']}" == label,
        lambda each: label in {each["prefix"], each["old_prefix"]},
    ]
    return _one("key", label, client.find().get("keys")["items"], tests, _shown_key)


def trigger_id(label: str) -> str:
    """Return the id of the one HTTP trigger that is called like this.

    Raises:
        AdminApiError: the admin API does not answer.
        BadParameter: there is none, or more than one.
    """
    if _TRIGGER.fullmatch(label):
        return label
    tests: list[_Test] = [
        lambda each: each["description"] == label,
        lambda each: len(label) >= _PREFIX and each["routing_key"].startswith(label),
        lambda each: f"{each['group']}/{each['flow']}" == label,
    ]
    return _one("trigger", label, client.find().get("triggers")["items"], tests, _shown_trigger)


def _one(
    noun: str,
    label: str,
    items: Sequence[Document],
    tests: Sequence[_Test],
    shown: Callable[[Document], str],
) -> str:
    """Return the id of what the first test that fits anything fits."""
    for test in tests:
        found = [each for each in items if test(each)]
        if len(found) == 1:
            return str(found[0]["id"])
        if found:
            listed = "".join(f"\n  {shown(each)}" for each in found)
            raise typer.BadParameter(f"{len(found)} {noun}s are called {label!r}:{listed}")
    raise typer.BadParameter(f"there is no {noun} {label!r}: see `turnout {noun} list`")


def _shown_key(key: Document) -> str:
    return f"{key['id']}  {key['group']}/{key['name']}  {key['state']}"


def _shown_trigger(trigger: Document) -> str:
    address = f"{trigger['group']}/{trigger['flow']}"
    return (
        f"{trigger['id']}  {address}  {names.redact(trigger['routing_key'])}  "
        f"{trigger['description']}"
    )


def groups(incomplete: str) -> list[str]:
    """Complete the slug of a group."""
    return _completed(incomplete, "groups", lambda each: str(each["slug"]))


def flows(incomplete: str) -> list[str]:
    """Complete the address of a flow."""
    return _completed(incomplete, "flows", lambda each: f"{each['group']}/{each['slug']}")


def keys(incomplete: str) -> list[str]:
    """Complete the name of an API key."""
    return _completed(incomplete, "keys", lambda each: str(each["name"]))


def triggers(incomplete: str) -> list[str]:
    """Complete the description of an HTTP trigger."""
    return _completed(incomplete, "triggers", lambda each: str(each["description"]))


def _completed(incomplete: str, listing: str, label: Callable[[Document], str]) -> list[str]:
    """List what begins like this; nothing while the admin API does not answer."""
    with suppress(TurnoutError):
        items = client.find().get(listing, limit=1000)["items"]
        return sorted(
            found for found in {label(each) for each in items} if found.startswith(incomplete)
        )
    return []


Key = Annotated[
    str,
    typer.Argument(
        metavar="KEY",
        parser=key_id,
        autocompletion=keys,
        help="The key's name, GROUP/NAME, prefix (tk_…) or id (key_…).",
    ),
]
Trigger = Annotated[
    str,
    typer.Argument(
        metavar="TRIGGER",
        parser=trigger_id,
        autocompletion=triggers,
        help="The trigger's description, id (trg_…) or 6 first characters of its routing key; or "
        "GROUP/FLOW, if that has one.",
    ),
]
OfTrigger = Annotated[
    str | None,
    typer.Option(
        "--trigger",
        metavar="TRIGGER",
        parser=trigger_id,
        autocompletion=triggers,
        help="Only of this trigger: its description, id or beginning of its routing key.",
    ),
]
OfKey = Annotated[
    str | None,
    typer.Option(
        "--key",
        metavar="KEY",
        autocompletion=keys,
        help="Only of this API key: its name, prefix or id.",
    ),
]
OfGroup = Annotated[
    str | None, typer.Option("--group", autocompletion=groups, help="Only of this group.")
]
OfFlow = Annotated[
    str | None,
    typer.Option("--flow", metavar="GROUP/FLOW", autocompletion=flows, help="Only of this flow."),
]
