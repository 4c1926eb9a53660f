"""All of it with PostgreSQL below, and two routers over it."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from tests.router.test_cli import run
from tests.support import postgresql
from tests.support.system import PATIENCE, Key, System
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def settings(postgresql_server: str) -> Iterator[Mapping[str, str]]:
    with postgresql.database(postgresql_server) as url:
        yield {"TURNOUT_DATABASE_URL": url}


@pytest.fixture(scope="module")
def system(bare_system: System) -> System:
    """A running system with a second router, on standby."""
    bare_system.add_ingress()
    bare_system.add_worker("seen", "trouble")
    asyncio.run(bare_system.start())
    asyncio.run(_stand_by(bare_system))
    asyncio.run(bare_system.registered("shop/seen"))
    return bare_system


async def _stand_by(system: System) -> None:
    await system.add_router().command.start().wait_log("this router is on standby")


async def _found(system: System, path: str, **wanted: Any) -> dict[str, Any]:
    """Wait until a listing has an item with these values, and return it."""

    async def there() -> Any:
        items = (await system.admin("GET", path, status=200))["items"]
        return next((each for each in items if each.items() >= wanted.items()), None)

    found: dict[str, Any] = await eventually(there, PATIENCE, f"{path} has {wanted}")
    return found


async def test_a_call_is_recorded_shown_and_run_again_and_the_standby_router_takes_over(
    system: System, key: Key
) -> None:
    seen, failing = [await system.make_trigger(f"shop/{flow}") for flow in ("seen", "failing")]
    good = (await system.call(seen.path, key, json={"order": {"id": "A-17"}})).event_id
    bad = (await system.call(failing.path, key, data=b"order 7 is wrong")).event_id
    await _found(system, "events?state=succeeded", id=good)
    await _found(system, "events?state=dead&error=ValueError", id=bad)
    letter = await _found(system, "dead", event_id=bad)
    assert letter["error"] == "ValueError: order 7 is wrong"

    body = {"events": {"flow": "shop/seen"}, "start": True}
    replay = await system.admin("POST", "replays", body, status=201)
    await _found(system, "replays", id=replay["id"], state="done", done=1)
    await _found(system, "runs?state=succeeded", replay=replay["id"], event_id=good)

    system.router.command.kill()
    system.routers.reverse()
    await system.router.ready()
    again = (await system.call(seen.path, key, data=b"later")).event_id
    await _found(system, "events?state=succeeded", id=again)
    await _found(system, "dead", event_id=bad)


async def test_the_doctor_finds_the_database_in_order(system: System) -> None:
    environment = {"TURNOUT_MANAGEMENT_URL": system._management_url, **system._common}
    told = await run("doctor", "--json", cwd=system.directory, **environment)
    findings = json.loads(told.out)["findings"]
    database = [each for each in findings if each["subject"] in {"database", "clocks"}]
    assert {each["level"] for each in database} == {"ok"}, database
    assert any("the database is" in each["text"] for each in database)
