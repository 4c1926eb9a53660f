"""Changing keys and triggers on the command line."""

import re
from datetime import datetime
from pathlib import Path

import pytest
from redis.asyncio import Redis
from tests.router import counting
from tests.router.serving import Admin
from tests.router.test_cli import Turnout, run

from turnout.shared import keys, names


@pytest.fixture
def turnout(admin: Admin, tmp_path: Path) -> Turnout:
    """Run the command with the address and the token of the running admin API."""

    async def command(*arguments: str) -> object:
        settings = {"TURNOUT_ADMIN_URL": admin.url, "TURNOUT_ADMIN_TOKEN": admin.token}
        return await run(*arguments, cwd=tmp_path, **settings)

    return command  # type: ignore[return-value] # it returns what `run` does


@pytest.fixture
async def key_id(admin: Admin) -> str:
    """The id of a key of a group with two flows."""
    await admin.call("POST", "groups", {"slug": "crm"}, status=201)
    for flow in ("update", "report"):
        await admin.call("POST", "groups/crm/flows", {"slug": flow}, status=201)
    made = await admin.call("POST", "groups/crm/keys", {"name": "CRM"}, status=201)
    return str(made["id"])


@pytest.fixture
async def trigger_id(admin: Admin, key_id: str) -> str:
    """The id of a trigger of crm/update."""
    made = await admin.call(
        "POST", "flows/crm/update/triggers", {"description": "Deals"}, status=201
    )
    return str(made["id"])


async def test_a_key_goes_through_its_life(
    turnout: Turnout, admin: Admin, redis: Redis, key_id: str, trigger_id: str
) -> None:
    assert "HubSpot" in (await turnout("key", "rename", key_id, "HubSpot")).out
    scoped = await turnout("key", "scope", key_id, "--flow", "update")
    assert re.search(r"^flows +update$", scoped.out, re.MULTILINE)
    expiring = await turnout("key", "expire", key_id, "3d")
    assert re.search(r"^state +expiring$", expiring.out, re.MULTILINE)
    assert "key review --group crm" in (await turnout("key", "list", "--group", "crm")).err
    assert "it expires within days" in " ".join((await turnout("key", "review")).out.split())
    never = await turnout("key", "expire", key_id, "never")
    assert re.search(r"^expires +never$", never.out, re.MULTILINE)

    rotated = await turnout("key", "rotate", key_id, "--overlap", "7d")
    assert keys.is_well_formed(rotated.out.split()[1])
    assert "cannot be shown again" in rotated.err
    shown = await admin.call("GET", f"keys/{key_id}", status=200)
    since = datetime.fromisoformat(shown["rotated_at"]).timestamp()
    await redis.hset(names.overlap(key_id, since), f"{trigger_id} 203.0.113.0/24 curl/8.1", "7")
    await counting.accepted(redis, {(trigger_id, key_id): 12})
    told = (await turnout("key", "show", key_id)).out
    for word in ("rotating", "203.0.113.0/24", "curl/8.1", "Deals", "12"):
        assert word in told
    assert max(map(len, told.splitlines())) <= 80
    activity = (await turnout("key", "activity", key_id)).out
    assert "accepted" in activity
    ended = await turnout("key", "end-overlap", key_id)
    assert re.search(r"^state +active$", ended.out, re.MULTILINE)
    revoked = await turnout("key", "revoke", key_id, "--reason", "leaked")
    assert re.search(r"^state +revoked$", revoked.out, re.MULTILINE)
    assert re.search(r"^reason +leaked$", revoked.out, re.MULTILINE)
    again = await turnout("key", "rotate", key_id)
    assert (again.code, "is revoked" in again.err) == (1, True)


async def test_a_trigger_goes_through_its_life(
    turnout: Turnout, key_id: str, trigger_id: str
) -> None:
    updated = await turnout(
        *("trigger", "update", trigger_id, "--description", "Leads", "--key", "CRM"),
        *("--method", "put", "--content-type", "text/*", "--key-in-query", "--rate", "5"),
    )
    for pattern in (
        r"description +Leads",
        r"methods +PUT",
        r"content types +text/\*",
        r"key in query +accepted",
        r"rate +5 calls/s",
        rf"keys +CRM \({key_id}\)",
    ):
        assert re.search(f"^{pattern}$", updated.out, re.MULTILINE), pattern
    widened = await turnout(
        *("trigger", "update", trigger_id, "--key", "any", "--content-type", "any"),
        "--no-key-in-query",
    )
    for pattern in (r"content types +any", r"keys +any of group crm", r"key in query +refused"):
        assert re.search(f"^{pattern}$", widened.out, re.MULTILINE), pattern
    disabled = await turnout("trigger", "disable", trigger_id, "--reason", "a flood")
    assert re.search(r"^state +off: a flood$", disabled.out, re.MULTILINE)
    enabled = await turnout("trigger", "enable", trigger_id)
    assert re.search(r"^state +live$", enabled.out, re.MULTILINE)
    rotated = await turnout("trigger", "rotate", trigger_id)
    assert re.search(r"^old route +\w{6}…, good until", rotated.out, re.MULTILINE)
    assert "nobody" in (await turnout("trigger", "show", trigger_id)).err
    ended = await turnout("trigger", "end-overlap", trigger_id)
    assert "old route" not in ended.out
    moved = await turnout("trigger", "move", trigger_id, "crm/report")
    assert re.search(r"^flow +crm/report$", moved.out, re.MULTILINE)
    assert (await turnout("trigger", "move", trigger_id, "shop/order")).code == 2
    kept = await turnout("trigger", "delete", trigger_id)  # nobody answers the question
    assert kept.code == 1
    assert "runs that wait in the queue of flow crm/report" in kept.err
    assert (await turnout("trigger", "delete", trigger_id, "--yes")).code == 0
    assert (await turnout("trigger", "show", trigger_id)).code == 1


async def test_a_trigger_is_made_with_its_key(turnout: Turnout, key_id: str) -> None:
    made = await turnout(
        "trigger", "create", "crm/update", "--description", "Deals", "--new-key", "HubSpot"
    )
    assert keys.is_well_formed(made.out.split()[1])
    assert "cannot be shown again" in made.err
    assert re.search(r"^keys +HubSpot \(key_\w+\)$", made.out, re.MULTILINE)


@pytest.mark.parametrize(
    "arguments",
    [
        ("key", "rotate", "key_0", "--overlap", "soon"),
        ("key", "expire", "key_0", "yesterday"),
        ("trigger", "update", "trg_0"),
        ("trigger", "move", "trg_0", "report"),
    ],
)
async def test_wrong_usage_is_exit_code_2(turnout: Turnout, arguments: tuple[str, ...]) -> None:
    assert (await turnout(*arguments)).code == 2
