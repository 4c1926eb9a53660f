"""Pausing a flow and cancelling its runs: by whom it is asked, and where workers read it."""

import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from redis.asyncio import Redis
from sqlalchemy import insert, update
from tests.router.serving import Admin
from tests.router.test_cli import run

from turnout.router import models
from turnout.router.database import Database
from turnout.router.history.models import Run
from turnout.router.projection import Projection
from turnout.router.registry import Registry
from turnout.shared import ids, names
from turnout.shared.notices import EVERY_RUN, Cancelled, FlowRecord, Pause


async def _make_flow(registry: Registry) -> None:
    await registry.create_group("crm")
    await registry.create_flow("crm", "update")


async def _paused(redis: Redis) -> dict[str, Pause]:
    found = await redis.hgetall(names.PAUSED)
    return {name.decode(): Pause.decode(value) for name, value in found.items()}


async def _cancelled(redis: Redis) -> Cancelled:
    return Cancelled(await redis.hgetall(names.cancelled("crm/update")))


async def test_a_paused_flow_says_since_when_and_why(admin: Admin) -> None:
    await _make_flow(admin.registry)
    before = await admin.call("GET", "flows/crm/update", status=200)
    assert before["paused"] is None
    paused = await admin.call(
        "POST", "flows/crm/update/pause", {"reason": "HubSpot is down"}, status=200
    )
    assert paused["paused"]["reason"] == "HubSpot is down"
    assert await admin.call("GET", "flows/crm/update", status=200) == paused
    again = await admin.call("POST", "flows/crm/update/pause", {"reason": "still"}, status=200)
    assert again["paused"] == {"since": paused["paused"]["since"], "reason": "still"}
    assert await admin.call("POST", "flows/crm/update/resume", status=200) == before
    assert await admin.call("POST", "flows/crm/update/resume", status=200) == before


async def test_a_pause_without_a_reason_or_of_no_flow_is_refused(admin: Admin) -> None:
    await _make_flow(admin.registry)
    for body in ({}, {"reason": " "}, {"reason": "x" * 501}, {"reason": "two\nlines"}):
        problem = await admin.call("POST", "flows/crm/update/pause", body, status=422)
        assert problem["errors"][0]["field"] == "reason"
    for verb in ("pause", "cancellations"):
        await admin.call("POST", f"flows/crm/none/{verb}", {"reason": "?"}, status=404)
    await admin.call("POST", "flows/crm/none/resume", status=404)


async def test_a_limit_over_all_workers_is_set_and_taken_away(admin: Admin, redis: Redis) -> None:
    await _make_flow(admin.registry)
    path = "flows/crm/update"
    assert (await admin.call("GET", path, status=200))["max_running"] is None
    for limit in (5, None):
        changed = await admin.call("PATCH", path, {"max_running": limit}, status=200)
        assert changed["max_running"] == limit
        assert await admin.call("GET", path, status=200) == changed
        await Projection(redis).write(await admin.registry.snapshot())
        record = await redis.hget(names.FLOWS, "crm/update")
        assert FlowRecord.decode(record or b"").max_running == limit
    for body in ({}, {"max_running": 0}, {"max_running": 1.5}):
        await admin.call("PATCH", path, body, status=422)
    await admin.call("PATCH", "flows/crm/none", {"max_running": 1}, status=404)


async def test_runs_are_cancelled_one_by_one_or_all_that_are_queued(admin: Admin) -> None:
    await _make_flow(admin.registry)
    run_id = ids.new(ids.RUN)
    body = {"reason": "sent twice", "run_id": run_id}
    one = await admin.call("POST", "flows/crm/update/cancellations", body, status=201)
    every = await admin.call(
        "POST", "flows/crm/update/cancellations", {"reason": "bad import"}, status=201
    )
    assert (one["run_id"], every["run_id"]) == (run_id, None)
    listed = await admin.call("GET", "flows/crm/update/cancellations", status=200)
    assert listed["items"] == [every, one]
    again = await admin.call("POST", "flows/crm/update/cancellations", body, status=201)
    listed = await admin.call("GET", "flows/crm/update/cancellations", status=200)
    assert listed["items"] == [again, every]
    await admin.call(
        "POST", "flows/crm/update/cancellations", {"reason": "?", "run_id": "run_1"}, status=422
    )


async def _record(database: Database, run_id: str, state: str, ended_at: float = 0.0) -> None:
    """Put a run of the flow into the history."""
    async with database.writing() as connection:
        await connection.execute(
            insert(Run).values(
                id=run_id,
                event_id=ids.same_uuid(run_id, ids.EVENT),
                group_slug="crm",
                flow_slug="update",
                state=state,
                attempt=0,
                progress=0,
                started_at=0,
                ended_at=int(ended_at * 1e9),
            )
        )


async def test_a_run_that_the_history_knows_is_cancelled_by_its_id_alone(
    admin: Admin, database: Database
) -> None:
    await _make_flow(admin.registry)
    queued, ended = ids.new(ids.RUN), ids.new(ids.RUN)
    path = f"runs/{queued}/cancel"
    await admin.call("POST", path, {"reason": "sent twice"}, status=404)
    await _record(database, queued, "queued")
    await _record(database, ended, "succeeded", ended_at=1.0)
    made = await admin.call("POST", path, {"reason": "sent twice"}, status=201)
    assert (made["group"], made["flow"], made["run_id"]) == ("crm", "update", queued)
    listed = await admin.call("GET", "flows/crm/update/cancellations", status=200)
    assert listed["items"] == [made]
    problem = await admin.call("POST", f"runs/{ended}/cancel", {"reason": "?"}, status=409)
    assert "succeeded" in problem["detail"]
    await admin.call("POST", path, {}, status=422)


