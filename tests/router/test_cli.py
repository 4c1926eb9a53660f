"""The command line, as a process of its own against a running admin API."""

import asyncio
import json
import os
import re
import sys
import tomllib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from redis.asyncio import Redis
from tests.router import counting
from tests.router.serving import Admin
from tests.support import prepared
from tests.support.process import ROOT

from turnout.router.registry import Limits
from turnout.router.topology import Missing
from turnout.shared import ids, keys

PORTIONS = os.pathsep.join(
    str(ROOT / portion) for portion in ("ingress", "router", "workers", "shared")
)


class Result(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


async def run(*arguments: str, cwd: Path, **environment: str) -> Result:
    """Run `turnout`, with no settings in its environment but the given ones."""
    inherited = {name: value for name, value in os.environ.items() if "TURNOUT" not in name}
    settings = {**inherited, "PYTHONPATH": PORTIONS, "COLUMNS": "80", **environment}
    code, out, err = await asyncio.to_thread(prepared.run, arguments, settings, cwd)
    assert b"Traceback" not in err, err.decode()
    return Result(code, out.decode(), err.decode())


Turnout = Callable[..., Awaitable[Result]]


@pytest.fixture
def turnout(admin: Admin, tmp_path: Path) -> Turnout:
    """Run the command with the address and the token of the running admin API."""

    async def command(*arguments: str) -> Result:
        return await run(
            *arguments,
            cwd=tmp_path,
            TURNOUT_ADMIN_URL=admin.url,
            TURNOUT_ADMIN_TOKEN=admin.token,
        )

    return command


@pytest.fixture
async def crm(turnout: Turnout) -> Turnout:
    """The command, with a group that has a flow."""
    for arguments in (("group", "create", "crm"), ("flow", "create", "crm/update-lead-status")):
        assert (await turnout(*arguments)).code == 0
    return turnout


async def test_a_user_goes_from_a_group_to_a_url(turnout: Turnout) -> None:
    assert (await turnout("group", "create", "crm", "--name", "CRM team")).code == 0
    assert (await turnout("flow", "create", "crm/update-lead-status")).code == 0
    key = await turnout("key", "create", "CRM Integration", "--group", "crm")
    assert key.code == 0
    assert keys.is_well_formed(key.out.split()[1])
    assert "cannot be shown again" in key.err
    trigger = await turnout(
        "trigger", "create", "crm/update-lead-status", "--description", "Deal updated"
    )
    assert trigger.code == 0
    assert re.search(
        r"^url +https://hooks\.example\.org/t/[0-9A-Za-z]{24}$", trigger.out, re.MULTILINE
    )
    assert re.search(r"^state +live$", trigger.out, re.MULTILINE)


async def test_json_is_what_the_api_answered(crm: Turnout, admin: Admin, redis: Redis) -> None:
    await crm("key", "create", "CRM", "--group", "crm")
    made = await crm("trigger", "create", "crm/update-lead-status", "--description", "?", "--json")
    key = (await admin.call("GET", "groups/crm/keys", status=200))["items"][0]
    pair = (made.json["id"], key["id"])
    await counting.accepted(redis, {pair: 3})
    await counting.refused(redis, {(*pair, "rate_limited"): 4})
    await counting.note(redis, "rate_limited", trigger=pair[0], key=pair[1])
    for arguments, path in (
        (("group", "list"), "groups"),
        (("group", "show", "crm"), "groups/crm"),
        (("flow", "list"), "flows"),
        (("flow", "list", "--group", "crm"), "groups/crm/flows"),
        (("flow", "show", "crm/update-lead-status"), "flows/crm/update-lead-status"),
        (("key", "list", "--group", "crm"), "groups/crm/keys"),
        (("key", "show", key["id"]), f"keys/{key['id']}"),
        (("trigger", "list"), "triggers"),
        (
            ("trigger", "list", "--flow", "crm/update-lead-status"),
            "flows/crm/update-lead-status/triggers",
        ),
        (("trigger", "show", made.json["id"]), f"triggers/{made.json['id']}"),
        (("usage",), "usage"),
        (("usage", "--by", "hour", "--last", "2"), "usage?unit=hour&last=2"),
        (("refusal", "list", "--flow", "crm/update-lead-status"), "refusals?limit=20"),
        (("refusal", "counts", "--key", "CRM", "--days", "2"), "refusals/counts?days=2"),
        (("topology", "check"), "topology"),
    ):
        result = await crm(*arguments, "--json")
        assert (result.code, result.json) == (0, await admin.call("GET", path, status=200))


async def test_options_become_what_the_trigger_says(crm: Turnout) -> None:
    for name in ("First", "Second"):
        await crm("key", "create", name, "--group", "crm")
    result = await crm(
        *("trigger", "create", "crm/update-lead-status", "--description", "Deal updated"),
        *("--key", "First", "--key", "Second", "--method", "put", "--method", "POST"),
        *("--key-in-query", "--json"),
    )
    trigger = result.json
    assert [key["name"] for key in trigger["keys"]] == ["First", "Second"]
    assert trigger["methods"] == ["PUT", "POST"]
    assert trigger["key_in_query"] is True
    shown = await crm("key", "show", trigger["keys"][0]["id"])
    assert "Deal updated" in shown.out
    assert trigger["id"] in shown.out


@pytest.mark.parametrize(
    ("expires", "until"),
    [
        ("2199-01-31", datetime(2199, 1, 31, tzinfo=UTC)),
        ("30d", datetime.now(UTC) + timedelta(days=30)),
        ("12h", datetime.now(UTC) + timedelta(hours=12)),
    ],
)
async def test_a_key_expires_on_a_day_or_after_a_span(
    crm: Turnout, expires: str, until: datetime
) -> None:
    result = await crm("key", "create", "CRM", "--group", "crm", "--expires", expires, "--json")
    assert abs(datetime.fromisoformat(result.json["expires_at"]) - until) < timedelta(minutes=5)


async def test_tables_fit_a_terminal_and_cut_no_id(
    crm: Turnout, admin: Admin, redis: Redis
) -> None:
    slug = "a" * 40
    registry = admin.registry
    group = await registry.create_group(slug, name="n" * 100)
    flow = await registry.create_flow(slug, slug, name="[red]not markup[/red]")
    key, _ = await registry.create_key(slug, "k" * 100)
    trigger = await registry.create_trigger(slug, slug, description="d" * 300)
    code = "authentication_unavailable"
    pair = (trigger.id, key.id)
    await counting.accepted(redis, {pair: 10**9, (ids.new(ids.TRIGGER), ids.new(ids.KEY)): 1})
    await counting.refused(redis, {(*pair, code): 10**9})
    await counting.note(
        redis,
        code,
        key=key.id,
        prefix=key.prefix,
        trigger=trigger.id,
        route=trigger.routing_key[:6],
        remote="2001:db8:1234:5678:9abc:def0:1234:5678",
        reason="r" * 100,
    )
    for arguments, identifiers in (
        (("usage",), [str(10**9)]),
        (("refusal", "list"), [code, key.prefix, trigger.routing_key[:6] + "…"]),
        (("refusal", "counts"), [code, str(10**9)]),
        (("group", "list"), [group.id]),
        (("flow", "list"), [flow.id]),
        (("key", "list", "--group", slug), [key.id, key.prefix]),
        (("key", "show", key.id), [trigger.id]),
        (("trigger", "list"), [trigger.id, trigger.routing_key[:6] + "…"]),
    ):
        result = await crm(*arguments)
        assert result.code == 0
        assert all(identifier in result.out for identifier in identifiers), result.out
        shows_fields = arguments[:2] == ("key", "show")
        table = result.out.partition("\n\n")[2] if shows_fields else result.out
        assert max(map(len, table.splitlines())) <= 80, result.out
        assert "…" not in result.out.replace(trigger.routing_key[:6] + "…", "")


async def test_limits_are_set_on_creation(turnout: Turnout, admin: Admin) -> None:
    await turnout(
        *("group", "create", "crm", "--rate", "5", "--burst", "50", "--in-flight", "9"),
        *("--max-body", "64KiB", "--max-header-bytes", "4KiB", "--read-timeout", "5"),
    )
    await turnout("flow", "create", "crm/update")
    key = await turnout("key", "create", "CRM", "--group", "crm", "--rate", "0.5", "--json")
    trigger = await turnout(
        *("trigger", "create", "crm/update", "--description", "?", "--json"),
        *("--rate", "2", "--burst", "4", "--max-body", "1.5MB"),
        *("--max-header-bytes", "2048", "--read-timeout", "0.5"),
    )
    of_group = Limits(5.0, 50, 9, max_body_bytes=65536, max_header_bytes=4096, read_timeout=5.0)
    assert (await admin.registry.group("crm")).limits == of_group
    assert (await admin.registry.key(key.json["id"])).limits == Limits(rate=0.5)
    of_trigger = Limits(2.0, 4, max_body_bytes=1_500_000, max_header_bytes=2048, read_timeout=0.5)
    assert (await admin.registry.trigger(trigger.json["id"])).limits == of_trigger


async def test_limits_are_changed_and_taken_away_and_shown_with_where_they_come_from(
    crm: Turnout, admin: Admin
) -> None:
    key, _ = await admin.registry.create_key("crm", "CRM")
    trigger = await admin.registry.create_trigger("crm", "update-lead-status", description="?")

    async def shown(*arguments: str) -> dict[str, str]:
        result = await crm(*arguments)
        assert result.code == 0, result.err
        lines = (line.split("  ", 1) for line in result.out.partition("\n\n")[0].splitlines())
        told = {name: value.strip() for name, value in lines}
        return {
            name: told[name]
            for name in (
                *("rate", "burst", "in flight"),
                *("largest body", "largest headers", "read timeout"),
            )
            if name in told
        }

    unset = "as ingress is set"
    assert await shown("group", "limit", "crm", "--rate", "5", "--burst", "50") == {
        "rate": "5 calls/s for each key",
        "burst": "50 for each key",
        "in flight": unset,
        "largest body": unset,
        "largest headers": unset,
        "read timeout": unset,
    }
    both = ("--max-body", "1MiB", "--max-header-bytes", "4KiB")
    assert await shown("group", "limit", "crm", *both) == {
        **await shown("group", "show", "crm"),
        "largest body": "1048576 bytes for each trigger",
        "largest headers": "4096 bytes for each trigger",
    }
    assert await shown("key", "show", key.id) == {
        "rate": "5 calls/s (from group crm)",
        "burst": "50 (from group crm)",
        "in flight": unset,
    }
    assert await shown("key", "limit", key.id, "--rate", "5", "--in-flight", "3") == {
        "rate": "5 calls/s",
        "burst": "the calls of one second",
        "in flight": "3",
    }
    assert await shown("key", "limit", key.id, "--rate", "none", "--in-flight", "none") == {
        **await shown("key", "show", key.id),
        "rate": "5 calls/s (from group crm)",
        "in flight": unset,
    }
    assert await shown("trigger", "limit", trigger.id, "--rate", "2", "--burst", "4") == {
        "rate": "2 calls/s",
        "burst": "4",
        "largest body": "1048576 bytes (from group crm)",
        "largest headers": "4096 bytes (from group crm)",
        "read timeout": unset,
    }
    own = ("--max-body", "0", "--max-header-bytes", "8KiB", "--read-timeout", "2.5")
    assert await shown("trigger", "limit", trigger.id, *own) == {
        "rate": "2 calls/s",
        "burst": "4",
        "largest body": "0 bytes",
        "largest headers": "8192 bytes",
        "read timeout": "2.5 s",
    }


async def test_usage_is_shown_by_period_and_by_who_called(
    crm: Turnout, admin: Admin, redis: Redis
) -> None:
    key, _ = await admin.registry.create_key("crm", "CRM")
    trigger = await admin.registry.create_trigger(
        "crm", "update-lead-status", description="Deal updated"
    )
    nothing = await crm("usage", "--last", "3")
    assert (nothing.code, nothing.out) == (0, "")
    assert nothing.err == "No calls in the last 3 days.\n"
    moment = await counting.accepted(redis, {(trigger.id, key.id): 41}, back=1)
    await counting.accepted(redis, {(trigger.id, key.id): 2})
    result = await crm("usage", "--key", "CRM", "--flow", "crm/update-lead-status")
    assert re.search(rf"^{moment:%Y-%m-%d} +41$", result.out, re.MULTILINE)
    assert re.search(r"^total +43$", result.out, re.MULTILINE)
    assert re.search(r"^crm/update-lead-status +CRM +43$", result.out, re.MULTILINE)
    assert "Deal updated" in result.out
    assert re.search(
        r"^CRM +.+ +never +2 *$", (await crm("key", "list", "--group", "crm")).out, re.MULTILINE
    )


async def test_a_refused_call_is_explained(crm: Turnout, admin: Admin, redis: Redis) -> None:
    for arguments in (("refusal", "list"), ("refusal", "counts")):
        nothing = await crm(*arguments)
        assert (nothing.code, nothing.out) == (0, "")
        assert nothing.err.startswith("No refused calls")
    key, _ = await admin.registry.create_key("crm", "CRM")
    trigger = await admin.registry.create_trigger("crm", "update-lead-status", description="?")
    await counting.note(redis, "not_accepted", status="503", key=key.id, reason="memory alarm")
    await counting.note(redis, "invalid_api_key", route=trigger.routing_key[:6], status="401")
    await counting.refused(redis, {("-", key.id, "not_accepted"): 7})
    listed = (await crm("refusal", "list")).out
    for text in ("503", "CRM", "memory alarm", "RabbitMQ was not", "mistyped"):
        assert text in listed
    assert f"/t/{trigger.routing_key[:6]}…" in listed
    chosen = (await crm("refusal", "list", "--code", "not_accepted", "--group", "crm")).out
    assert "invalid_api_key" not in chosen
    counted = (await crm("refusal", "counts")).out
    assert re.search(r"^not_accepted +- +CRM +7 +7$", counted, re.MULTILINE)


async def test_a_listing_shortens_routing_keys(crm: Turnout, admin: Admin) -> None:
    trigger = await admin.registry.create_trigger("crm", "update-lead-status", description="?")
    assert trigger.routing_key not in (await crm("trigger", "list")).out
    assert trigger.routing_key in (await crm("trigger", "show", trigger.id)).out


async def test_an_empty_listing_says_what_to_do(turnout: Turnout) -> None:
    result = await turnout("group", "list")
    assert (result.code, result.out) == (0, "")
    assert "turnout group create" in result.err


async def test_a_check_fails_and_names_what_the_broker_lacks(
    turnout: Turnout, admin: Admin
) -> None:
    admin.broker.lacks = [Missing("queue", "turnout.flow.crm.update")]
    check = await turnout("topology", "check")
    assert check.code == 1
    assert "missing queue turnout.flow.crm.update" in check.out
    assert (await turnout("topology", "check", "--json")).code == 1
    applied = await turnout("topology", "apply")
    assert applied.code == 0
    assert "declared queue turnout.flow.crm.update" in applied.out
    assert (await turnout("topology", "check")).code == 0


async def test_what_the_api_refuses_is_passed_on_in_one_sentence(crm: Turnout) -> None:
    for arguments, said in (
        (("group", "create", "crm"), "turnout: group 'crm' exists already\n"),
        (("group", "show", "hr"), "turnout: there is no group 'hr'\n"),
        (("flow", "create", "hr/hire"), "turnout: there is no group 'hr'\n"),
        (
            ("trigger", "create", "crm/update-lead-status", "--description", "?", "--key", "No"),
            "turnout: keys.0: group 'crm' has no key 'No'\n",
        ),
    ):
        assert await crm(*arguments) == Result(1, "", said)
    assert "slug" in (await crm("group", "create", "No Slug")).err


@pytest.mark.parametrize(
    "arguments",
    [
        ("nothing",),
        ("group", "create"),
        ("flow", "create", "no-group"),
        ("flow", "show", "CRM/update"),
        ("key", "create", "CRM"),
        ("key", "create", "CRM", "--group", "crm", "--expires", "soon"),
        ("key", "create", "CRM", "--group", "crm", "--expires", "99999d" * 2),
        ("trigger", "create", "crm/update"),
        ("group", "limit", "crm"),
        ("group", "limit", "crm", "--rate", "fast"),
        ("key", "limit", "key_0", "--in-flight", "2.5"),
        ("trigger", "limit", "trg_0", "--max-body", "1 GB"),
        ("trigger", "limit", "trg_0", "--max-body", "0.5B"),
        ("usage", "--by", "year"),
        ("usage", "--last", "0"),
        ("refusal", "list", "--limit", "1001"),
        ("worker",),
        ("worker", "flows", "--concurrency", "0"),
    ],
)
async def test_wrong_usage_is_exit_code_2(turnout: Turnout, arguments: tuple[str, ...]) -> None:
    result = await turnout(*arguments)
    assert (result.code, result.out) == (2, "")
    assert result.err


async def test_an_api_that_cannot_be_reached_is_named(tmp_path: Path, unused_tcp_port: int) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}"
    token = keys.new_key(keys.ADMIN_TOKEN).text
    result = await run(
        "group", "list", cwd=tmp_path, TURNOUT_ADMIN_URL=url, TURNOUT_ADMIN_TOKEN=token
    )
    assert result.code == 1
    assert url in result.err
    assert "TURNOUT_ADMIN_URL" in result.err
    assert token not in result.err


