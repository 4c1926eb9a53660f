"""The worker's engine: pauses, cancellations, twins, long and blocking flows, the prefetch."""

import asyncio
import time
from collections.abc import Callable

import pytest
from redis.asyncio import Redis
from tests.support.waiting import eventually
from tests.workers.conftest import Stage, StartWorker, topology_of
from tests.workers.test_worker import Effects, patient, started

from turnout.shared import ids, names, notices, outcome
from turnout.shared.envelope import Envelope
from turnout.shared.notices import Pause


def quick(address: str, body: str = "effect(event.id)", options: str = "") -> str:
    """Write a flow of one line."""
    name = address.partition("/")[2].replace("-", "_")
    return f"""
@flow("{address}"{options})
async def {name}(event: Event):
    {body}
"""


async def test_a_paused_flow_starts_nothing_and_keeps_its_backlog_until_it_is_resumed(
    stage: Stage, start_worker: StartWorker, effects: Effects, board: Redis
) -> None:
    address = "demo/paused"
    await stage.declare(topology_of(address, "demo/other"))
    worker = start_worker(quick(address) + quick("demo/other"), "--concurrency", "2")
    first = await stage.publish(address)
    await stage.outcome(first)

    await board.hset(names.PAUSED, address, Pause("a release", time.time()).encode())
    await worker.wait_log("flow is paused")
    sent = [await stage.publish(address) for _ in range(5)]
    other = await stage.publish("demo/other")
    await stage.outcome(other)
    assert effects() == [first.event_id, other.event_id]

    await board.flushdb()  # the board is empty: what was known goes on to hold
    await stage.outcome(await stage.publish("demo/other"))
    assert await stage.ready(address) == 5

    await board.set(names.AUTH_EPOCH, "2")
    for each in sent:
        assert (await stage.outcome(each)).state == outcome.SUCCEEDED
    assert worker.stop() == 0
    assert await stage.ready(address) == 0


async def test_what_runs_finishes_when_its_flow_is_paused(
    stage: Stage,
    start_worker: StartWorker,
    effects: Effects,
    release: Callable[[], None],
    board: Redis,
) -> None:
    address = "demo/pause-running"
    await stage.declare(topology_of(address))
    worker = start_worker(patient(address), "--concurrency", "1")
    running = await stage.publish(address)
    await started(effects)
    await stage.publish(address)

    await board.hset(names.PAUSED, address, Pause("", time.time()).encode())
    await worker.wait_log("flow is paused")
    release()

    assert (await stage.outcome(running)).state == outcome.SUCCEEDED
    assert len(effects()) == 2


async def test_a_cancelled_run_does_not_start_and_says_why(
    stage: Stage, start_worker: StartWorker, effects: Effects, board: Redis
) -> None:
    address = "demo/cancelled"
    await stage.declare(topology_of(address))
    one, until, later = [await _published(stage, address) for _ in range(3)]
    moment = ids.made_at(until.run_id)
    await board.hset(names.cancelled(address), "*", notices.cancelled_until(moment, "all of it"))
    await board.hset(names.cancelled(address), one.run_id, notices.cancelled_run("no use"))

    worker = start_worker(quick(address))

    assert [(e.state, e.error) for e in await stage.outcomes(one)] == [("cancelled", "no use")]
    assert [(e.state, e.error) for e in await stage.outcomes(until)] == [("cancelled", "all of it")]
    assert (await stage.outcome(later)).state == outcome.SUCCEEDED
    assert effects() == [later.event_id]
    assert worker.stop() == 0
    assert await stage.ready(address) == 0


async def _published(stage: Stage, address: str) -> Envelope:
    await asyncio.sleep(0.002)  # ids tell milliseconds apart
    return await stage.publish(address)


async def test_of_two_events_with_one_idempotency_key_one_runs(
    stage: Stage, start_worker: StartWorker, effects: Effects, redis_url: str
) -> None:
    address = "demo/twins"
    await stage.declare(topology_of(address))
    worker = start_worker(quick(address))
    first = await stage.publish(address, idempotency="a" * 64)
    assert (await stage.outcome(first)).state == outcome.SUCCEEDED

    twin = await stage.publish(address, idempotency="a" * 64)
    other = await stage.publish(address, idempotency="b" * 64)
    replay = await stage.publish(address, kind="replay")  # by which a sender's key does not count

    report = await stage.outcome(twin)
    assert (report.state, report.error) == (
        outcome.CANCELLED,
        f"duplicate: {first.run_id} ran for its idempotency key",
    )
    for each in (other, replay):
        assert (await stage.outcome(each)).state == outcome.SUCCEEDED
    assert sorted(effects()) == sorted(each.event_id for each in (first, other, replay))
    assert worker.stop() == 0


