"""The statistics of a flow: from the counts of ingress and from the history."""

import random
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import sqlalchemy as sa
from redis.asyncio import Redis
from tests.router import counting
from tests.router.serving import Admin
from tests.router.test_cli import run

from turnout.router.database import Database
from turnout.router.history import statistics
from turnout.router.history.models import Run
from turnout.router.history.search import Filter
from turnout.shared import ids

_SECOND = 1_000_000_000


class Crm(NamedTuple):
    """A flow with two triggers and a key."""

    deals: str
    leads: str
    key: str


@pytest.fixture
async def crm(admin: Admin) -> Crm:
    registry = admin.registry
    await registry.create_group("crm")
    await registry.create_flow("crm", "update")
    await registry.create_flow("crm", "other")
    key, _ = await registry.create_key("crm", "CRM")
    made = [
        await registry.create_trigger("crm", "update", description=each)
        for each in ("Deals", "Leads")
    ]
    return Crm(made[0].id, made[1].id, key.id)


def _run(trigger_id: str, key_id: str, state: str, seconds: float, **fields: Any) -> dict[str, Any]:
    """Make a run that began at this moment."""
    began = time.time_ns()
    return {
        "id": ids.new(ids.RUN),
        "event_id": ids.new(ids.EVENT),
        "group_slug": "crm",
        "flow_slug": "update",
        "trigger_id": trigger_id,
        "key_id": key_id,
        "state": state,
        "attempt": 1,
        "progress": 0,
        "started_at": began,
        "ended_at": began + round(seconds * _SECOND) if seconds else 0,
        **fields,
    }


async def _record(database: Database, runs: list[dict[str, Any]]) -> None:
    async with database.writing() as connection:
        await connection.execute(sa.insert(Run), runs)


async def test_a_flow_tells_its_calls_refusals_runs_and_durations(
    admin: Admin, crm: Crm, database: Database, redis: Redis, tmp_path: Path
) -> None:
    await counting.accepted(redis, {(crm.deals, crm.key): 7, ("trg_other", crm.key): 99})
    await counting.accepted(redis, {(crm.deals, crm.key): 3}, back=1)
    await counting.accepted(redis, {(crm.deals, crm.key): 50}, back=9)
    await counting.refused(redis, {(crm.leads, crm.key, "rate_limited"): 4, ("-", "-", "?"): 5})
    await _record(
        database,
        [
            *(_run(crm.deals, crm.key, "succeeded", each / 100) for each in range(1, 101)),
            *(_run(crm.leads, crm.key, "dead", 5.0) for _ in range(3)),
            _run(crm.leads, crm.key, "queued", 0, started_at=0),
            _run(crm.deals, crm.key, "dead", 9.0, flow_slug="other"),
            _run(crm.deals, crm.key, "dead", 9.0, id=f"run_{'0' * 32}"),
        ],
    )
    found = await admin.call("GET", "flows/crm/update/stats", status=200)
    assert (found["unit"], found["counts"][-2:], found["calls"]) == ("day", [3, 7], 10)
    assert [(each["code"], each["total"]) for each in found["refused"]] == [("rate_limited", 4)]
    assert found["runs"] == {"queued": 1, "dead": 3, "succeeded": 100}
    assert found["durations"] == {"p50": 0.52, "p95": 0.98, "p99": 5.0}
    assert found["sampled"] is None
    deals, leads = found["triggers"]
    assert (deals["name"], deals["calls"], deals["runs"]) == ("Deals", 10, {"succeeded": 100})
    assert deals["durations"] == {"p50": 0.5, "p95": 0.95, "p99": 0.99}
    assert (leads["name"], leads["calls"], leads["refused"]) == ("Leads", 0, 4)
    assert leads["runs"] == {"queued": 1, "dead": 3}
    (key,) = found["keys"]
    assert (key["name"], key["calls"], key["refused"]) == ("CRM", 10, 4)

    settings = {"TURNOUT_ADMIN_URL": admin.url, "TURNOUT_ADMIN_TOKEN": admin.token}
    shown = await run("flow", "stats", "crm/update", cwd=tmp_path, **settings)
    for text in ("10 in 7 days", "1 queued, 3 dead, 100 succeeded", "p50 520 ms", "Leads", "CRM"):
        assert text in shown.out
    assert max(map(len, shown.out.splitlines())) <= 80


async def test_a_flow_that_did_nothing_has_statistics_as_well(admin: Admin, crm: Crm) -> None:
    found = await admin.call("GET", "flows/crm/other/stats?unit=minute&last=5", status=200)
    assert (found["counts"], found["runs"], found["durations"]) == ([0] * 5, {}, None)
    await admin.call("GET", "flows/crm/nothing/stats", status=404)
    await admin.call("GET", "flows/crm/other/stats?unit=minute&last=500", status=422)


@pytest.mark.both_databases
async def test_of_very_many_runs_a_fair_sample_is_read_and_what_failed_is_counted_exactly(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, "SAMPLE", 500)
    chosen = random.Random(1)
    runs = [
        _run(f"trg_{number % 2}", "key_1", "dead" if number < 3 else "succeeded", chosen.random())
        for number in range(5000)
    ]
    await _record(database, runs)
    since = int(datetime.now(UTC).replace(hour=0).timestamp()) * _SECOND - 86400 * _SECOND
    async with database.reading() as connection:
        found = await statistics.statistics(
            connection, Filter(group="crm", flow="update", since=since)
        )
    assert found.total == 5000
    assert 300 < found.sampled < 700
    assert found.all.states == {"dead": 3, "succeeded": 4997}
    assert found.by_trigger.keys() == {"trg_0", "trg_1"}
    assert found.by_trigger["trg_0"].states["dead"] == 2
    assert 2000 < found.by_trigger["trg_0"].states["succeeded"] < 3000
    assert found.all.durations is not None
    assert 0.3 < found.all.durations.p50 < 0.7
    assert found.all.durations.p99 > 0.9
