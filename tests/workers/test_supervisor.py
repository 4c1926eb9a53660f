"""Several worker processes under one supervisor."""

import os
import signal
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from tests.support.waiting import eventually
from tests.workers.conftest import Stage, StartWorker, topology_of

from turnout.shared import backlog, cache
from turnout.shared.announcement import Announcement
from turnout.shared.backlog import Backlog

FLOWS = """
@flow("demo/where")
async def where(event: Event) -> None:
    effect(os.getpid())

@flow("demo/other")
async def other(event: Event) -> None: ...
"""


@pytest.fixture
async def board(redis_url: str) -> AsyncIterator[Redis]:
    client = cache.connect(redis_url, timeout=5.0)
    await client.flushdb()
    yield client
    await client.aclose()


async def announced(board: Redis, count: int) -> list[Announcement]:
    async def there() -> list[Announcement] | None:
        found = await Announcement.read_all(board)
        return found if len(found) == count else None

    found: list[Announcement] = await eventually(there, what=f"{count} workers are announced")
    return found


async def test_processes_share_the_chosen_flows_and_withdraw_when_they_stop(
    stage: Stage, start_worker: StartWorker, board: Redis
) -> None:
    await stage.declare(topology_of("demo/where", "demo/other"))
    worker = start_worker(FLOWS, "--processes", "2", "--flows", "demo/*,-demo/other")
    found = await announced(board, 2)
    assert {each.flows for each in found} == {("demo/where",)}
    assert {each.supervisor for each in found} == {worker.pid}
    assert len({each.pid for each in found}) == 2
    await stage.outcome(await stage.publish("demo/where"))
    worker.stop()
    assert await Announcement.read_all(board) == []


async def test_there_is_a_process_for_each_core(
    stage: Stage, start_worker: StartWorker, board: Redis
) -> None:
    start_worker(FLOWS, "--processes", "auto")
    await announced(board, len(os.sched_getaffinity(0)))


async def test_processes_are_added_when_runs_wait(
    stage: Stage, start_worker: StartWorker, board: Redis
) -> None:
    start_worker(FLOWS, "--autoscale", "1..2")
    await announced(board, 1)
    await backlog.write(board, {"demo/where": Backlog(queued=500, running=1, wait=30.0)})
    await announced(board, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--processes", "0"], "'0' is neither a number nor auto"),
        (["--processes", "many"], "'many' is neither a number nor auto"),
        (["--autoscale", "8"], "'8' is not a range like 1..8"),
        (["--autoscale", "8..1"], "'8..1' is not a range like 1..8"),
        (["--autoscale", "0..8"], "'0..8' is not a range like 1..8"),
        (["--processes", "2", "--autoscale", "1..8"], "give --processes or --autoscale"),
        (["--processes", "2", "--reload"], "it is for one process"),
    ],
)
async def test_what_cannot_be_a_number_of_processes_is_refused(
    start_worker: StartWorker, options: list[str], message: str
) -> None:
    worker = start_worker(FLOWS, *options)
    assert await worker.wait_end() == 2
    assert message in worker.log


async def test_a_pattern_that_fits_no_flow_ends_all_with_exit_code_2(
    start_worker: StartWorker,
) -> None:
    worker = start_worker(FLOWS, "--processes", "2", "--flows", "crm/*")
    assert await worker.wait_end() == 2
    assert worker.log.count("'crm/*' fits none") == 1


async def test_a_reload_replaces_the_processes(
    stage: Stage, start_worker: StartWorker, board: Redis
) -> None:
    worker = start_worker(FLOWS, "--processes", "2")
    before = {each.pid for each in await announced(board, 2)}
    worker.signal(signal.SIGHUP)

    async def replaced() -> bool:
        now = {each.pid for each in await Announcement.read_all(board)}
        return len(now) == 2 and not now & before

    await eventually(replaced, what="other processes are there")