async def test_cancellations_are_forgotten_when_nothing_can_start_any_more(
    registry: Registry, database: Database, redis: Redis
) -> None:
    await _make_flow(registry)
    now = time.time()
    ended, just_ended, queued, unknown, old = [ids.new(ids.RUN) for _ in range(5)]
    await _record(database, ended, "cancelled", ended_at=now - 3700)
    await _record(database, just_ended, "cancelled", ended_at=now - 10)
    await _record(database, queued, "queued")
    for run_id in (ended, just_ended, queued, unknown, old):
        await registry.cancel("crm", "update", "sent twice", run_id)
    await registry.cancel("crm", "update", "all of it")
    async with database.writing() as connection:
        long_ago = datetime.now(UTC) - timedelta(days=31)
        await connection.execute(
            update(models.Cancellation)
            .where(models.Cancellation.run.in_([old, queued, EVERY_RUN]))
            .values(created_at=long_ago)
        )

    assert await registry.forget_cancellations() == 2
    assert await registry.forget_cancellations() == 0
    left = {each.run for each in await registry.list_cancellations("crm", "update")}
    assert left == {just_ended, queued, unknown, EVERY_RUN}
    await Projection(redis).write(await registry.snapshot())
    assert set(await redis.hkeys(names.cancelled("crm/update"))) == {each.encode() for each in left}


async def test_workers_read_it_in_the_cache_and_again_after_a_flush(
    registry: Registry, redis: Redis
) -> None:
    await _make_flow(registry)
    projection = Projection(redis)
    await projection.write(await registry.snapshot())
    assert await redis.exists(names.PAUSED, names.cancelled("crm/update")) == 0
    record = await redis.hget(names.FLOWS, "crm/update")
    assert FlowRecord.decode(record or b"") == FlowRecord()

    flow = await registry.pause_flow("crm", "update", "HubSpot is down")
    run_id = ids.new(ids.RUN)
    await registry.cancel("crm", "update", "sent twice", run_id)
    await projection.write(await registry.snapshot())
    for _ in range(2):
        assert flow.paused_at is not None
        pause = Pause("HubSpot is down", flow.paused_at.timestamp())
        assert await _paused(redis) == {"crm/update": pause}
        cancelled = await _cancelled(redis)
        assert cancelled.reason(run_id) == "sent twice"
        assert cancelled.reason(ids.new(ids.RUN)) is None
        await redis.flushdb()
        assert not await projection.is_complete()
        await projection.write(await registry.snapshot())

    before = ids.new(ids.RUN)
    await registry.cancel("crm", "update", "bad import")
    await registry.resume_flow("crm", "update")
    await projection.write(await registry.snapshot())
    assert await _paused(redis) == {}
    cancelled = await _cancelled(redis)
    assert [cancelled.reason(each) for each in (run_id, before)] == ["sent twice", "bad import"]


async def test_a_router_that_starts_removes_what_holds_no_more(
    registry: Registry, redis: Redis
) -> None:
    await redis.hset(names.PAUSED, "gone/flow", Pause("?", 1.0).encode())
    await redis.hset(names.cancelled("gone/flow"), ids.new(ids.RUN), b"?")
    await Projection(redis).write(await registry.snapshot())
    assert await redis.exists(names.PAUSED, names.cancelled("gone/flow"), names.FLOWS) == 0


async def test_the_command_line_pauses_resumes_limits_and_cancels(
    admin: Admin, database: Database, tmp_path: Path
) -> None:
    async def turnout(*arguments: str) -> str:
        result = await run(
            *arguments,
            cwd=tmp_path,
            TURNOUT_ADMIN_URL=admin.url,
            TURNOUT_ADMIN_TOKEN=admin.token,
        )
        assert result.code == 0, result.err
        return result.out

    await _make_flow(admin.registry)
    await turnout("flow", "pause", "crm/update", "--reason", "HubSpot is down")
    shown = await turnout("flow", "show", "crm/update")
    assert re.search(r"^state +paused since .+: HubSpot is down$", shown, re.MULTILINE)
    assert re.search(r"^crm/update +paused ", await turnout("flow", "list"), re.MULTILINE)
    shown = await turnout("flow", "resume", "crm/update")
    assert re.search(r"^state +ok$", shown, re.MULTILINE)
    shown = await turnout("flow", "limit", "crm/update", "--running", "5")
    assert re.search(r"^at once +5, over all workers$", shown, re.MULTILINE)
    shown = await turnout("flow", "limit", "crm/update", "--running", "none")
    assert re.search(r"^at once +any number$", shown, re.MULTILINE)
    run_id = ids.new(ids.RUN)
    out = await turnout("run", "cancel", run_id, "--flow", "crm/update", "--reason", "bad import")
    assert run_id in out
    out = await turnout("queue", "cancel", "crm/update", "--reason", "bad import")
    assert "all runs made until" in out
    await _record(database, run_id, "queued")
    assert run_id in await turnout("run", "cancel", run_id, "--reason", "bad import")


async def test_the_command_line_says_what_it_lacks_to_cancel(admin: Admin, tmp_path: Path) -> None:
    result = await run(
        *("run", "cancel", ids.new(ids.RUN), "--reason", "?"),
        cwd=tmp_path,
        TURNOUT_ADMIN_URL=admin.url,
        TURNOUT_ADMIN_TOKEN=admin.token,
    )
    assert result.code != 0
    assert "say its flow with --flow" in " ".join(result.err.split())
