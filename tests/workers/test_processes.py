"""Flows with executor="process", in real processes."""

import asyncio
import os
from collections.abc import AsyncIterator

import pytest
from tests.support.process import ROOT, runs
from tests.support.waiting import eventually
from tests.workers import computing
from tests.workers.making import context

from turnout.workers.attempt import Failure, Success
from turnout.workers.flow import Flow, declared
from turnout.workers.processes import Processes


def flow_of(**changed: object) -> Flow:
    found = declared(computing.computes)
    assert found is not None
    return found._replace(**changed)


@pytest.fixture(autouse=True)
def path(monkeypatch: pytest.MonkeyPatch) -> None:
    roots = [str(ROOT / part) for part in ("ingress", "router", "workers", "shared")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(roots))


@pytest.fixture
async def processes() -> AsyncIterator[Processes]:
    made = Processes(flow_of(), 2)
    yield made
    await made.close()


async def run(processes: Processes, text: str, **fields: object) -> Success | Failure:
    return await processes.run(context(body=text.encode(), content_type="text/plain", **fields))


async def test_a_process_computes_and_is_kept_for_the_next_run(processes: Processes) -> None:
    first = await run(processes, "", attempt=2)
    second = await run(processes, "")

    assert isinstance(first, Success)
    assert isinstance(second, Success)
    assert first.result["pid"] == second.result["pid"] != os.getpid()
    assert first.result["attempt"] == 2
    assert 0 < first.result["remaining"] <= 20


async def test_what_a_flow_raises_comes_back_whatever_it_is(processes: Processes) -> None:
    rejected = await run(processes, "reject")
    stopped = await run(processes, "stop")

    assert isinstance(rejected, Failure)
    assert rejected.is_final
    assert rejected.error.endswith("Reject: no such number")
    assert "computing.py" in rejected.traceback
    assert isinstance(stopped, Failure)
    assert stopped.error == "StopIteration"


async def test_a_result_that_cannot_be_sent_does_not_spoil_the_run(processes: Processes) -> None:
    end = await run(processes, "object")

    assert isinstance(end, Success)
    assert end.result.startswith("<function com")


async def test_what_a_test_logs_in_its_process_is_collected(processes: Processes) -> None:
    end = await run(processes, "log", kind="once")

    assert isinstance(end, Success)
    (line,) = end.logs
    assert "it computes" in line


@pytest.mark.parametrize(("how", "told"), [("crash", "SIGABRT"), ("exit", "exit code 3")])
async def test_a_crash_fails_its_own_attempt_and_no_other(
    processes: Processes, how: str, told: str
) -> None:
    crashed, other = await asyncio.gather(run(processes, how), run(processes, ""))

    assert crashed == Failure(f"its process ended in the middle of the run: {told}")
    assert isinstance(other, Success)
    assert isinstance(await run(processes, ""), Success)


async def test_at_the_timeout_the_process_is_killed() -> None:
    processes = Processes(flow_of(), 1)
    pid = (await run(processes, "")).result["pid"]  # type: ignore[union-attr]
    processes._flow = flow_of(timeout=0.1)

    end = await run(processes, "for ever")

    assert end == Failure("TimeoutError: not done within 0.1 s; its process was killed")
    assert not runs(pid)
    assert isinstance(await run(processes, ""), Success)
    await processes.close()


async def test_a_run_that_is_given_up_takes_its_process_with_it(processes: Processes) -> None:
    first = await run(processes, "")
    assert isinstance(first, Success)
    task = asyncio.create_task(run(processes, "for ever"))
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    await eventually(lambda: not runs(first.result["pid"]), what="the process has ended")


async def test_a_flow_that_its_process_cannot_import_is_a_failure() -> None:
    def elsewhere() -> None: ...

    elsewhere.__module__ = "nowhere.to.be.found"
    processes = Processes(flow_of(function=elsewhere), 1)

    end = await run(processes, "")

    assert isinstance(end, Failure)
    assert "a process for demo/computes did not get ready: exit code 1" in end.error
