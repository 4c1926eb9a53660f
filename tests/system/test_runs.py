"""What becomes of an accepted event, whatever happens to its worker."""

import asyncio
from collections.abc import Iterator

import pytest
from tests.support.process import Command
from tests.support.system import PATIENCE, Key, System, Trigger
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def patient(system: System) -> Trigger:
    """A trigger of the flow that runs until it is let go."""
    return asyncio.run(system.make_trigger("shop/patient"))


@pytest.fixture
def worker(system: System) -> Iterator[Command]:
    """The worker, which runs again afterwards."""
    yield system.worker
    if not system.worker.is_running:
        system.worker.start()


def effects_of(system: System, event_id: str) -> list[str]:
    """Return what a flow of `trouble` has noted about an event."""
    path = system.effects / "trouble"
    lines = path.read_text().splitlines() if path.exists() else []
    return [line.partition(" ")[2] for line in lines if line.startswith(event_id)]


async def noted(system: System, event_id: str, *effects: str) -> None:
    """Wait until just these effects of an event are there."""
    wanted = list(effects)
    await eventually(
        lambda: effects_of(system, event_id) == wanted, PATIENCE, f"its effects are {wanted}"
    )


def release(system: System, event_id: str) -> None:
    """Let the patient flow finish an event."""
    (system.effects / f"{event_id}.release").touch()


async def test_a_run_whose_worker_is_killed_runs_again_as_redelivered(
    system: System, worker: Command, key: Key, patient: Trigger
) -> None:
    event_id = (await system.call(patient.path, key)).event_id
    await noted(system, event_id, "started redelivered=False")

    worker.kill()
    worker.start()

    again = ["started redelivered=False", "started redelivered=True"]
    await noted(system, event_id, *again)
    release(system, event_id)
    await noted(system, event_id, *again, "finished")


async def test_sigterm_lets_a_worker_finish_its_runs_and_leaves_the_rest_to_others(
    system: System, worker: Command, key: Key, patient: Trigger
) -> None:
    running = (await system.call(patient.path, key)).event_id
    await noted(system, running, "started redelivered=False")

    stopping = asyncio.create_task(asyncio.to_thread(worker.stop))
    await worker.wait_log('"worker waits for its runs"')
    waiting = (await system.call(patient.path, key)).event_id
    release(system, running)
    release(system, waiting)

    assert await stopping == 0
    assert effects_of(system, running) == ["started redelivered=False", "finished"]
    assert effects_of(system, waiting) == []
    worker.start()
    await noted(system, waiting, "started redelivered=False", "finished")


async def test_an_event_waits_for_a_worker(system: System, worker: Command, key: Key) -> None:
    trigger = await system.make_trigger("shop/seen")
    worker.kill()
    answer = await system.call(trigger.path, key, data=b"patience")
    assert answer.status == 202
    worker.start()
    assert (await system.seen(answer.event_id))["body"] == b"patience"


async def test_a_flow_that_fails_is_tried_again_and_then_is_a_dead_letter(
    system: System, key: Key
) -> None:
    """What the flow lets out in its traceback, a key for example, is in no log."""
    trigger = await system.make_trigger("shop/failing")
    event_id = (await system.call(trigger.path, key, data=f"key: {key.text}".encode())).event_id
    letter = await system.dead(event_id)
    assert effects_of(system, event_id) == ["attempt 1", "attempt 2"]
    assert (letter.attempt, letter.body) == (2, f"key: {key.text}".encode())
    assert f"key: {key.text.rpartition('_')[0]}_…" in system.worker.log


async def test_a_flow_that_nobody_has_registered_appears_with_its_worker(system: System) -> None:
    flows = await system.admin("GET", "flows", status=200)
    assert {each["group"] for each in flows["items"]} == {"shop"}

    system.add_worker("late").start()

    await system.registered("late/arrival")
    key = await system.make_key("late", "first")
    trigger = await system.make_trigger("late/arrival")
    answer = await system.call(trigger.path, key)
    ran = system.effects / answer.event_id
    await eventually(ran.exists, PATIENCE, "the flow has run")
