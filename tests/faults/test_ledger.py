"""Accepted = succeeded + dead + parked, whatever is killed, stopped, flushed or frozen meanwhile.

A sender with a few hundred calls a second goes on through each fault, and sends again what was not
accepted. At the end every event that was answered 202 has run or is kept where an operator sees it,
it is in the archive, and nothing is there that was not sent. What is there twice is counted.
"""

import asyncio
import random
from pathlib import Path

import pytest
from tests.faults.breaking import (
    BETWEEN,
    Fault,
    alarm_broker,
    flush_cache,
    freeze_broker,
    freeze_broker_for_a_minute,
    freeze_broker_for_long,
    freeze_cache,
    kill_all_workers,
    kill_broker,
    kill_cache,
    kill_ingress,
    kill_router,
    kill_worker,
    reload_ingress,
    stop_broker,
)
from tests.faults.conftest import PUBLISH_DEADLINE, Stage
from tests.support.process import children
from tests.support.sender import Ledger, Sender

pytestmark = pytest.mark.faults

#: More calls a second than anybody can send here: the next one follows the answer.
_FULL_SPEED = 100_000

#: MiB that one ingress process may have at the end; it starts with about 60.
_MOST_MEMORY = 200


@pytest.mark.parametrize(
    ("fault", "times"),
    [
        (kill_ingress, 4),
        (kill_router, 4),
        (stop_broker, 2),
        (kill_broker, 3),
        (freeze_broker, 2),
        (flush_cache, 10),
        (kill_cache, 4),
        (freeze_cache, 2),
    ],
    ids=lambda value: value.__name__ if callable(value) else f"{value}-times",
)
async def test_nothing_accepted_is_lost(stage: Stage, fault: Fault, times: int) -> None:
    async with stage.sender() as sender:
        await sender.more(BETWEEN)
        for _ in range(times):
            await fault(stage, sender)
            await sender.more(BETWEEN)
    await Ledger(stage.system, sender).balance()
    assert_no_call_hung(sender)


@pytest.mark.parametrize(
    "fault",
    [
        kill_broker,
        freeze_broker_for_long,
        freeze_broker_for_a_minute,
        alarm_broker,
        kill_cache,
        flush_cache,
        kill_ingress,
        reload_ingress,
    ],
    ids=lambda value: value.__name__,
)
async def test_nothing_accepted_is_lost_at_full_speed(stage: Stage, fault: Fault) -> None:
    async with stage.sender(rate=_FULL_SPEED) as sender:
        await sender.more(BETWEEN)
        await fault(stage, sender)
        await sender.more(BETWEEN)
    await Ledger(stage.system, sender).balance()
    assert_no_call_hung(sender)
    if fault is reload_ingress:
        assert not sender.failed, "a reload is nothing that a sender notices"
    for service in stage.system.ingresses:
        for pid in children(service.command.pid) or {service.command.pid}:
            assert resident(pid) < _MOST_MEMORY


async def test_nothing_accepted_is_lost_when_everything_happens_at_once(stage: Stage) -> None:
    seed = random.randrange(10**6)
    print(f"\nseed {seed}")
    chosen = random.Random(seed)
    ours = [kill_ingress, kill_router, kill_worker, kill_all_workers]
    nodes = [kill_broker, flush_cache, kill_cache, freeze_cache, kill_broker]
    async with stage.sender() as sender:
        await sender.more(BETWEEN)
        for node in chosen.sample(nodes, len(nodes)):
            # An empty cache stays so without a router, and calls are what a killed one waits for.
            possible = [each for each in ours if (node, each) != (flush_cache, kill_router)]
            first, second = chosen.sample(possible, 2)
            print(f"{node.__name__}, {first.__name__}, {second.__name__}")
            await asyncio.gather(*(each(stage, sender) for each in (node, first, second)))
            await sender.more(BETWEEN)
    await Ledger(stage.system, sender).balance()
    assert_no_call_hung(sender)


def assert_no_call_hung(sender: Sender) -> None:
    """Hold every answer against the deadlines; the machine may be busy with other things."""
    assert sender.slowest < PUBLISH_DEADLINE + 5


def resident(pid: int) -> float:
    """Return the resident memory of a process in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024
