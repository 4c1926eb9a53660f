"""Things by their names on the command line, its help, and its completion by the shell."""

import asyncio
import os
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import typer
from tests.router.serving import Admin
from tests.router.test_cli import PORTIONS, Turnout, run

from turnout.router.cli.app import app
from turnout.router.registry import Trigger


class Crm(NamedTuple):
    """A flow with two triggers, and two keys of one name in two groups."""

    deals: Trigger
    leads: Trigger
    key_id: str
    prefix: str


@pytest.fixture
async def crm(admin: Admin) -> Crm:
    registry = admin.registry
    for group in ("crm", "shop"):
        await registry.create_group(group)
        await registry.create_flow(group, "update")
        key, _ = await registry.create_key(group, "Partner")
    hubspot, _ = await registry.create_key("crm", "HubSpot")
    deals, leads = [
        await registry.create_trigger("crm", "update", description=each)
        for each in ("Deals", "Leads")
    ]
    await registry.create_trigger("shop", "update", description="Leads")
    assert key.group == "shop"
    return Crm(deals, leads, hubspot.id, hubspot.prefix)


@pytest.fixture
def turnout(admin: Admin, tmp_path: Path) -> Turnout:
    async def command(*arguments: str) -> object:
        settings = {"TURNOUT_ADMIN_URL": admin.url, "TURNOUT_ADMIN_TOKEN": admin.token}
        return await run(*arguments, cwd=tmp_path, **settings)

    return command  # type: ignore[return-value] # it returns what `run` does


async def test_a_key_goes_by_its_name_its_prefix_or_its_id(turnout: Turnout, crm: Crm) -> None:
    for label in ("HubSpot", "crm/HubSpot", crm.prefix, crm.key_id):
        shown = await turnout("key", "show", label)
        assert (shown.code, crm.key_id in shown.out) == (0, True), label
    everywhere = (await turnout("key", "list")).out
    assert "crm/Partner" in everywhere
    assert "shop/Partner" in everywhere
    revoked = await turnout("key", "revoke", "crm/Partner", "--reason", "leaked")
    assert (revoked.code, "crm" in revoked.out) == (0, True)


async def test_a_trigger_goes_by_its_description_or_what_else_tells_it_from_others(
    turnout: Turnout, crm: Crm
) -> None:
    for label in ("Deals", crm.deals.routing_key[:8], crm.deals.id):
        shown = await turnout("trigger", "show", label)
        assert (shown.code, crm.deals.id in shown.out) == (0, True), label
    assert "Leads" in (await turnout("trigger", "show", "shop/update")).out
    for listing in (("usage",), ("refusal", "list"), ("run", "list")):
        assert (await turnout(*listing, "--trigger", "Deals")).code == 0


async def test_what_fits_several_is_refused_with_a_list_of_them(turnout: Turnout, crm: Crm) -> None:
    key = await turnout("key", "revoke", "Partner")
    assert (key.code, "crm/Partner" in key.err, "shop/Partner" in key.err) == (2, True, True)
    trigger = await turnout("trigger", "delete", "Leads", "--yes")
    assert (trigger.code, crm.leads.id in trigger.err) == (2, True)
    nothing = await turnout("key", "show", "Nobody")
    assert (nothing.code, "there is no key 'Nobody'" in nothing.err) == (2, True)


async def test_a_router_that_does_not_run_is_said_to_be_started(
    tmp_path: Path, admin: Admin, unused_tcp_port: int
) -> None:
    settings = {
        "TURNOUT_ADMIN_URL": f"http://127.0.0.1:{unused_tcp_port}",
        "TURNOUT_ADMIN_TOKEN": admin.token,
    }
    for arguments in (("group", "create", "crm"), ("key", "show", "HubSpot"), ("flow", "list")):
        result = await run(*arguments, cwd=tmp_path, **settings)
        assert (result.code, "start it with `turnout up`" in result.err) == (1, True)


async def _complete(*words: str, cwd: Path, **environment: str) -> list[str]:
    """Complete the last word, as bash asks for it."""
    inherited = {name: value for name, value in os.environ.items() if "TURNOUT" not in name}
    program = "import sys; sys.argv = ['turnout']; from turnout.router.cli import main; main()"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program),
        cwd=cwd,
        env={
            **inherited,
            "PYTHONPATH": PORTIONS,
            "_TURNOUT_COMPLETE": "complete_bash",
            "COMP_WORDS": " ".join(["turnout", *words]),
            "COMP_CWORD": str(len(words)),
            **environment,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert not err, err.decode()
    return out.decode().split("\n")


async def test_the_shell_completes_commands_groups_flows_and_keys(
    admin: Admin, crm: Crm, tmp_path: Path
) -> None:
    settings = {"TURNOUT_ADMIN_URL": admin.url, "TURNOUT_ADMIN_TOKEN": admin.token}
    assert "trigger" in await _complete("tri", cwd=tmp_path)
    assert "crm/update" in await _complete("flow", "show", "cr", cwd=tmp_path, **settings)
    assert "shop" in await _complete("key", "list", "--group", "s", cwd=tmp_path, **settings)
    assert "HubSpot" in await _complete("key", "show", "Hub", cwd=tmp_path, **settings)
    nowhere = {**settings, "TURNOUT_ADMIN_URL": "http://127.0.0.1:1"}
    assert "crm/update" not in await _complete("flow", "show", "cr", cwd=tmp_path, **nowhere)


def _commands(command: object, path: str = "turnout") -> list[tuple[str, object]]:
    """Return all commands below one, with how they are called."""
    found = [(path, command)]
    for name, each in getattr(command, "commands", {}).items():
        found += _commands(each, f"{path} {name}")
    return found


def test_every_command_and_option_explains_itself() -> None:
    for path, command in _commands(typer.main.get_command(app)):
        assert command.help, path  # type: ignore[attr-defined]
        for parameter in command.params:  # type: ignore[attr-defined]
            assert getattr(parameter, "help", None), f"{path} {parameter.name}"
