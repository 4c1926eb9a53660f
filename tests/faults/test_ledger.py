"""Accepted = succeeded + dead + parked, whatever is killed, stopped, flushed or frozen meanwhile.

A sender with a few hundred calls a second goes on through each fault, and sends again what was not
accepted. At the end every event that was answered 202 has run or is kept where an operator sees it,
it is in the archive, and nothing is there that was not sent. What is there twice is counted.
"""

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import redis
from tests.faults.conftest import PUBLISH_DEADLINE, Stage
from tests.support.brokers import memory_alarm
from tests.support.process import children
from tests.support.sender import Ledger, Sender
from tests.support.system import PATIENCE
from tests.support.waiting import eventually

pytestmark = pytest.mark.faults

Fault = Callable[[Stage, Sender], Awaitable[None]]

#: Calls that are accepted between two faults: some hundred milliseconds of them.
_BETWEEN = 150

#: Seconds for which a node is frozen. The broker's silence is longer than the publish deadline,
#: and the cache's longer than any look-up waits.
_BROKER_SILENCE = 12.0
_CACHE_SILENCE = 5.0
_LONG_SILENCE = 30.0

#: More calls a second than anybody can send here: the next one follows the answer.
_FULL_SPEED = 100_000

#: MiB that one ingress process may have at the end; it starts with about 60.
_MOST_MEMORY = 200


async def kill_ingress(stage: Stage, sender: Sender) -> None:
    for service in stage.system.ingresses:
        service.command.kill()
        await sender.more(_BETWEEN)
        await service.start()


async def kill_router(stage: Stage, sender: Sender) -> None:
    stage.system.router.command.kill()
    await sender.more(_BETWEEN)
    await stage.system.router.start()


async def kill_worker(stage: Stage, sender: Sender) -> None:
    for worker in stage.system.workers:
        worker.kill()
        await sender.more(_BETWEEN)
        worker.start()


async def kill_all_workers(stage: Stage, sender: Sender) -> None:
    for worker in stage.system.workers:
        worker.kill()
    await sender.more(_BETWEEN)
    for worker in stage.system.workers:
        worker.start()


async def stop_broker(stage: Stage, _: Sender) -> None:
    await asyncio.to_thread(stage.broker.stop)
    stage.broker.start()
    await asyncio.to_thread(stage.broker.wait_ready)


async def kill_broker(stage: Stage, _: Sender) -> None:
    stage.broker.kill()
    stage.broker.start()
    await asyncio.to_thread(stage.broker.wait_ready)


async def freeze_broker(stage: Stage, _: Sender) -> None:
    stage.broker.pause()
    await asyncio.sleep(_BROKER_SILENCE)
    stage.broker.resume()


async def freeze_broker_for_long(stage: Stage, _: Sender) -> None:
    stage.broker.pause()
    await asyncio.sleep(_LONG_SILENCE)
    stage.broker.resume()


async def alarm_broker(stage: Stage, sender: Sender) -> None:
    """Let the broker run out of memory: it stops reading from who publishes, workers too."""
    with memory_alarm(stage.broker):
        failed = sender.failed.total()
        await eventually(lambda: sender.failed.total() > failed + _BETWEEN, PATIENCE, "refusals")


async def reload_ingress(stage: Stage, sender: Sender) -> None:
    command = stage.system.ingresses[-1].command  # that of several processes
    command.signal(signal.SIGHUP)
    await command.wait_log("reload is complete", PATIENCE)
    await sender.more(_BETWEEN)


async def flush_cache(stage: Stage, sender: Sender) -> None:
    with redis.Redis.from_url(stage.redis_url) as cache:
        cache.flushdb()
    await sender.more(_BETWEEN)


async def kill_cache(stage: Stage, sender: Sender) -> None:
    stage.cache.kill()
    await sender.more(_BETWEEN)  # keys that are known go on
    stage.cache.start()
    await asyncio.to_thread(stage.cache.wait_ready)


async def freeze_cache(stage: Stage, sender: Sender) -> None:
    stage.cache.pause()
    before = len(sender.accepted)
    await asyncio.sleep(_CACHE_SILENCE)
    assert len(sender.accepted) > before, "keys that are known go on"
    stage.cache.resume()


@pytest.mark.parametrize(
    ("fault", "times"),
    [
        (kill_ingress, 4),
        (kill_router, 4),
        (kill_worker, 4),
        (kill_all_workers, 4),
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
        await sender.more(_BETWEEN)
        for _ in range(times):
            await fault(stage, sender)
            await sender.more(_BETWEEN)
    await Ledger(stage.system, sender).balance()
    assert_no_call_hung(sender)


@pytest.mark.parametrize(
    "fault",
    [
        kill_broker,
        freeze_broker_for_long,
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
        await sender.more(_BETWEEN)
        await fault(stage, sender)
        await sender.more(_BETWEEN)
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
        await sender.more(_BETWEEN)
        for node in chosen.sample(nodes, len(nodes)):
            first, second = chosen.sample(ours, 2)
            print(f"{node.__name__}, {first.__name__}, {second.__name__}")
            await asyncio.gather(*(each(stage, sender) for each in (node, first, second)))
            await sender.more(_BETWEEN)
    await Ledger(stage.system, sender).balance()
    assert_no_call_hung(sender)


def assert_no_call_hung(sender: Sender) -> None:
    """Hold every answer against the deadlines; the machine may be busy with other things."""
    assert sender.slowest < PUBLISH_DEADLINE + 5


def resident(pid: int) -> float:
    """Return the resident memory of a process in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024
