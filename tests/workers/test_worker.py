"""The worker as a process: what becomes of a trigger, whatever happens to it."""

import re
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgpack
import pytest
from redis.asyncio import Redis
from tests.support.waiting import eventually
from tests.workers.conftest import Stage, StartWorker, topology_of

from turnout.shared import outcome
from turnout.shared.amqp import properties_of
from turnout.shared.announcement import Announcement, Served
from turnout.shared.envelope import TYPE, Envelope
from turnout.workers.execution import UNREADABLE

Effects = Callable[[], list[str]]


def patient(address: str) -> str:
    """Write a flow that notes how it was called, and ends when it is released."""
    name = address.partition("/")[2].replace("-", "_")
    return f"""
@flow("{address}")
async def {name}(event: Event):
    effect(f"started redelivered={{event.redelivered}}")
    while not released():
        await asyncio.sleep(0.01)
    effect("finished")
"""


async def started(effects: Effects, count: int = 1) -> None:
    def runs() -> bool:
        return sum(line.startswith("started") for line in effects()) >= count

    await eventually(runs, what=f"{count} runs have started")


@pytest.mark.parametrize("kind", ["async def", "def"])
async def test_a_run_that_succeeds_is_reported_and_acknowledged(
    stage: Stage, start_worker: StartWorker, kind: str
) -> None:
    address = f"demo/success-{kind[:3]}"
    await stage.declare(topology_of(address))
    worker = start_worker(
        f"""
@flow("{address}")
{kind} success(event: Event):
    return {{"read": event.json(), "attempt": event.attempt, "redelivered": event.redelivered}}
""",
        TURNOUT_LOG_LEVEL="debug",
    )
    envelope = await stage.publish(address, body=b'{"name": "Ada"}')

    report = await stage.outcome(envelope)

    assert report.state == outcome.SUCCEEDED
    assert report.result == {"read": {"name": "Ada"}, "attempt": 1, "redelivered": False}
    assert (report.run_id, report.attempt, f"{report.group}/{report.flow}") == (
        *(envelope.run_id, 1),
        address,
    )
    assert envelope.received_at < report.started_at <= report.ended_at < time.time_ns()
    assert report.worker_id.startswith("wrk_")
    assert worker.stop() == 0
    assert await stage.ready(address) == 0
    assert "run succeeded" in worker.log
    assert envelope.event_id in worker.log


async def test_a_run_that_fails_comes_back_through_a_delay_and_then_is_dead(
    stage: Stage, start_worker: StartWorker, effects: Effects
) -> None:
    address = "demo/failure"
    await stage.declare(topology_of(address))
    worker = start_worker("""
@flow("demo/failure", retries=1)
async def failure(event: Event):
    effect(event.attempt)
    raise ValueError("it is wrong\\nin two lines")
""")
    sent = await stage.publish(address, body=b"\x00\xff")

    retrying, dead = await stage.outcomes(sent, 2)
    letter = await stage.dead(address)

    assert (retrying.state, retrying.attempt, retrying.delay) == (outcome.RETRYING, 1, 1)
    assert (dead.state, dead.attempt, dead.delay) == (outcome.DEAD, 2, None)
    assert retrying.error == dead.error == "ValueError: it is wrong in two lines"
    assert 'raise ValueError("it is wrong' in (dead.traceback or "")
    assert dead.started_at - retrying.ended_at > 0.9e9
    assert effects() == ["1", "2"]
    assert Envelope.decode(letter.body) == sent._replace(attempt=2)
    properties = properties_of(letter)
    assert properties.message_type == TYPE
    headers = dict(properties.headers or {})
    assert re.fullmatch(
        r".*/flows_of_this_test\.py:\d+ in failure", str(headers.pop("turnout-place"))
    )
    assert headers == {
        "turnout-reason": "attempt 2 of 2 failed",
        "turnout-error": "ValueError: it is wrong in two lines",
    }
    assert worker.stop() == 0
    assert await stage.ready(address) == 0


async def test_a_run_that_ends_its_process_like_a_script_is_a_failure(
    stage: Stage, start_worker: StartWorker
) -> None:
    await stage.declare(topology_of("demo/exit"))
    worker = start_worker("""
@flow("demo/exit", retries=0)
async def exits(event: Event):
    raise SystemExit(7)
""")

    report = await stage.outcome(await stage.publish("demo/exit"))

    assert (report.state, report.error) == (outcome.DEAD, "SystemExit: 7")
    assert worker.is_running