async def test_a_refused_token_is_said(admin: Admin, tmp_path: Path) -> None:
    for token in (keys.new_key(keys.ADMIN_TOKEN).text, "guess", f"{admin.token}\n"):
        result = await run(
            "group", "list", cwd=tmp_path, TURNOUT_ADMIN_URL=admin.url, TURNOUT_ADMIN_TOKEN=token
        )
        assert result.code == 1
        assert "TURNOUT_ADMIN_TOKEN" in result.err
        assert token not in result.err


@pytest.mark.parametrize("url", ["127.0.0.1:8081", "ftp://127.0.0.1", "http://", "http://h:port"])
async def test_an_address_that_is_none_is_said(tmp_path: Path, url: str) -> None:
    token = keys.new_key(keys.ADMIN_TOKEN).text
    result = await run(
        "group", "list", cwd=tmp_path, TURNOUT_ADMIN_URL=url, TURNOUT_ADMIN_TOKEN=token
    )
    assert result.code == 1
    assert "TURNOUT_ADMIN_URL" in result.err


async def test_the_facts_of_turnout_up_are_found_in_a_parent(admin: Admin, tmp_path: Path) -> None:
    deep = tmp_path / "project" / "flows"
    (tmp_path / ".turnout").mkdir()
    deep.mkdir(parents=True)
    facts = tmp_path / ".turnout" / "up.json"
    facts.write_text(json.dumps({"admin_url": admin.url, "admin_token": admin.token}))
    assert (await run("group", "list", cwd=deep)).code == 0
    facts.write_text("{")
    result = await run("group", "list", cwd=deep)
    assert result.code == 1
    assert str(facts) in result.err


