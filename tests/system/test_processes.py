"""Several ingress processes behind one port: replaced, killed, and left alone."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from tests.support.process import children, runs
from tests.support.system import PATIENCE, Key, System, Trigger
from tests.support.waiting import eventually

#: Callers who keep their connection, and callers who take a new one for each call.
CALLERS = 4


@pytest.fixture(scope="module")
def system(bare_system: System) -> System:
    """A running system with one ingress of two processes; a call finds its queue, and stays."""
    bare_system.add_ingress("--processes", "2")
    asyncio.run(bare_system.start())
    asyncio.run(bare_system.make_group("shop"))
    asyncio.run(bare_system.make_flow("shop/seen"))
    return bare_system


async def full(system: System) -> set[int]:
    """Wait until two processes take calls, and return them."""
    command = system.ingress.command

    def taking() -> bool:
        ready = [line for line in command.log.splitlines() if '"process is ready"' in line]
        pids = children(command.pid)
        return len(pids) == 2 and all(
            any(f'"pid": {pid},' in line for line in ready) for pid in pids
        )

    await command.wait_until(taking, "two processes take calls", PATIENCE)
    return children(command.pid)


class Load:
    """Calls without a pause, on kept connections and on new ones.

    Attributes:
        answers: how often there was which status; "refused" where there was no connection, and
            "broken" where one ended without an answer.
    """

    def __init__(self, url: str, key: Key) -> None:
        self.answers: Counter[int | str] = Counter()
        self._url = url
        self._key = key
        self._stopping = False

    async def more(self, count: int) -> None:
        """Wait for so many further answers."""
        wanted = self.answers.total() + count
        await eventually(lambda: self.answers.total() >= wanted, PATIENCE, f"{count} more answers")

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Load"]:
        """Call for the length of a context."""
        async with asyncio.TaskGroup() as group:
            for fresh in (False, True):
                for _ in range(CALLERS):
                    group.create_task(self._call(fresh))
            try:
                yield self
            finally:
                self._stopping = True

    async def _call(self, fresh: bool) -> None:
        connector = aiohttp.TCPConnector(force_close=fresh)
        async with aiohttp.ClientSession(connector=connector, headers=self._key.header) as session:
            while not self._stopping:
                try:
                    async with session.post(self._url, data=b"x") as response:
                        await response.read()
                        self.answers[response.status] += 1
                except aiohttp.ClientConnectorError:
                    self.answers["refused"] += 1
                except aiohttp.ClientError:
                    self.answers["broken"] += 1


@pytest.fixture
def load(system: System, key: Key, trigger: Trigger) -> Load:
    return Load(system.ingress.url + trigger.path, key)


async def test_no_call_fails_while_all_processes_are_replaced(system: System, load: Load) -> None:
    command = system.ingress.command
    old = await full(system)
    async with load.running():
        await load.more(100)
        command.signal(signal.SIGHUP)
        await command.wait_log("reload is complete", PATIENCE)
        await load.more(100)
    assert set(load.answers) == {202}, load.answers
    assert not await full(system) & old
    assert not any(map(runs, old))


async def test_calls_go_on_when_a_process_is_killed(system: System, load: Load) -> None:
    old = await full(system)
    async with load.running():
        await load.more(100)
        victim = min(old)
        os.kill(victim, signal.SIGKILL)
        await eventually(lambda: not runs(victim), what="it is dead")
        new = await full(system)
        before = Counter(load.answers)
        await load.more(200)
    assert new & old == old - {victim}
    # At most the one call of each caller that was in flight.
    assert set(load.answers) <= {202, "broken"}, load.answers
    assert load.answers["broken"] <= 2 * CALLERS
    assert (load.answers - before).keys() == {202}


async def test_processes_end_with_their_supervisor_and_leave_the_port(
    system: System, key: Key, trigger: Trigger
) -> None:
    old = await full(system)
    system.ingress.command.signal(signal.SIGKILL)
    await eventually(lambda: not any(map(runs, old)), PATIENCE, "they have ended")
    await system.ingress.start()
    assert (await system.call(trigger.path, key, data=b"x")).status == 202
