"""What a new user does with API keys, HTTP triggers and routing keys, by the command line alone.

The steps are those of the user's guide to API keys: each key, trigger and flow goes by its name.
"""

import asyncio
import re
from typing import Any

import pytest
from tests.router.test_cli import Result, run
from tests.support.system import PATIENCE, Key, System
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def user(system: System) -> "User":
    asyncio.run(system.registered("shop/failing"))
    return User(system)


class User:
    """Somebody at a terminal, who has the group `shop` with two flows."""

    def __init__(self, system: System) -> None:
        self.system = system

    async def turnout(self, *arguments: str, code: int = 0) -> Result:
        """Run a command."""
        result = await run(*arguments, cwd=self.system.directory, **self.system.command_line)
        assert result.code == code, result
        return result

    async def json(self, *arguments: str) -> Any:
        return (await self.turnout(*arguments, "--json")).json

    async def key(self, name: str, *options: str) -> Key:
        """Make a key, and note its text, which is shown this one time."""
        made = await self.turnout("key", "create", name, "--group", "shop", *options)
        text = made.out.split()[1]
        self.system.secrets[f"the key {name}"] = text
        assert "cannot be shown again" in made.err
        return Key("", text)

    async def trigger(self, address: str, description: str, *options: str) -> str:
        """Make a trigger, and return the path of its URL."""
        made = await self.json("trigger", "create", address, "--description", description, *options)
        self.system.secrets[f"the routing key of {description}"] = made["routing_key"]
        return f"/t/{made['routing_key']}"


async def test_a_key_and_a_trigger_together_start_a_flow(user: User) -> None:
    crm = await user.key("CRM Integration")
    path = await user.trigger("shop/seen", "Update Lead Status", "--key", "CRM Integration")
    accepted = await user.system.call(path, crm, data=b"{}")
    assert (await user.system.seen(accepted.event_id))["body"] == b"{}"
    # Both are needed.
    assert (await user.system.call(path)).status == 401
    assert (await user.system.call("/t/" + "x" * 24, crm)).status == 404


async def test_a_key_is_reused_over_the_flows_of_its_group_and_shows_which_use_it(
    user: User,
) -> None:
    key = await user.key("Shared")
    for flow, description in (("shop/seen", "Sync data"), ("shop/failing", "Send reports")):
        path = await user.trigger(flow, description)
        assert (await user.system.call(path, key, data=b"succeed")).status == 202
    shown = (await user.turnout("key", "show", "Shared")).out
    assert "Sync data" in shown
    assert "Send reports" in shown


async def test_a_trigger_is_made_with_a_key_of_its_own_in_one_step(user: User) -> None:
    made = await user.json(
        *("trigger", "create", "shop/seen", "--description", "Partner webhook"),
        *("--new-key", "Partner Webhook Access"),
    )
    text = made["new_key"]["key"]
    user.system.secrets["the partner's key"] = text
    path = f"/t/{made['routing_key']}"
    assert (await user.system.call(path, Key("", text))).status == 202
    assert (await user.system.call(path, await user.key("Slack Trigger"))).status == 403


async def test_one_key_is_revoked_and_the_others_go_on(user: User) -> None:
    leaked, other = await user.key("Leaked"), await user.key("Other")
    path = await user.trigger("shop/seen", "Revocation")
    for key in (leaked, other):
        assert (await user.system.call(path, key)).status == 202
    await user.turnout("key", "revoke", "Leaked", "--reason", "in a public repository")
    assert (await user.system.call(path, leaked)).status == 401
    assert (await user.system.call(path, other)).status == 202
    (entry,) = (await user.json("audit", "list", "--verb", "key.revoke"))["items"]
    assert (entry["label"], entry["reason"]) == ("Leaked", "in a public repository")


async def test_what_triggered_a_key_when_and_how_often_is_told(user: User) -> None:
    key = await user.key("Salesforce Sync")
    path = await user.trigger("shop/seen", "Usage", "--method", "POST")
    events = [await user.system.call(path, key) for _ in range(3)]
    assert (await user.system.call(path, key, method="PUT")).status == 405
    for each in events:
        await user.system.seen(each.event_id)

    async def told() -> bool:
        activity = await user.json("key", "activity", "Salesforce Sync", "--days", "1")
        results = {each["result"]: each["total"] for each in activity["items"]}
        return results == {"accepted": 3, "method_not_allowed": 1}

    await eventually(told, PATIENCE, "the activity of the key is counted")
    frequency = await user.json("usage", "--key", "Salesforce Sync", "--by", "minute")
    assert sum(frequency["counts"]) == 3

    async def ran() -> bool:
        stats = await user.json("flow", "stats", "shop/seen", "--by", "hour", "--last", "2")
        (of_key,) = [each for each in stats["keys"] if each["name"] == "Salesforce Sync"]
        return of_key["calls"] == 3 and of_key["runs"] == {"succeeded": 3}

    await eventually(ran, PATIENCE, "the runs of the key are in the statistics")
    listed = (await user.turnout("key", "list", "--group", "shop")).out
    assert "Salesforce Sync" in listed
    await user.turnout("key", "review", "--group", "shop")


async def test_run_once_simulates_a_call_of_the_chosen_trigger(user: User) -> None:
    path = await user.trigger("shop/seen", "Chosen by its routing key")
    for label in ("Chosen by its routing key", path.removeprefix("/t/")[:8]):
        once = await user.turnout("run-once", label)
        assert "succeeded" in once.out
        assert "a test" in once.err


async def test_keys_and_routing_keys_are_rotated_while_both_are_good(user: User) -> None:
    old = await user.key("Rotated")
    path = await user.trigger("shop/seen", "Rotated, too", "--key", "Rotated")
    made = await user.turnout("key", "rotate", "Rotated", "--reason", "yearly")
    new = Key("", made.out.split()[1])
    user.system.secrets["the rotated key"] = new.text
    moved = await user.json("trigger", "rotate", "Rotated, too")
    user.system.secrets["the rotated routing key"] = moved["routing_key"]
    for each in (path, f"/t/{moved['routing_key']}"):
        for key in (old, new):
            assert (await user.system.call(each, key)).status == 202
    await user.turnout("key", "end-overlap", "Rotated")
    assert (await user.system.call(path, old)).status == 401
    assert (await user.system.call(path, new)).status == 202


async def test_a_routing_key_is_not_shown_where_it_need_not_be(user: User) -> None:
    path = await user.trigger("shop/seen", "Sensitive")
    routing_key = path.removeprefix("/t/")
    for arguments in (("trigger", "list"), ("usage",), ("audit", "list"), ("refusal", "list")):
        assert routing_key not in (await user.turnout(*arguments)).out
    shown = (await user.turnout("trigger", "show", "Sensitive")).out
    assert re.search(rf"^url +http://\S+/t/{routing_key}$", shown, re.MULTILINE)