async def test_a_token_is_never_sent_to_an_address_it_was_not_given_for(
    admin: Admin, tmp_path: Path
) -> None:
    (tmp_path / ".turnout").mkdir()
    (tmp_path / ".turnout" / "up.json").write_text(
        json.dumps({"admin_url": "http://127.0.0.1:1", "admin_token": admin.token})
    )
    result = await run("group", "list", cwd=tmp_path, TURNOUT_ADMIN_URL=admin.url)
    assert result.code == 1
    assert "TURNOUT_ADMIN_TOKEN is not set" in result.err


async def test_without_an_admin_api_the_way_to_one_is_said(tmp_path: Path) -> None:
    result = await run("group", "list", cwd=tmp_path)
    assert result.code == 1
    assert "turnout up" in result.err


async def test_help_names_every_command_at_once(tmp_path: Path) -> None:
    result = await run("--help", cwd=tmp_path)
    assert result.code == 0
    services, nouns = ["up", "ingress", "router", "worker"], ["group", "flow", "key", "trigger"]
    for command in [*services, *nouns, "usage", "refusal", "topology"]:
        assert re.search(rf"^│ {command} ", result.out, re.MULTILINE), command
    assert max(map(len, result.out.splitlines())) <= 80


async def test_help_loads_neither_the_database_nor_the_network(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-X", "importtime", "-m", "turnout.router.cli", "--help"),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": PORTIONS},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, imported = await process.communicate()
    assert b"turnout.router.cli.triggers" in imported
    for module in (b"sqlalchemy", b"aiohttp", b"redis", b"pydantic_settings", b"turnout.ingress"):
        assert b" " + module + b"\n" not in imported


async def test_the_version_is_that_of_the_distribution(tmp_path: Path) -> None:
    project = tomllib.loads(await asyncio.to_thread((ROOT / "pyproject.toml").read_text))
    result = await run("--version", cwd=tmp_path)
    assert result.out == f"turnout {project['project']['version']}\n"
