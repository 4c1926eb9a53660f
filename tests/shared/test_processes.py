"""A supervisor and its children, as real processes."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.process import ROOT, Command, children, runs
from tests.support.waiting import eventually

PROGRAM = str(ROOT / "tests/support/programs/supervisor.py")

#: Seconds that a child of these tests has to get ready, and to end.
PATIENCE = 30.0
SHORT = 0.5


class Supervisor(Command):
    """Two children that behave as they are told."""

    def __init__(self, directory: Path, *, patience: float, grace: float) -> None:
        super().__init__(
            [str(patience), str(grace)],
            environment={},
            directory=directory,
            program=(PROGRAM,),
        )
        self._behaviour = directory / "behaviour"
        self.children_behave("works")

    def children_behave(self, how: str) -> None:
        """Say how children behave that start from now on."""
        self._behaviour.write_text(how)

    @property
    def events(self) -> list[dict[str, Any]]:
        """What it has logged."""
        return [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]

    def told(self, event: str) -> list[dict[str, Any]]:
        """The lines of one event."""
        return [each for each in self.events if each["event"] == event]

    async def wait_told(self, event: str, count: int = 1) -> None:
        """Wait until it has logged an event so often."""
        await self.wait_until(lambda: len(self.told(event)) >= count, f"{count} times {event!r}")

    async def wait_full(self) -> set[int]:
        """Wait until both slots are filled, and return who is in them."""
        await self.wait_told("process is ready", 2)
        return children(self.pid)


Make = Callable[..., Supervisor]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Supervisor] = []

    def make(*, patience: float = PATIENCE, grace: float = PATIENCE) -> Supervisor:
        made.append(Supervisor(tmp_path, patience=patience, grace=grace))
        return made[-1]

    yield make
    for each in made:
        each.stop()


async def test_each_slot_has_a_child_until_sigterm_ends_all_in_order(make: Make) -> None:
    supervisor = make().start()
    pids = await supervisor.wait_full()
    assert {each["slot"] for each in supervisor.told("process is ready")} == {1, 2}
    assert len(pids) == 2

    assert supervisor.stop() == 0
    assert {each["pid"] for each in supervisor.told("process has stopped")} == pids
    assert not any(map(runs, pids))


async def test_the_last_slots_are_emptied_in_order_and_filled_again(make: Make) -> None:
    supervisor = make().start()
    await supervisor.wait_full()
    first, second = (
        next(each["pid"] for each in supervisor.told("process is ready") if each["slot"] == slot)
        for slot in (1, 2)
    )
    supervisor.signal(signal.SIGUSR1)
    await supervisor.wait_told("process has stopped")
    assert [each["pid"] for each in supervisor.told("process has stopped")] == [second]
    assert children(supervisor.pid) == {first}

    supervisor.signal(signal.SIGUSR2)
    await supervisor.wait_told("process is ready", 3)
    assert supervisor.told("process is ready")[2]["slot"] == 2
    assert children(supervisor.pid) > {first}


async def test_a_child_that_is_killed_is_followed_by_another_in_its_slot(make: Make) -> None:
    supervisor = make().start()
    pids = await supervisor.wait_full()
    first = supervisor.told("process is ready")[0]
    os.kill(first["pid"], signal.SIGKILL)

    await supervisor.wait_told("process is ready", 3)
    (ended,) = supervisor.told("process ended by itself")
    assert (ended["pid"], ended["how"]) == (first["pid"], "SIGKILL")
    next_one = supervisor.told("process is ready")[2]
    assert next_one["slot"] == first["slot"]
    assert children(supervisor.pid) == pids - {first["pid"]} | {next_one["pid"]}


async def test_a_child_that_crashes_at_first_is_started_until_it_does_not(make: Make) -> None:
    supervisor = make()
    supervisor.children_behave("crashes")
    supervisor.start()
    await supervisor.wait_told("process did not get ready", 2)
    assert {each["slot"] for each in supervisor.told("process did not get ready")} == {1}
    supervisor.children_behave("works")
    assert len(await supervisor.wait_full()) == 2


async def test_a_mistake_in_the_settings_is_told_once_and_ends_it(make: Make) -> None:
    supervisor = make()
    supervisor.children_behave("finds a mistake")
    assert await supervisor.start().wait_end() == 2
    assert supervisor.log.count("it is wrong") == 1


async def test_a_reload_replaces_one_slot_after_the_other_by_who_is_ready(make: Make) -> None:
    supervisor = make().start()
    old = await supervisor.wait_full()
    supervisor.signal(signal.SIGHUP)
    await supervisor.wait_told("reload is complete")

    (begin,) = [at for at, each in enumerate(supervisor.events) if each["event"] == "reload begins"]
    steps = [(each["event"], each["slot"]) for each in supervisor.events[begin + 1 : -1]]
    assert steps == [
        ("process is ready", 1),
        ("process has stopped", 1),
        ("process is ready", 2),
        ("process has stopped", 2),
    ]
    new = children(supervisor.pid)
    assert len(new) == 2
    assert not new & old


@pytest.mark.parametrize("mistake", ["is never ready", "crashes", "finds a mistake"])
async def test_who_does_not_get_ready_replaces_nobody(make: Make, mistake: str) -> None:
    supervisor = make(patience=2.0).start()
    old = await supervisor.wait_full()
    supervisor.children_behave(mistake)
    supervisor.signal(signal.SIGHUP)
    await supervisor.wait_log("reload is given up")
    assert children(supervisor.pid) == old

    supervisor.children_behave("works")
    supervisor.signal(signal.SIGHUP)
    await supervisor.wait_told("reload is complete")
    assert not children(supervisor.pid) & old


async def test_many_signals_in_a_reload_are_one_further_reload(make: Make) -> None:
    supervisor = make().start()
    await supervisor.wait_full()
    supervisor.children_behave("is never ready")
    supervisor.signal(signal.SIGHUP)
    # The reload goes on for as long as this one is not ready.
    await supervisor.wait_until(lambda: len(children(supervisor.pid)) == 3, "one is started")
    (waiting,) = children(supervisor.pid) - {
        each["pid"] for each in supervisor.told("process is ready")
    }
    for _ in range(5):
        supervisor.signal(signal.SIGHUP)
    supervisor.children_behave("works")
    os.kill(waiting, signal.SIGKILL)

    await supervisor.wait_told("reload is complete")
    assert supervisor.stop() == 0
    assert len(supervisor.told("reload begins")) == 2


async def test_who_ignores_sigterm_is_killed_when_the_grace_is_over(make: Make) -> None:
    supervisor = make(grace=SHORT)
    supervisor.children_behave("ignores SIGTERM")
    supervisor.start()
    pids = await supervisor.wait_full()
    assert supervisor.stop() == 0
    ends = supervisor.told("process did not stop in order")
    assert {(each["pid"], each["how"]) for each in ends} == {(pid, "SIGKILL") for pid in pids}


async def test_children_end_with_a_supervisor_that_is_killed(make: Make) -> None:
    supervisor = make().start()
    pids = await supervisor.wait_full()
    supervisor.signal(signal.SIGKILL)
    await eventually(lambda: not any(map(runs, pids)), what="the children have ended")


async def test_children_that_start_end_with_it_too(make: Make) -> None:
    supervisor = make(grace=SHORT)
    supervisor.children_behave("is never ready")
    supervisor.start()
    await supervisor.wait_until(lambda: bool(children(supervisor.pid)), "one is started")
    pids = children(supervisor.pid)
    assert supervisor.stop() == 0
    assert not any(map(runs, pids))