@pytest.mark.parametrize(
    "body", [b"", b"\x00\xff no msgpack", msgpack.packb([1]), msgpack.packb({"v": 99, "x": "y"})]
)
async def test_what_is_no_envelope_is_dead_lettered_with_its_bytes(
    stage: Stage, start_worker: StartWorker, body: bytes
) -> None:
    address = f"demo/unreadable-{len(body)}"
    await stage.declare(topology_of(address))
    worker = start_worker(patient(address))
    await stage.publish_bytes(address, body)

    letter = await stage.dead(address)

    assert letter.body == body
    properties = properties_of(letter)
    assert properties.message_type == UNREADABLE
    assert properties.headers is not None
    assert properties.headers["turnout-reason"] == "no envelope"
    assert properties.headers["turnout-error"]
    assert worker.stop() == 0
    assert await stage.ready(address) == 0


async def test_a_message_on_which_the_worker_itself_fails_ends_at_the_delivery_limit(
    stage: Stage, start_worker: StartWorker
) -> None:
    await stage.declare(topology_of("demo/odd"))
    worker = start_worker("""
@flow("demo/odd")
async def odd(event: Event):
    raise ValueError
""")
    sent = await stage.publish("demo/odd", run_id="run_\udcff")  # no outcome can carry it

    letter = await stage.dead("demo/odd")

    assert Envelope.decode(letter.body) == sent
    assert "processing failed" in worker.log
    assert worker.stop() == 0
    assert await stage.ready("demo/odd") == 0


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("object", "<class 'object'>"),
        ("{1: (2, 3)}", {"1": [2, 3]}),
        ("float('nan')", "nan"),
        ("2 ** 70", str(2**70)),
        ("'\\udcff'", "'\\udcff'"),
        ("'x' * 10**6", "'xxxxxxxxxxxx...xxxxxxxxxxxxx'"),
    ],
)
async def test_a_result_that_cannot_be_kept_does_not_spoil_the_run(
    stage: Stage, start_worker: StartWorker, expression: str, result: Any
) -> None:
    await stage.declare(topology_of("demo/result"))
    start_worker(f"""
@flow("demo/result")
def returns(event: Event):
    return {expression}
""")

    report = await stage.outcome(await stage.publish("demo/result"))

    assert (report.state, report.result) == (outcome.SUCCEEDED, result)


async def test_a_run_whose_worker_is_killed_runs_again_as_redelivered(
    stage: Stage, start_worker: StartWorker, effects: Effects, release: Callable[[], None]
) -> None:
    await stage.declare(topology_of("demo/killed"))
    worker = start_worker(patient("demo/killed"))
    envelope = await stage.publish("demo/killed")
    await started(effects)

    worker.kill()
    worker.start()
    await started(effects, 2)
    release()
    report = await stage.outcome(envelope)

    assert effects() == ["started redelivered=False", "started redelivered=True", "finished"]
    assert (report.state, report.redelivered, report.attempt) == (outcome.SUCCEEDED, True, 1)
    assert worker.stop() == 0
    assert await stage.ready("demo/killed") == 0


async def test_sigterm_lets_runs_finish_and_starts_no_other(
    stage: Stage, start_worker: StartWorker, effects: Effects, release: Callable[[], None]
) -> None:
    await stage.declare(topology_of("demo/drained"))
    worker = start_worker(patient("demo/drained"))
    envelope = await stage.publish("demo/drained")
    await started(effects)

    worker.signal(signal.SIGTERM)
    await worker.wait_log("worker waits for its runs")
    await stage.publish("demo/drained")
    release()

    assert await worker.wait_end() == 0
    assert effects() == ["started redelivered=False", "finished"]
    assert (await stage.outcome(envelope)).state == outcome.SUCCEEDED
    assert await stage.ready("demo/drained") == 1


STUCK = """
@flow({declared})
def stuck(event: Event):
    effect("started")
    time.sleep(3600)
"""


async def test_after_the_grace_time_unfinished_runs_go_back(
    stage: Stage, start_worker: StartWorker, effects: Effects
) -> None:
    await stage.declare(topology_of("demo/stuck"))
    worker = start_worker(STUCK.format(declared='"demo/stuck"'), TURNOUT_SHUTDOWN_GRACE="0.1")
    await stage.publish("demo/stuck")
    await started(effects)

    worker.signal(signal.SIGTERM)

    assert await worker.wait_end() == 1
    assert "grace time is over" in worker.log
    await eventually(lambda: stage.ready("demo/stuck"), what="the message is back")