async def test_a_twin_waits_for_the_one_that_runs_and_runs_if_that_one_dies(
    stage: Stage, start_worker: StartWorker, effects: Effects, release: Callable[[], None]
) -> None:
    address = "demo/waiting-twins"
    await stage.declare(topology_of(address))
    start_worker("""
@flow("demo/waiting-twins", retries=0)
async def waiting_twins(event: Event):
    effect(f"started {event.text()}")
    while not released():
        await asyncio.sleep(0.01)
    if event.text() == "first":
        raise ValueError
""")
    first = await stage.publish(address, idempotency="c" * 64, body=b"first")
    await started(effects)
    twin = await stage.publish(address, idempotency="c" * 64, body=b"twin")
    waits = await stage.outcome(twin)
    release()

    assert (waits.state, waits.attempt) == (outcome.RETRYING, 1)
    assert first.run_id in (waits.error or "")
    assert (await stage.outcome(first)).state == outcome.DEAD
    (end,) = await stage.ends(twin)
    assert (end.state, end.attempt) == (outcome.SUCCEEDED, 1)


@pytest.mark.parametrize("end", ["succeeded", "dead"])
async def test_of_two_copies_of_a_replayed_run_one_runs(
    end: str,
    stage: Stage,
    start_worker: StartWorker,
    effects: Effects,
    release: Callable[[], None],
) -> None:
    address = f"demo/copies-{end}"
    await stage.declare(topology_of(address))
    start_worker(f"""
@flow("{address}", retries=0)
async def copies(event: Event):
    effect("started")
    while not released():
        await asyncio.sleep(0.01)
    if event.text() == "dead":
        raise ValueError
""")
    run_id = ids.new(ids.RUN)
    run = await stage.publish(
        address, run_id=run_id, idempotency=run_id, kind="replay", body=end.encode()
    )
    await started(effects)
    await stage.publish_bytes(address, run.encode())
    waits = await stage.outcome(run)
    release()

    assert (waits.state, waits.attempt) == (outcome.RETRYING, 1)
    ran, copy = await stage.ends(run, 2)
    assert ran.state == end
    assert (copy.state, copy.error) == (
        outcome.CANCELLED,
        f"a copy: this run is {'done' if end == 'succeeded' else 'dead'} already",
    )
    assert effects() == ["started"]


async def test_a_run_for_a_version_waits_for_a_worker_that_has_it(
    stage: Stage, start_worker: StartWorker, effects: Effects
) -> None:
    address = "demo/versions"
    await stage.declare(topology_of(address))
    body = "effect(event.id)"
    old = start_worker(quick(address, body, ', version="1"'))
    run = await stage.publish(address, idempotency="e" * 64, kind="once", version="2")
    waits = await stage.outcome(run)
    assert (waits.state, waits.attempt) == (outcome.RETRYING, 1)
    assert waits.error == "waits for version '2' of the flow: this worker has '1'"
    old.stop()
    start_worker(quick(address, body, ', version="2"'), name="new")
    (end,) = await stage.ends(run)
    assert (end.state, end.version) == (outcome.SUCCEEDED, "2")
    assert effects() == [run.event_id]


async def test_a_run_that_lasts_is_reported_when_it_starts_and_a_short_one_only_at_its_end(
    stage: Stage, start_worker: StartWorker, effects: Effects, release: Callable[[], None]
) -> None:
    await stage.declare(topology_of("demo/lasting", "demo/short"))
    start_worker(patient("demo/lasting") + quick("demo/short"))
    short = await stage.publish("demo/short")
    await stage.outcome(short)
    lasting = await stage.publish("demo/lasting")

    def told() -> bool:
        return [each.state for each in stage.reports_of(lasting)] == [outcome.STARTED]

    await eventually(told, what="it is told that the run has started")
    (report,) = stage.reports_of(lasting)
    assert (report.ended_at, report.attempt) == (0, 1)
    release()

    assert (await stage.outcome(lasting)).started_at == report.started_at
    assert [each.state for each in stage.reports_of(short)] == [outcome.SUCCEEDED]


async def test_a_run_ends_before_the_broker_would_start_it_elsewhere(
    stage: Stage, start_worker: StartWorker, effects: Effects
) -> None:
    await stage.declare(topology_of("demo/endless"))
    start_worker(
        """
@flow("demo/endless", retries=0)
async def endless(event: Event):
    effect("started")
    await asyncio.sleep(3600)
""",
        TURNOUT_DELIVERY_TIMEOUT="1",
    )

    report = await stage.outcome(await stage.publish("demo/endless"))

    assert report.state == outcome.DEAD
    assert (report.error or "").startswith("TimeoutError: not done within 0.9 s")
    assert "TURNOUT_DELIVERY_TIMEOUT" in (report.error or "")
    assert effects() == ["started"]


