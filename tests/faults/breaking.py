"""What is done to parts of a running system while calls come."""

import asyncio
import signal
from collections.abc import Awaitable, Callable

import redis
from tests.faults.conftest import Stage
from tests.support.brokers import memory_alarm
from tests.support.process import Command
from tests.support.sender import Sender
from tests.support.system import PATIENCE
from tests.support.waiting import eventually

Fault = Callable[[Stage, Sender], Awaitable[None]]

#: Calls that are accepted between two faults: some hundred milliseconds of them.
BETWEEN = 150

#: Seconds for which a node is frozen. The broker's silence is longer than the publish deadline,
#: and the cache's longer than any look-up waits.
_BROKER_SILENCE = 12.0
_CACHE_SILENCE = 5.0
_LONG_SILENCE = 30.0
_MINUTE = 60.0

#: RabbitMQ gives up a client that was silent for two to three heartbeats of 10 seconds.
_BEYOND_HEARTBEAT = 35.0


async def kill_ingress(stage: Stage, sender: Sender) -> None:
    for service in stage.system.ingresses:
        service.command.kill()
        await sender.more(BETWEEN)
        await service.start()


async def kill_router(stage: Stage, sender: Sender) -> None:
    stage.system.router.command.kill()
    await sender.more(BETWEEN)
    await stage.system.router.start()


async def kill_worker(stage: Stage, sender: Sender) -> None:
    for worker in stage.system.workers:
        worker.kill()
        await sender.more(BETWEEN)
        worker.start()


async def kill_all_workers(stage: Stage, sender: Sender) -> None:
    for worker in stage.system.workers:
        worker.kill()
    await sender.more(BETWEEN)
    for worker in stage.system.workers:
        worker.start()


async def freeze_worker(stage: Stage, _: Sender) -> None:
    """Let the broker give a worker up that goes on later, with what it held in its hands."""
    worker = stage.system.worker
    worker.pause()
    await asyncio.sleep(_BEYOND_HEARTBEAT)
    worker.resume()


async def restart_workers(stage: Stage, _: Sender) -> None:
    """Stop one after the other, and start each again before the next one's turn."""
    for worker in stage.system.workers:
        assert await asyncio.to_thread(worker.stop) == 0, worker.log
        before = worker.log.count("flow is served")
        worker.start()
        await serving(worker, before)


async def reset_network(stage: Stage, sender: Sender) -> None:
    """Break all connections of the workers to the broker, and let none pass for a moment."""
    stage.network.down()
    await sender.more(BETWEEN)
    await stage.network.up()


async def cut_network(stage: Stage, _: Sender) -> None:
    """Let nothing arrive, in either direction, while both ends believe in the connection."""
    stage.network.freeze()
    await asyncio.sleep(_BEYOND_HEARTBEAT)
    stage.network.thaw()


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


async def freeze_broker_for_a_minute(stage: Stage, _: Sender) -> None:
    """Beyond all heartbeats: connections are given up, and new ones too, before they are made."""
    stage.broker.pause()
    await asyncio.sleep(_MINUTE)
    stage.broker.resume()


async def alarm_broker(stage: Stage, sender: Sender) -> None:
    """Let the broker run out of memory: it stops reading from who publishes, workers too."""
    with memory_alarm(stage.broker):
        failed = sender.failed.total()
        await eventually(lambda: sender.failed.total() > failed + BETWEEN, PATIENCE, "refusals")


async def reload_ingress(stage: Stage, sender: Sender) -> None:
    command = stage.system.ingresses[-1].command  # that of several processes
    command.signal(signal.SIGHUP)
    await command.wait_log("reload is complete", PATIENCE)
    await sender.more(BETWEEN)


async def flush_cache(stage: Stage, sender: Sender) -> None:
    with redis.Redis.from_url(stage.system.redis_url) as cache:
        cache.flushdb()
    await sender.more(BETWEEN)


async def kill_cache(stage: Stage, sender: Sender) -> None:
    stage.cache.kill()
    await sender.more(BETWEEN)  # keys that are known go on
    stage.cache.start()
    await asyncio.to_thread(stage.cache.wait_ready)


async def freeze_cache(stage: Stage, sender: Sender) -> None:
    stage.cache.pause()
    before = len(sender.accepted)
    await asyncio.sleep(_CACHE_SILENCE)
    assert len(sender.accepted) > before, "keys that are known go on"
    stage.cache.resume()


async def serving(worker: Command, before: int = 0) -> None:
    """Wait until a worker, started again, has said more than `before` times that it serves."""
    await worker.wait_until(
        lambda: worker.log.count("flow is served") > before, "flows are served", PATIENCE
    )