async def test_a_thread_that_was_abandoned_does_not_keep_the_worker_from_ending(
    stage: Stage, start_worker: StartWorker
) -> None:
    await stage.declare(topology_of("demo/abandoned"))
    worker = start_worker(
        STUCK.format(declared='"demo/abandoned", retries=0, timeout=0.1'),
        TURNOUT_SHUTDOWN_GRACE="0.1",
    )
    report = await stage.outcome(await stage.publish("demo/abandoned"))
    assert report.state == outcome.DEAD
    assert report.error == "TimeoutError: not done within 0.1 s; its thread goes on"

    worker.signal(signal.SIGTERM)

    assert await worker.wait_end(5) == 1
    assert await stage.ready("demo/abandoned") == 0


async def test_threads_that_were_abandoned_keep_their_places_until_they_end(
    stage: Stage, start_worker: StartWorker, effects: Effects, release: Callable[[], None]
) -> None:
    await stage.declare(topology_of("demo/kept", "demo/other"))
    worker = start_worker(
        """
@flow("demo/kept", retries=0, timeout=0.1, concurrency=2)
def kept(event: Event):
    effect("started")
    while not released():
        time.sleep(0.01)

@flow("demo/other")
async def other(event: Event):
    pass
"""
    )
    sent = [await stage.publish("demo/kept") for _ in range(5)]
    for each in sent[:2]:
        assert (await stage.outcome(each)).state == outcome.DEAD
    await worker.wait_log("flow waits for its threads")

    assert (await stage.outcome(await stage.publish("demo/other"))).state == outcome.SUCCEEDED
    await eventually(
        lambda: is_ready(stage, "demo/kept", 3), 10, "the others are left to other workers"
    )
    assert effects() == ["started"] * 2

    release()
    for each in sent[2:]:
        assert (await stage.outcome(each)).state == outcome.SUCCEEDED
    assert worker.stop() == 0


async def is_ready(stage: Stage, address: str, number: int) -> bool:
    return await stage.ready(address) == number


async def test_a_second_signal_ends_the_worker_at_once(
    stage: Stage, start_worker: StartWorker, effects: Effects
) -> None:
    await stage.declare(topology_of("demo/insisted"))
    worker = start_worker(STUCK.format(declared='"demo/insisted"'))
    await stage.publish("demo/insisted")
    await started(effects)

    worker.signal(signal.SIGINT)
    await worker.wait_log("worker waits for its runs")
    worker.signal(signal.SIGTERM)

    assert await worker.wait_end(5) == 1
    await eventually(lambda: stage.ready("demo/insisted"), what="the message is back")


async def test_a_queue_that_does_not_exist_is_waited_for(
    stage: Stage, start_worker: StartWorker, effects: Effects, release: Callable[[], None]
) -> None:
    address = "demo/later"
    release()
    worker = start_worker(patient(address))
    await worker.wait_log(f"turnout flow create {address}")

    await stage.declare(topology_of(address))
    await stage.outcome(await stage.publish(address))

    await stage.delete(address)
    await worker.wait_log("the queue turnout.flow.demo.later was deleted")
    await stage.declare(topology_of(address))
    await stage.outcome(await stage.publish(address))

    assert len(effects()) == 4
    assert worker.stop() == 0
    assert worker.log.count(f"turnout flow create {address}") <= 2


async def test_a_flow_without_a_queue_does_not_hold_up_another_one(
    stage: Stage, start_worker: StartWorker, release: Callable[[], None]
) -> None:
    await stage.declare(topology_of("demo/present"))
    release()
    start_worker(patient("demo/absent") + patient("demo/present"))

    assert (await stage.outcome(await stage.publish("demo/present"))).state == outcome.SUCCEEDED


async def test_a_flow_whose_connection_is_lost_finishes_and_does_not_run_again(
    stage: Stage,
    start_worker: StartWorker,
    effects: Effects,
    release: Callable[[], None],
    cut: Callable[[], Awaitable[None]],
) -> None:
    await stage.declare(topology_of("demo/cut"))
    worker = start_worker(patient("demo/cut"))
    envelope = await stage.publish("demo/cut")
    await started(effects)

    await cut()
    await worker.wait_until(lambda: worker.log.count("flow is served") == 2, "it consumes again")
    release()
    report = await stage.outcome(envelope)

    assert report.state == outcome.SUCCEEDED
    assert effects() == ["started redelivered=False", "finished"]
    assert worker.stop() == 0
    assert len(stage.outcomes_of(envelope)) == 1
    assert await stage.ready("demo/cut") == 0
    assert "processing failed" not in worker.log


@pytest.mark.parametrize(("kind", "pause"), [("async def", "await asyncio"), ("def", "time")])
async def test_no_more_runs_are_in_progress_than_was_asked_for(
    stage: Stage, start_worker: StartWorker, effects: Effects, kind: str, pause: str
) -> None:
    address = f"demo/many-{kind[:3]}"
    await stage.declare(topology_of(address))
    start_worker(
        f"""
running = 0

@flow("{address}")
{kind} many(event: Event):
    global running
    running += 1
    effect(running)
    {pause}.sleep(0.05)
    running -= 1
""",
        *("--concurrency", "3"),
    )
    sent = [await stage.publish(address) for _ in range(20)]

    for envelope in sent:
        assert (await stage.outcome(envelope)).state == outcome.SUCCEEDED

    assert max(map(int, effects())) == 3


