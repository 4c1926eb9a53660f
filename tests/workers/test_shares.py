"""The limit of a flow over all workers: shares of it, whoever comes, dies or loses the cache."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from typing import cast

import pytest
from redis.asyncio import Redis
from tests.support.waiting import eventually
from tests.workers.conftest import Stage, StartWorker, topology_of

from turnout.shared import cache, names
from turnout.shared.notices import FlowRecord
from turnout.workers import shares
from turnout.workers.notices import Notices
from turnout.workers.processor import Processor
from turnout.workers.shares import Shares

ADDRESS = "demo/limited"


class Flow:
    address = ADDRESS


class Process:
    """A worker process as its shares see it."""

    def __init__(self, most: int) -> None:
        self.flow = Flow()
        self.most = most
        self.share: int | None = None
        self.running = 0
        self.consumers = {"one"}

    @property
    def held(self) -> int:
        return max(self.share or 0, self.running)

    def allow(self, share: int | None) -> None:
        self.share = share


class Limit:
    """What the notice board says."""

    def __init__(self, limit: int | None) -> None:
        self.value = limit
        self.looked = asyncio.Event()
        self.looked.set()

    def limit(self, flow: str) -> int | None:
        assert flow == ADDRESS
        return self.value


class Workers:
    """Processes that share a limit."""

    def __init__(self, redis_url: str, limit: int | None) -> None:
        self.limit = Limit(limit)
        self.processes: list[Process] = []
        self._redis_url = redis_url
        self._tasks: list[asyncio.Task[None]] = []
        self._stack = AsyncExitStack()

    def start(self, most: int = 100, redis_url: str | None = None) -> Process:
        process = Process(most)
        client = cache.connect(redis_url or self._redis_url)
        self._stack.push_async_callback(client.aclose)
        kept = Shares(
            client,
            f"wrk_{len(self.processes)}",
            cast("Notices", self.limit),
            [cast("Processor", process)],
        )
        self.processes.append(process)
        self._tasks.append(asyncio.create_task(kept.keep()))
        return process

    async def stop(self, process: Process) -> None:
        """End it in order."""
        task = self._tasks[self.processes.index(process)]
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    async def shared(self, *wanted: int | None) -> None:
        """Wait until the processes have these shares, and see that they never have too much."""

        def so() -> bool:
            assert sum(each.held for each in self.processes) <= 10
            return [each.share for each in self.processes] == list(wanted)

        await eventually(so, what=f"the shares are {wanted}")

    async def close(self) -> None:
        for each in self.processes:
            await self.stop(each)
        await self._stack.aclose()


@pytest.fixture
async def workers(
    redis_url: str, board: Redis, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Workers]:
    monkeypatch.setattr(shares, "INTERVAL", 0.01)
    monkeypatch.setattr(shares, "LIFETIME", 0.4)
    monkeypatch.setattr(shares, "_SETTLING", 0.1)
    workers = Workers(redis_url, 10)
    yield workers
    await workers.close()


async def test_a_limit_is_divided_evenly_and_what_one_cannot_use_is_the_others(
    workers: Workers,
) -> None:
    workers.start()
    await workers.shared(10)
    workers.start()
    await workers.shared(5, 5)
    workers.start(most=1)
    await workers.shared(5, 4, 1)


async def test_who_joins_others_or_takes_the_place_of_one_does_not_wait(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = workers.start()
    await workers.shared(10)
    monkeypatch.setattr(shares, "_SETTLING", 60.0)
    second = workers.start()
    await workers.shared(5, 5)
    for each in (first, second):
        await workers.stop(each)
        each.share = None
    workers.start()
    await workers.shared(None, None, 10)


async def test_a_process_gives_up_only_what_does_not_run(workers: Workers) -> None:
    first = workers.start()
    await workers.shared(10)
    first.running = 8
    second = workers.start()
    await workers.shared(5, 2)
    first.running = 3
    await workers.shared(5, 5)
    second.running = 5
    workers.limit.value = 4  # while 8 run
    await workers.shared(0, 1)
    second.running = 1
    await workers.shared(2, 1)
    first.running = 1
    await workers.shared(2, 2)


async def test_of_a_limit_of_one_the_oldest_has_it_and_the_next_when_that_stops(
    workers: Workers,
) -> None:
    workers.limit.value = 1
    first = workers.start()
    await workers.shared(1)
    workers.start()
    workers.start()
    await workers.shared(1, 0, 0)
    await workers.stop(first)
    workers.processes[0].share = None
    await workers.shared(None, 1, 0)


async def test_what_a_dead_process_held_ends_by_itself(workers: Workers, board: Redis) -> None:
    await board.hset(names.shares(ADDRESS), "wrk_dead", "10 100 99999999999999")
    workers.start()
    await workers.shared(0)
    await board.hset(names.shares(ADDRESS), "wrk_dead", "10 100 1")
    await workers.shared(10)


async def test_after_a_flush_nobody_grows_before_all_have_told_what_they_hold(
    workers: Workers, board: Redis
) -> None:
    workers.start()
    workers.start()
    await workers.shared(5, 5)
    for _ in range(5):
        await board.flushdb()
        for _ in range(20):
            await asyncio.sleep(0.005)
            await workers.shared(5, 5)


async def test_after_a_long_outage_nobody_grows_before_all_have_told_what_they_hold(
    workers: Workers, board: Redis
) -> None:
    workers.start()
    workers.start()
    await workers.shared(5, 5)
    name = names.shares(ADDRESS)
    for _ in range(5):
        await board.hset(name, mapping={f"wrk_{number}": "5 100 1" for number in range(2)})
        for _ in range(10):
            await asyncio.sleep(0.005)
            await workers.shared(5, 5)


async def test_without_the_cache_each_goes_on_with_what_it_holds(
    workers: Workers, unused_tcp_port: int
) -> None:
    process = workers.start()
    await workers.shared(10)
    lost = workers.start(redis_url=f"redis://127.0.0.1:{unused_tcp_port}/0")
    lost.share = 3
    await asyncio.sleep(0.1)
    assert (process.share, lost.share) == (10, 3)


async def test_a_limit_that_is_taken_away_leaves_nothing_behind(
    workers: Workers, board: Redis
) -> None:
    workers.start()
    await workers.shared(10)
    workers.limit.value = None
    await workers.shared(None)

    async def is_gone() -> bool:
        return not await board.exists(names.shares(ADDRESS))

    await eventually(is_gone, what="its entry has ended")


FLOW = """
@flow("demo/limited")
async def limited(event: Event):
    effect(f"begin {os.getpid()}")
    await asyncio.sleep(0.02)
    effect(f"end {os.getpid()}")
"""


async def test_workers_never_run_more_than_the_limit_even_when_one_is_killed(
    stage: Stage,
    start_worker: StartWorker,
    effects: Callable[[], list[str]],
    board: Redis,
) -> None:
    await stage.declare(topology_of(ADDRESS))
    await board.hset(names.FLOWS, ADDRESS, FlowRecord(max_running=3).encode())
    sent = [await stage.publish(ADDRESS) for _ in range(300)]
    first, *_ = [start_worker(FLOW, name=f"worker{number}") for number in range(3)]
    await eventually(
        lambda: len({each.split()[1] for each in effects()}) == 3, what="all take part"
    )

    pid = first.pid
    first.kill()

    for each in sent:
        await stage.outcome(each)
    running: dict[str, int] = {}
    for kind, worker in (each.split() for each in effects()):
        running[worker] = running.get(worker, 0) + (1 if kind == "begin" else -1)
        assert sum(running.values()) <= 3
        assert running[worker] <= 1
    assert [running.pop(str(pid)) in (0, 1), *running.values()] == [True, 0, 0]
