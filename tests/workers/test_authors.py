"""What the author of a flow may use, in a real worker."""

import os
from collections.abc import Callable
from pathlib import Path

from tests.support.waiting import eventually
from tests.workers.conftest import PREAMBLE, Stage, StartWorker, topology_of

from turnout.shared import outcome
from turnout.shared.amqp import properties_of

RESOURCES = """
from turnout.workers import Context, Reject, Retry, lifespan

@lifespan
async def numbers():
    effect("opened")
    yield [1, 2, 3]
    effect("closed")

"""


async def test_resources_are_open_from_before_the_first_run_until_after_the_last(
    stage: Stage, start_worker: StartWorker, effects: Callable[[], list[str]]
) -> None:
    await stage.declare(topology_of("demo/resources"))
    worker = start_worker(
        RESOURCES
        + """
@flow("demo/resources", version="v7", timeout=30)
async def sums(event: Event, context: Context):
    effect("runs")
    async with context.once("sum") as is_first:
        total = sum(context.resources[numbers])
    return {"sum": total, "is_first": is_first, "in_time": 0 < context.remaining <= 30}
"""
    )

    report = await stage.outcome(await stage.publish("demo/resources"))

    assert report.result == {"sum": 6, "is_first": True, "in_time": True}
    assert report.version == "v7"
    assert worker.stop() == 0
    assert effects() == ["opened", "runs", "closed"]


async def test_a_lifespan_that_cannot_be_opened_ends_the_worker_with_the_reason(
    start_worker: StartWorker,
) -> None:
    worker = start_worker(
        RESOURCES.replace("yield", "raise ConnectionError('refused'); yield")
        + """
@flow("demo/unopened")
async def unopened(event: Event): ...
"""
    )

    assert await worker.wait_end() == 1
    assert "lifespan numbers at" in worker.log
    assert "cannot be opened: ConnectionError: refused" in worker.log


async def test_a_flow_decides_that_it_is_tried_later_or_never(
    stage: Stage, start_worker: StartWorker
) -> None:
    await stage.declare(topology_of("demo/decides"))
    start_worker(
        RESOURCES
        + """
@flow("demo/decides", retries=5, backoff=3600)
def decides(event: Event, context: Context):
    if context.attempt == 1:
        raise Retry(after=0.5, reason="rate limited")
    raise Reject("no such lead")
"""
    )

    retrying, dead = await stage.outcomes(await stage.publish("demo/decides"), 2)
    letter = await stage.dead("demo/decides")

    assert (retrying.state, retrying.delay) == (outcome.RETRYING, 1)
    assert (retrying.error or "").endswith("Retry: after 0.5 s: rate limited")
    assert (dead.state, dead.attempt) == (outcome.DEAD, 2)
    assert (properties_of(letter).headers or {})["turnout-reason"] == "rejected by attempt 2"


async def test_a_flow_computes_in_a_process_and_a_crash_costs_one_attempt(
    stage: Stage, start_worker: StartWorker
) -> None:
    await stage.declare(topology_of("demo/computes"))
    worker = start_worker("""
@flow("demo/computes", executor="process", concurrency=1)
def computes(event: Event):
    if event.attempt == 1 and event.body == b"crash":
        os.abort()
    return os.getpid()
""")
    fine = await stage.outcome(await stage.publish("demo/computes", body=b""))
    crashed, again = await stage.outcomes(await stage.publish("demo/computes", body=b"crash"), 2)

    assert fine.result not in {worker.pid, os.getpid(), None}
    assert (crashed.state, again.state) == (outcome.RETRYING, outcome.SUCCEEDED)
    assert crashed.error == "its process ended in the middle of the run: SIGABRT"
    assert worker.stop() == 0


async def test_what_a_run_once_logs_is_in_its_outcome(
    stage: Stage, start_worker: StartWorker
) -> None:
    await stage.declare(topology_of("demo/logs"))
    start_worker(
        RESOURCES
        + """
import logging

@flow("demo/logs")
async def logs(event: Event, context: Context):
    context.logger.info("by the context", number=1)
    logging.getLogger(__name__).info("by %s", "logging")
    return context.is_test
"""
    )
    once = await stage.outcome(await stage.publish("demo/logs", kind="once"))
    other = await stage.outcome(await stage.publish("demo/logs"))

    first, second = once.logs
    assert "by the context" in first
    assert once.run_id in first
    assert "by logging" in second
    assert once.result is True
    assert (other.logs, other.result) == ((), False)


async def test_a_worker_starts_again_when_a_file_has_changed(
    stage: Stage, start_worker: StartWorker, tmp_path: Path
) -> None:
    await stage.declare(topology_of("demo/reload"))
    text = """
@flow("demo/reload")
async def reloaded(event: Event):
    return 1
"""
    worker = start_worker(text, "--reload")
    module = tmp_path / "flows_of_this_test.py"
    assert (await stage.outcome(await stage.publish("demo/reload"))).result == 1

    module.write_text("1 / 0")
    await worker.wait_log("ZeroDivisionError")
    await worker.wait_log("waiting until a file has changed")
    module.write_text(PREAMBLE + text.replace("return 1", "return 2"))
    await eventually(lambda: worker.log.count("flow is served") == 2, what="it serves again")

    assert (await stage.outcome(await stage.publish("demo/reload"))).result == 2
    assert worker.stop() == 0
