"""What each service tells Prometheus, as real processes do."""

import asyncio

import aiohttp
import pytest
from tests.support.system import PATIENCE, Key, System
from tests.support.waiting import eventually

from turnout.router.nodes import ports

_SETTING = "TURNOUT_METRICS_PORT"


@pytest.fixture(scope="module")
def metrics_ports() -> dict[str, int]:
    return dict(zip(("ingress", "worker", "router"), ports.free_ports(3), strict=True))


@pytest.fixture(scope="module")
def system(bare_system: System, metrics_ports: dict[str, int]) -> System:
    """A running system; metrics are served by ingress, worker and a router on standby."""
    bare_system.add_ingress(**{_SETTING: str(metrics_ports["ingress"])})
    bare_system.add_worker("seen", **{_SETTING: str(metrics_ports["worker"])})
    asyncio.run(bare_system.start())
    asyncio.run(bare_system.registered("shop/seen"))
    standby = bare_system.add_router(**{_SETTING: str(metrics_ports["router"])})
    asyncio.run(standby.command.start().wait_log("this router is on standby"))
    return bare_system


async def _read(port: int) -> tuple[dict[str, float], str]:
    """Return the samples of one service by name and labels, and the whole text."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/metrics") as response,
    ):
        text = await response.text()
    pairs = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in pairs}, text


async def test_calls_and_runs_are_counted_and_no_secret_is_told(
    system: System, key: Key, metrics_ports: dict[str, int]
) -> None:
    trigger = await system.make_trigger("shop/seen")
    answer = await system.call(trigger.path, key, data=b"counted")
    await system.seen(answer.event_id)
    await system.call(trigger.path)

    async def counted() -> bool:
        found, _ = await _read(metrics_ports["ingress"])
        return (
            found["turnout_calls_accepted_total"] == 1
            and found.get('turnout_calls_refused_total{code="invalid_api_key"}') == 1
        )

    await eventually(counted, PATIENCE, "both calls are counted")
    found, ingress = await _read(metrics_ports["ingress"])
    assert found['turnout_publisher_state{state="ready"}'] == 1
    assert found["process_resident_memory_bytes"] > 0
    found, worker = await _read(metrics_ports["worker"])
    assert found['turnout_attempts_total{flow="shop/seen",state="succeeded"}'] == 1
    assert found['turnout_runs_in_progress{flow="shop/seen"}'] == 0
    for secret in system.secrets.values():
        assert secret not in ingress + worker


async def test_the_active_router_tells_of_the_flows_and_the_other_one_that_it_stands_by(
    system: System, metrics_ports: dict[str, int]
) -> None:
    found, _ = await _read(metrics_ports["router"])
    assert {name: value for name, value in found.items() if name.startswith("turnout")} == {
        "turnout_active": 0
    }
    system.router.command.kill()

    async def tells() -> bool:
        found, _ = await _read(metrics_ports["router"])
        return found["turnout_active"] == 1 and 'turnout_workers{flow="shop/seen"}' in found

    await eventually(tells, what="the other router is active and tells of the flow")
    found, _ = await _read(metrics_ports["router"])
    assert found['turnout_workers{flow="shop/seen"}'] == 1
    assert found['turnout_parked{queue="turnout.unrouted"}'] == 0
