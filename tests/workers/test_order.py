"""Ordered flows: events of one key run one after the other, whatever happens to workers."""

import itertools
import json
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime

import pytest
from redis.asyncio import Redis
from tests.support.proxy import Proxy
from tests.support.waiting import eventually
from tests.workers.conftest import Stage, StartWorker
from tests.workers.making import new_envelope

from turnout.router import topology
from turnout.router.registry import Flow, Snapshot
from turnout.router.settings import RouterSettings
from turnout.shared import names, ordering, outcome
from turnout.shared.announcement import Announcement
from turnout.shared.envelope import Envelope
from turnout.shared.notices import FlowRecord, Pause
from turnout.shared.outcome import Outcome
from turnout.shared.settings import load

Effects = Callable[[], list[str]]

ORDERED = Flow("flw", "grp", "demo", "ordered", "", datetime.now(UTC), None, None, "key", 4)

FLOWS = """
import json, random

@flow("demo/ordered", ordered_by="key", partitions=4, retries=5, backoff=0.1)
async def ordered(event: Event) -> None:
    call = json.loads(event.body)
    effect(f"begin {call['key']} {call['number']}")
    if call.get("fails") and not released():
        raise ValueError("not yet")
    await asyncio.sleep(random.random() / 50)
    effect(f"end {call['key']} {call['number']}")
"""

#: One for each partition.
KEYS = tuple(
    next(
        str(key)
        for key in range(100)
        if ordering.partition(b'{"key":"%d"}' % key, "key", 4) == number
    )
    for number in range(4)
)


async def declare(stage: Stage) -> None:
    await stage.declare(topology.of(Snapshot(1, (ORDERED,), (), ()), load(RouterSettings)))


async def send(stage: Stage, key: str, number: int, **more: object) -> Envelope:
    body = json.dumps({"key": key, "number": number, **more}).encode()
    queue = names.partition("turnout.flow.demo.ordered", ordering.partition(body, "key", 4))
    envelope = new_envelope("demo/ordered", body=body)
    await stage.publish_to(queue, envelope.encode())
    return envelope


def assert_in_order(effects: list[str], keys: Iterable[str], numbers: int) -> None:
    """What ended may have begun again, but no event overtook another one of its key."""
    for key in keys:
        ended = [line.split() for line in effects if line.split()[:2] == ["end", key]]
        first = list(dict.fromkeys(int(number) for _, _, number in ended))
        assert first == list(range(numbers)), key
        begun = [int(line.split()[2]) for line in effects if line.split()[1] == key]
        highest = -1
        for number in begun:
            assert number >= highest, f"{key}: {number} after {highest}"
            highest = max(highest, number)


def ended(effects: Effects) -> int:
    return len({line for line in effects() if line.startswith("end")})


async def test_keys_run_beside_each_other_and_each_in_its_order(
    stage: Stage, start_worker: StartWorker, effects: Effects
) -> None:
    await declare(stage)
    for number in range(10):
        for key in range(8):
            await send(stage, str(key), number)
    start_worker(FLOWS)
    await eventually(lambda: ended(effects) == 80, what="all have run")
    assert_in_order(effects(), map(str, range(8)), 10)
    at_once = [one[:5] == two[:5] == "begin" for one, two in itertools.pairwise(effects())]
    assert any(at_once), "keys waited for each other"


async def test_a_failed_attempt_holds_up_its_key_and_no_partition_but_its_own(
    stage: Stage, start_worker: StartWorker, effects: Effects, release: Callable[[], None]
) -> None:
    await declare(stage)
    stuck, free, *_ = KEYS
    await send(stage, stuck, 0, fails=True)
    await send(stage, stuck, 1)
    await send(stage, free, 0)
    start_worker(FLOWS)
    await eventually(lambda: f"end {free} 0" in effects(), what="the other key has run")
    await eventually(lambda: f"begin {stuck} 0" in effects(), what="the attempt has failed")
    assert f"begin {stuck} 1" not in effects()
    release()
    await eventually(lambda: f"end {stuck} 1" in effects(), what="the key goes on")
    assert effects().index(f"end {stuck} 0") < effects().index(f"begin {stuck} 1")


async def test_an_attempt_in_place_is_told_to_have_started_when_it_has(
    stage: Stage, start_worker: StartWorker, release: Callable[[], None]
) -> None:
    await declare(stage)
    start_worker("""
@flow("demo/ordered", ordered_by="key", partitions=4, retries=1)
async def ordered(event: Event) -> None:
    if event.attempt == 1:
        raise ValueError("not yet")
    while not released():
        await asyncio.sleep(0.01)
""")
    sent = await send(stage, "1", 0)

    def told() -> Outcome | None:
        return next((one for one in stage.reports_of(sent) if one.state == outcome.STARTED), None)

    second = await eventually(told, what="it is told that an attempt has started")
    failed = await stage.outcome(sent)
    assert (failed.state, failed.attempt, failed.delay) == (outcome.RETRYING, 1, 1)
    assert second.attempt == 2
    assert second.started_at - failed.ended_at > 0.9e9
    release()


