"""How a flow does: from what waits for it, and who serves it."""

import re
from dataclasses import replace
from pathlib import Path
from typing import cast

from redis.asyncio import Redis
from structlog.testing import capture_logs
from tests.router.serving import Admin
from tests.router.test_cli import run

from turnout.router.management import Depth, Management
from turnout.router.monitor import UNKNOWN, Load, Monitor, Waits, state
from turnout.router.registry import Registry
from turnout.shared import backlog
from turnout.shared.announcement import Announcement, Served
from turnout.shared.backlog import Backlog

LATE, SOON = Backlog(5, 0, 61.0), Backlog(5, 0, 1.0)
WORKER = Announcement(
    "wrk_1",
    "host",
    42,
    1_772_443_800.0,
    ("crm/update",),
    100,
    busy=3,
    served=(Served("crm/update", "2.1", 100, 3),),
    supervisor=41,
)


async def _make_flow(registry: Registry) -> None:
    await registry.create_group("crm")
    await registry.create_flow("crm", "update")


async def test_a_flow_is_behind_when_runs_wait_and_nobody_or_nobody_in_time_takes_them(
    registry: Registry,
) -> None:
    await _make_flow(registry)
    flow = await registry.flow("crm", "update")
    assert state(flow, UNKNOWN) == "ok"
    assert state(flow, Load(Backlog(0, 3, 0.0), 0)) == "ok"
    assert state(flow, Load(SOON, 1)) == "ok"
    assert state(flow, Load(LATE, 1)) == "backlog"
    assert state(flow, Load(SOON, 0)) == "no workers"
    assert state(replace(flow, paused_at=flow.created_at), Load(LATE, 0)) == "paused"


def test_the_wait_is_the_length_over_the_speed_or_since_it_stands_still() -> None:
    waits = Waits()
    assert waits.judge({"a": Depth(10)}, 0.0)["a"].wait == 0.0
    assert waits.judge({"a": Depth(10)}, 30.0)["a"].wait == 30.0
    assert waits.judge({"a": Depth(10, rate=2.0)}, 40.0)["a"].wait == 5.0
    assert waits.judge({"a": Depth(0)}, 50.0)["a"].wait == 0.0
    assert waits.judge({"a": Depth(1)}, 60.0)["a"].wait == 0.0


class _Counts:
    """Stands where RabbitMQ's management API is, which is some seconds late."""

    def __init__(self) -> None:
        self.found: dict[str, Depth] = {}

    async def depths(self) -> dict[str, Depth]:
        return self.found


async def test_the_router_says_once_that_a_flow_is_behind_and_when_it_ends(
    registry: Registry, redis: Redis
) -> None:
    await _make_flow(registry)
    counts = _Counts()
    monitor = Monitor(redis, registry, cast("Management", counts))
    counts.found = {"turnout.flow.crm.update.p0": Depth(2), "turnout.flow.crm.update.p1": Depth(1)}
    with capture_logs() as told:
        for _ in range(2):
            await monitor.report()
        assert (await backlog.read(redis) or {})["crm/update"].queued == 3
        await WORKER.write(redis)
        for _ in range(2):
            await monitor.report()
    assert [(each["event"], each["state"]) for each in told] == [
        ("flow is behind", "no workers"),
        ("flow is behind no more", "ok"),
    ]


async def test_the_api_and_the_command_line_show_workers_and_what_waits(
    admin: Admin, redis: Redis, tmp_path: Path
) -> None:
    await _make_flow(admin.registry)
    unknown = await admin.call("GET", "flows/crm/update", status=200)
    assert [unknown[name] for name in ("state", "queued", "workers")] == ["ok", None, 0]
    await backlog.write(redis, {"crm/update": SOON})
    alarm = await admin.call("GET", "flows/crm/update", status=200)
    assert [alarm[name] for name in ("state", "queued", "workers")] == ["no workers", 5, 0]
    await WORKER.write(redis)
    served = await admin.call("GET", "flows/crm/update", status=200)
    assert [served[name] for name in ("state", "queued", "workers")] == ["ok", 5, 1]
    (worker,) = (await admin.call("GET", "workers", status=200))["items"]
    assert (worker["host"], worker["pid"], worker["supervisor"]) == ("host", 42, 41)
    assert worker["flows"] == [
        {"flow": "crm/update", "version": "2.1", "concurrency": 100, "busy": 3}
    ]

    async def turnout(*arguments: str) -> str:
        environment = {"TURNOUT_ADMIN_URL": admin.url, "TURNOUT_ADMIN_TOKEN": admin.token}
        result = await run(*arguments, cwd=tmp_path, **environment)
        assert result.code == 0, result.err
        return result.out

    assert re.search(r"^crm/update +ok +5 +1 ", await turnout("flow", "list"), re.MULTILINE)
    assert "5, waiting about 1 s" in await turnout("flow", "show", "crm/update")
    assert re.search(r"^host +42 .+crm/update", await turnout("worker", "list"), re.MULTILINE)
