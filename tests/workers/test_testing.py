"""`turnout.workers.testing`, as the author of a flow uses it."""

import os
from collections.abc import AsyncIterator
from typing import Any

import pytest

from turnout.shared.errors import FlowError
from turnout.workers import Context, Event, Reject, Retry, flow, lifespan
from turnout.workers.testing import run, run_async


@lifespan
async def database() -> AsyncIterator[dict[int, str]]:
    raise AssertionError("a test opens nothing")
    yield {}


@flow("crm/update-lead", retries=3, backoff=10)
async def update_lead(event: Event, context: Context) -> dict[str, Any]:
    lead = event.json()
    context.logger.info("lead is updated", lead=lead["id"])
    context.resources[database][lead["id"]] = lead["status"]
    return {"id": lead["id"], "source": event.headers["x-source"]}


def test_a_run_that_succeeds() -> None:
    table: dict[int, str] = {}

    result = run(
        update_lead,
        json={"id": 7, "status": "won"},
        headers={"X-Source": "hubspot"},
        resources={database: table},
    )

    assert result.state == "succeeded"
    assert result.result == {"id": 7, "source": "hubspot"}
    assert (result.attempts, result.delays) == (1, ())
    assert "lead is updated" in result.logs[0]
    assert table == {7: "won"}


def test_a_resource_that_was_not_passed_is_named() -> None:
    result = run(update_lead, json={"id": 7, "status": "won"}, attempts=1)

    assert "<lifespan database at " in (result.error or "")
    assert "in a test, pass it: run(…, resources={…: …})" in (result.error or "")


def test_attempts_follow_each_other_without_waiting() -> None:
    @flow("demo/third-time", retries=5, backoff=10)
    async def third_time(event: Event, context: Context) -> str:
        if context.attempt < 3:
            raise ConnectionError("busy")
        return "done"

    result = run(third_time)

    assert (result.state, result.attempts, result.result) == ("succeeded", 3, "done")
    assert result.delays == (8, 18)
    assert result.error is None


def test_a_flow_that_always_fails_is_dead_after_its_last_attempt() -> None:
    @flow("demo/fails", retries=2)
    def fails(event: Event) -> None:
        raise ValueError("wrong")

    result = run(fails)

    assert (result.state, result.attempts, result.error) == ("dead", 3, "ValueError: wrong")
    assert result.reason == "attempt 3 of 3 failed"
    assert 'raise ValueError("wrong")' in (result.traceback or "")


def test_what_a_flow_decides_is_seen() -> None:
    @flow("demo/decides")
    def decides(event: Event, context: Context) -> None:
        if context.attempt == 1:
            raise Retry(after=90, reason="rate limited")
        raise Reject("no such lead")

    result = run(decides)

    assert (result.state, result.attempts, result.delays) == ("dead", 2, (90,))
    assert result.reason == "rejected by attempt 2"


def test_a_test_may_stop_before_the_last_attempt() -> None:
    @flow("demo/slow", timeout=3600)
    async def slow(event: Event) -> None:
        import asyncio

        await asyncio.Event().wait()

    result = run(slow, timeout=0.01, attempts=1)

    assert (result.state, result.delays) == ("retrying", (1,))
    assert result.error == "TimeoutError: not done within 0.01 s"


def test_side_effects_are_guarded_within_a_run() -> None:
    charged = []

    @flow("demo/charges")
    async def charges(event: Event, context: Context) -> int:
        async with context.once("charge") as is_first:
            if is_first:
                charged.append(context.run_id)
        if context.attempt == 1:
            raise ValueError("after the charge")
        return context.attempt

    assert run(charges).result == 2
    assert len(charged) == 1


def test_a_flow_of_a_process_runs_in_the_test() -> None:
    from tests.workers.computing import computes

    assert run(computes, body="").result["pid"] == os.getpid()


async def test_within_an_event_loop_it_is_awaited() -> None:
    result = await run_async(update_lead, json={"id": 1, "status": ""}, attempts=1)
    assert result.state == "retrying"

    with pytest.raises(FlowError, match="write `await run_async"):
        run(update_lead)


def test_what_is_no_flow_is_refused() -> None:
    with pytest.raises(FlowError, match="is no flow: put @flow"):
        run(print)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"kind": "test"}, "kind is 'test'; use 'event', 'replay' or 'once'"),
        ({"attempts": 0}, "attempts is 0; use 1 or more"),
        ({"body": "{}", "json": {}}, "give body or json"),
    ],
)
def test_what_can_be_no_call_is_refused(call: dict[str, Any], message: str) -> None:
    with pytest.raises(FlowError, match=message):
        run(update_lead, **call)


def test_a_redelivery_and_a_replay_can_be_tried() -> None:
    @flow("demo/tells")
    def tells(event: Event, context: Context) -> Any:
        return context.redelivered, context.is_replay, event.method, event.path, event.query["a"]

    result = run(tells, redelivered=True, kind="replay", method="PUT", path="/x", query="a=1")

    assert result.result == [True, True, "PUT", "/x", "1"]