async def test_a_flow_that_may_outlast_the_brokers_timeout_is_refused_at_the_start(
    start_worker: StartWorker,
) -> None:
    worker = start_worker(quick("demo/long", options=", timeout=1700"))

    assert await worker.wait_end() == 2
    assert "flow demo/long at" in worker.log
    assert "at most 1620 s" in worker.log
    assert "consumer_timeout" in worker.log
    assert "Traceback" not in worker.log


async def test_a_flow_that_blocks_the_event_loop_is_named_with_its_stack(
    stage: Stage, start_worker: StartWorker
) -> None:
    await stage.declare(topology_of("demo/blocking", "demo/innocent"))
    worker = start_worker(
        quick("demo/innocent", "await asyncio.sleep(60)")
        + """
def computes():
    time.sleep(2)  # what blocks

@flow("demo/blocking")
async def blocking(event: Event):
    await asyncio.sleep(0)
    computes()
"""
    )
    await stage.publish("demo/innocent")
    await stage.outcome(await stage.publish("demo/blocking"))

    await worker.wait_log("event loop goes on")
    told = next(line for line in worker.log.splitlines() if "event loop is blocked" in line)
    assert "demo/blocking" in told
    assert "time.sleep(2)" in told
    assert "computes" in told
    worker.kill()


async def test_long_runs_are_not_hoarded_and_short_ones_are_fetched_ahead(
    stage: Stage, start_worker: StartWorker, effects: Effects, release: Callable[[], None]
) -> None:
    await stage.declare(topology_of("demo/hoard", "demo/ahead"))
    start_worker(
        patient("demo/hoard")
        + """
@flow("demo/ahead")
async def ahead(event: Event):
    await asyncio.sleep(0.02)
    while event.body == b"waits" and not released():
        await asyncio.sleep(0.01)
""",
        *("--concurrency", "2"),
    )
    sent = [await stage.publish("demo/ahead") for _ in range(200)]
    long = [await stage.publish("demo/hoard") for _ in range(6)]
    await started(effects, 2)
    for each in sent:
        assert (await stage.outcome(each)).state == outcome.SUCCEEDED

    assert await stage.ready("demo/hoard") == 4
    waiting = [await stage.publish("demo/ahead", body=b"waits") for _ in range(50)]

    async def are_fetched() -> bool:
        return await stage.ready("demo/ahead") < 48

    await eventually(are_fetched, what="more are in the worker than run")
    release()
    for each in long + waiting:
        assert (await stage.outcome(each)).state == outcome.SUCCEEDED


async def test_all_flows_of_a_process_take_turns_at_its_slots(
    stage: Stage, start_worker: StartWorker, effects: Effects
) -> None:
    await stage.declare(topology_of("demo/many", "demo/few"))
    many = [await stage.publish("demo/many") for _ in range(60)]
    few = [await stage.publish("demo/few") for _ in range(2)]
    body = "effect(event.flow); await asyncio.sleep(0.01)"
    start_worker(quick("demo/many", body) + quick("demo/few", body), TURNOUT_RUNS="2")

    for each in (*few, *many):
        assert (await stage.outcome(each)).state == outcome.SUCCEEDED

    assert "few" in effects()[:40]


async def test_a_message_that_kills_its_workers_is_dead_in_the_end_and_takes_nobody_along(
    stage: Stage, start_worker: StartWorker, effects: Effects
) -> None:
    address = "demo/poison"
    wanted = topology_of(address)
    for queue in wanted.queues:
        if names.flow_of(queue.name) == address:
            queue.arguments["x-delivery-limit"] = 6  # each delivery takes the start of a worker
    await stage.declare(wanted)
    poison = await stage.publish(address, body=b"poison")
    innocent = [await stage.publish(address, body=b"well") for _ in range(20)]
    text = quick(
        address,
        'effect("ran"); event.body == b"poison" and os._exit(9)',
    )
    worker = start_worker(text, TURNOUT_LOG_LEVEL="warning")
    while not stage.all_dead(address):
        if not worker.is_running:
            worker.start()
        await asyncio.sleep(0.02)

    letter = await stage.dead(address)

    assert poison.event_id.encode() in letter.body
    if not worker.is_running:
        worker.start()
    for each in innocent:
        assert (await stage.outcome(each)).state == outcome.SUCCEEDED
    assert len(stage.all_dead(address)) == 1
