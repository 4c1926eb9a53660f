"""Ordered flows: events of one key run one after the other, whatever happens to workers."""

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime

from tests.support.waiting import eventually
from tests.workers.conftest import Stage, StartWorker
from tests.workers.making import new_envelope

from turnout.router import topology
from turnout.router.registry import Flow, Snapshot
from turnout.router.settings import RouterSettings
from turnout.shared import names, ordering
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


async def send(stage: Stage, key: str, number: int, **more: object) -> None:
    body = json.dumps({"key": key, "number": number, **more}).encode()
    queue = names.partition("turnout.flow.demo.ordered", ordering.partition(body, "key", 4))
    await stage.publish_to(queue, new_envelope("demo/ordered", body=body).encode())


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
    await eventually(lambda: ended(effects) == 80, 40, "all have run")
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
    await eventually(lambda: f"end {free} 0" in effects(), 30, "the other key has run")
    await eventually(lambda: f"begin {stuck} 0" in effects(), 30, "the attempt has failed")
    assert f"begin {stuck} 1" not in effects()
    release()
    await eventually(lambda: f"end {stuck} 1" in effects(), 30, "the key goes on")
    assert effects().index(f"end {stuck} 0") < effects().index(f"begin {stuck} 1")


async def test_a_killed_worker_and_one_that_stops_leave_the_order_to_the_next(
    stage: Stage, start_worker: StartWorker, effects: Effects
) -> None:
    await declare(stage)
    for number in range(15):
        for key in range(8):
            await send(stage, str(key), number)
    killed = start_worker(FLOWS)
    await eventually(lambda: ended(effects) > 20, 40, "some have run")
    stopped = start_worker(FLOWS, name="second")
    killed.kill()
    await eventually(lambda: ended(effects) > 60, 40, "more have run")
    start_worker(FLOWS, name="third")
    stopped.stop()
    await eventually(lambda: ended(effects) == 120, 40, "all have run")
    assert_in_order(effects(), map(str, range(8)), 15)


async def test_workers_that_come_later_take_their_part_of_the_partitions(
    stage: Stage, start_worker: StartWorker, effects: Effects
) -> None:
    """The first worker holds them all, until it knows of the second."""
    await declare(stage)
    text = FLOWS.replace("    call = ", '    effect(f"by {os.getpid()} {event.id}")\n    call = ')
    workers = [start_worker(text, name=name) for name in ("first", "second")]
    for each in workers:
        await each.wait_log("flow is served")
    pids = sorted(str(each.pid) for each in workers)
    numbers = itertools.count()

    async def shared() -> bool:
        """Send to each partition, and see whether each worker has two."""
        number, before = next(numbers), len(effects())
        for key in KEYS:
            await send(stage, key, number)
        await eventually(lambda: ended(effects) == 4 * (number + 1), 20, "they have run")
        await asyncio.sleep(0.1)  # there is nothing to be in a hurry about
        by = [line.split()[1] for line in effects()[before:] if line.startswith("by")]
        return sorted(by) == sorted(pids * 2)

    await eventually(shared, 60, "both have two partitions")
    assert_in_order([each for each in effects() if not each.startswith("by")], KEYS, next(numbers))


async def test_a_thread_is_told_that_another_worker_may_have_its_run(
    stage: Stage,
    start_worker: StartWorker,
    effects: Effects,
    cut: Callable[[], Awaitable[None]],
) -> None:
    await declare(stage)
    worker = start_worker("""
from turnout.workers import Context

@flow("demo/ordered", ordered_by="key", partitions=4)
def ordered(event: Event, context: Context) -> None:
    effect(f"started {context.is_lost}")
    while not context.is_lost:
        time.sleep(0.01)
    effect("is lost")
    while not released():
        time.sleep(0.01)
""")
    await send(stage, "1", 0)
    await eventually(lambda: effects() == ["started False"], 20, "it has started")
    await cut()
    await eventually(lambda: "is lost" in effects(), 20, "it knows")
    await worker.wait_log("broker connected")