async def test_nothing_is_acknowledged_before_its_outcome_is_confirmed(
    stage: Stage, start_worker: StartWorker, effects: Effects
) -> None:
    await stage.declare(topology_of("demo/unreported"))
    await stage.unbind_outcomes()
    worker = start_worker("""
@flow("demo/unreported")
async def unreported(event: Event):
    effect(event.redelivered)
""")
    envelope = await stage.publish("demo/unreported")
    await worker.wait_log("publishing again")

    await stage.declare(topology_of())
    report = await stage.outcome(envelope)

    assert (report.state, report.redelivered) == (outcome.SUCCEEDED, False)
    assert effects() == ["False"]
    assert worker.stop() == 0
    assert await stage.ready("demo/unreported") == 0


async def test_outcomes_share_messages(stage: Stage, start_worker: StartWorker) -> None:
    await stage.declare(topology_of("demo/batch"))
    sent = [await stage.publish("demo/batch") for _ in range(300)]
    start_worker("""
@flow("demo/batch")
async def batch(event: Event):
    pass
""")

    for each in sent:
        assert (await stage.outcome(each)).state == outcome.SUCCEEDED

    assert stage.messages_about(sent) < 100


async def test_a_worker_announces_itself_until_it_stops(
    stage: Stage, start_worker: StartWorker, redis_url: str, release: Callable[[], None]
) -> None:
    await stage.declare(topology_of("demo/one", "demo/two"))
    worker = start_worker(
        patient("demo/one")
        + patient("demo/two").replace('"demo/two"', '"demo/two", version="2.1", concurrency=3'),
        *("--concurrency", "7"),
    )
    async with Redis.from_url(redis_url) as board:

        async def announced() -> Announcement | None:
            found = await Announcement.read_all(board)
            return next((each for each in found if each.pid == worker.pid), None)

        said: Announcement = await eventually(announced, what="the worker is announced")
        assert said.flows == ("demo/one", "demo/two")
        assert (said.concurrency, said.busy) == (7, 0)
        assert said.started_at < time.time()
        assert said.served == (Served("demo/one", "", 7, 0), Served("demo/two", "2.1", 3, 0))

        await stage.publish("demo/two")

        async def busy() -> bool:
            found = await announced()
            return found is not None and [each.busy for each in found.served] == [0, 1]

        await eventually(busy, what="it is announced that one is busy")
        release()
        assert worker.stop() == 0
        assert await announced() is None


async def test_without_the_cache_flows_run_all_the_same(
    stage: Stage, start_worker: StartWorker, release: Callable[[], None]
) -> None:
    await stage.declare(topology_of("demo/alone"))
    release()
    worker = start_worker(patient("demo/alone"), TURNOUT_REDIS_URL="redis://127.0.0.1:1/0")

    for key in (None, "a" * 64, "a" * 64):  # of twins, nobody knows of the other: both run
        sent = await stage.publish("demo/alone", idempotency=key)
        assert (await stage.outcome(sent)).state == outcome.SUCCEEDED
    await worker.wait_log("worker is not announced")
    assert worker.stop() == 0


async def test_without_a_broker_a_worker_waits_for_it(start_worker: StartWorker) -> None:
    worker = start_worker(patient("demo/nowhere"), TURNOUT_AMQP_URL="amqp://u:secret@127.0.0.1:1/")
    await worker.wait_log("RabbitMQ at 127.0.0.1:1 cannot be reached")

    assert worker.stop() == 0
    assert "secret" not in worker.log


@pytest.mark.parametrize(
    ("text", "environment", "message"),
    [
        ("1 / 0", {}, "ZeroDivisionError"),
        ("", {}, "declares no flow"),
        (patient("demo/x"), {"TURNOUT_CONCURRENCY": "0"}, "TURNOUT_CONCURRENCY"),
        (patient("demo/x"), {"TURNOUT_SHUTDOWN_GRACE": "x"}, "SHUTDOWN_GRACE"),
    ],
)
async def test_a_worker_that_cannot_start_says_why_and_exits_with_two(
    start_worker: StartWorker, text: str, environment: dict[str, str], message: str
) -> None:
    worker = start_worker(text, **environment)

    assert await worker.wait_end() == 2
    assert message in worker.log
    assert "Traceback" not in worker.log
