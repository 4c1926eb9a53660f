"""Workers lose nothing, and say what they may have done twice, whatever happens to them.

A sender goes on through each fault. At the end the ledger balances by what the flows entered and by
the history: accepted = succeeded + dead + cancelled + queued. An attempt that began twice had been
said to be redelivered, and the events of one key of an ordered flow began one after the other.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from tests.faults.breaking import (
    BETWEEN,
    Fault,
    cut_network,
    freeze_worker,
    kill_all_workers,
    kill_broker,
    kill_cache,
    kill_worker,
    reset_network,
    restart_workers,
    serving,
)
from tests.faults.conftest import Stage
from tests.support.flows import ledger as flows
from tests.support.sender import Ledger, Sender
from tests.support.system import PATIENCE
from tests.support.waiting import eventually

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

#: Runs that succeed between two faults.
_RUNS = 50

#: Calls in a second: a retry in place holds up all that is behind it in its partition.
_RATES = {"shop/ledger": 300, "shop/ordered": 40}

_FAULTS: list[tuple[Fault, int]] = [
    (kill_worker, 6),
    (kill_all_workers, 4),
    (kill_broker, 3),
    (reset_network, 4),
    (cut_network, 1),
    (freeze_worker, 1),
    (kill_cache, 3),
    (restart_workers, 4),
]


@pytest.fixture(scope="module")
def worker_url(network_url: str) -> str:
    return network_url


@pytest.mark.parametrize("flow", _RATES)
@pytest.mark.parametrize(
    ("fault", "times"), _FAULTS, ids=[f"{fault.__name__}-{times}" for fault, times in _FAULTS]
)
async def test_nothing_is_lost_and_nothing_repeated_in_silence(
    stage: Stage, flow: str, fault: Fault, times: int
) -> None:
    async with stage.sender(_RATES[flow], flow) as sender:
        books = Ledger(stage.system, sender)
        await books.more(_RUNS)
        for _ in range(times):
            await fault(stage, sender)
            await books.more(_RUNS)
    await books.balance()
    if flow == "shop/ordered":
        books.assert_order()
    if fault is restart_workers:
        assert books.began_again == 0, "a worker that stops in order repeats nothing"


async def test_retries_outlive_the_broker_in_their_buckets(stage: Stage) -> None:
    async with stage.sender(100, "shop/stumbling") as sender:
        books = Ledger(stage.system, sender)
        for _ in range(3):
            await books.more(_RUNS)
            await kill_broker(stage, sender)
        await books.more(_RUNS)
    await books.balance()


async def test_a_paused_flow_starts_nothing_while_its_workers_are_killed(stage: Stage) -> None:
    path = "flows/shop/ledger"
    workers = stage.system.workers

    def said(text: str) -> int:
        return sum(worker.log.count(text) for worker in workers)

    async with stage.sender() as sender:
        books = Ledger(stage.system, sender)
        await books.more(_RUNS)
        paused = said("flow is paused")
        await stage.system.admin("POST", f"{path}/pause", {"reason": "a test"}, status=200)
        await eventually(
            lambda: said("flow is paused") >= paused + len(workers), PATIENCE, "both have paused"
        )
        await eventually(books.are_told, PATIENCE, "what ran has been acknowledged")
        begun = len(books.attempts)
        for _ in range(2):
            served = [worker.log.count("flow is served") for worker in workers]
            await kill_worker(stage, sender)
            for worker, before in zip(workers, served, strict=True):
                await serving(worker, before)
            await sender.more(BETWEEN)
        books.read_runs()
        assert len(books.attempts) == begun
        waiting = sender.accepted.keys() - {event_id for event_id, _ in books.attempts}
        await stage.system.admin(
            "POST", f"{path}/cancellations", {"reason": "sent by mistake"}, status=201
        )
        await sender.more(BETWEEN)
        await kill_all_workers(stage, sender)
        await stage.system.admin("POST", f"{path}/resume", status=200)
        await books.more(_RUNS)
    await books.balance()
    assert waiting <= books.cancelled
    assert books.cancelled.isdisjoint(books.succeeded)


async def test_an_event_that_ends_its_worker_each_time_is_dead_and_takes_no_other_with_it(
    stage: Stage,
) -> None:
    async with stage.sender(50, "shop/crashing") as sender:
        books = Ledger(stage.system, sender)
        async with kept_alive(stage):
            poison = await eventually(lambda: poison_of(sender), PATIENCE, "it is accepted")
            await eventually(lambda: reason_of(stage, poison), 4 * PATIENCE, "it is dead")
            await books.more(_RUNS)
    await books.balance()
    assert "delivery limit" in await reason_of(stage, poison)


@contextlib.asynccontextmanager
async def kept_alive(stage: Stage) -> AsyncIterator[None]:
    """Start a worker that has died again, as an init system does."""

    async def keep() -> None:
        while True:
            for worker in stage.system.workers:
                if not worker.is_running:
                    worker.start()
            await asyncio.sleep(0.1)

    keeping = asyncio.create_task(keep())
    try:
        yield
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


def poison_of(sender: Sender) -> str | None:
    """Return the event that ends its worker, once it is accepted."""
    sign = f'"number": {flows.CRASHES}}}'
    return next((each for each, body in sender.accepted.items() if body.endswith(sign)), None)


async def reason_of(stage: Stage, event_id: str) -> str:
    """Return why an event is a dead letter; nothing if it is none."""
    found = await stage.system.admin("GET", "dead?flow=shop/crashing&limit=1000", status=200)
    return next((each["reason"] for each in found["items"] if each["event_id"] == event_id), "")