async def test_a_killed_worker_and_one_that_stops_leave_the_order_to_the_next(
    stage: Stage, start_worker: StartWorker, effects: Effects
) -> None:
    await declare(stage)
    for number in range(15):
        for key in range(8):
            await send(stage, str(key), number)
    killed = start_worker(FLOWS)
    await eventually(lambda: ended(effects) > 20, what="some have run")
    stopped = start_worker(FLOWS, name="second")
    killed.kill()
    await eventually(lambda: ended(effects) > 60, what="more have run")
    start_worker(FLOWS, name="third")
    stopped.stop()
    await eventually(lambda: ended(effects) == 120, what="all have run")
    assert_in_order(effects(), map(str, range(8)), 15)


async def test_workers_hand_partitions_over_and_a_pause_between_without_breaking_the_order(
    stage: Stage, start_worker: StartWorker, effects: Effects, board: Redis
) -> None:
    """The first worker has all partitions, until it knows of the second."""
    await declare(stage)
    numbers = 300
    for number in range(numbers):
        for key in KEYS:
            await send(stage, key, number)
    text = FLOWS.replace("random.random() / 50", "0.04").replace(
        '    effect(f"begin', '    effect(f"by {os.getpid()} {call[\'key\']}")\n    effect(f"begin'
    )
    workers = [start_worker(text, name=name) for name in ("first", "second")]
    for each in workers:
        await each.wait_log("flow is served")
    await board.hset(names.PAUSED, "demo/ordered", Pause("?", 1.0).encode())
    for each in workers:
        await each.wait_log("flow is paused")
    await board.delete(names.PAUSED)
    await eventually(lambda: ended(effects) == 4 * numbers, what="all have run")

    last = {line.split()[2]: line.split()[1] for line in effects() if line.startswith("by")}
    assert sorted(last.values()) == sorted(str(each.pid) for each in workers * 2)
    assert_in_order([each for each in effects() if not each.startswith("by")], KEYS, numbers)


async def test_a_worker_whose_order_is_another_one_does_not_serve_the_flow_and_says_so(
    stage: Stage, start_worker: StartWorker, board: Redis
) -> None:
    await declare(stage)
    await board.hset(names.FLOWS, "demo/ordered", FlowRecord("customer.id", 4).encode())
    worker = start_worker(FLOWS)
    await worker.wait_log("flow is not served")
    assert "it is registered with ordered_by='customer.id'" in worker.log

    async def announced() -> list[Announcement]:
        return await Announcement.read_all(board)

    (found,) = await eventually(announced, what="it is announced")
    assert found.flows == ()


async def test_a_thread_is_told_that_another_worker_may_have_its_run(
    stage: Stage,
    start_worker: StartWorker,
    effects: Effects,
    cut: Callable[[], Awaitable[None]],
    release: Callable[[], None],
) -> None:
    await declare(stage)
    worker = start_worker("""
from turnout.workers import Context

@flow("demo/ordered", ordered_by="key", partitions=4)
def ordered(event: Event, context: Context) -> None:
    effect(f"started {context.is_abandoned}")
    while not context.is_abandoned:
        time.sleep(0.01)
    effect("is lost")
    while not released():
        time.sleep(0.01)
""")
    await send(stage, "1", 0)
    await eventually(lambda: effects() == ["started False"], what="it has started")
    await cut()
    await eventually(lambda: "is lost" in effects(), what="it knows")
    await worker.wait_log("broker connected")
    release()


@pytest.mark.faults
@pytest.mark.timeout(120)
async def test_what_a_worker_without_network_has_in_progress_ends_before_another_begins_it(
    stage: Stage, start_worker: StartWorker, effects: Effects, amqp_url: str
) -> None:
    """RabbitMQ gives a silent client up after two or three heartbeats; the worker is faster."""
    await declare(stage)
    text = """
@flow("demo/ordered", ordered_by="key", partitions=4)
async def ordered(event: Event) -> None:
    while not released():
        effect(os.getpid())
        await asyncio.sleep(0.05)
"""
    async with Proxy(amqp_url) as proxy:
        first = start_worker(text, TURNOUT_AMQP_URL=proxy.url)
        await send(stage, "1", 0)
        await eventually(effects, what="it runs")
        second = start_worker(text, name="second")
        await second.wait_log("flow is served")
        proxy.freeze()
        await eventually(lambda: str(second.pid) in effects(), 60, "it runs elsewhere")
        pids = [str(each.pid) for each in (first, second)]
        assert effects() == sorted(effects(), key=pids.index)
