"""Running a flow in a unit test: no broker, no cache, no waiting between attempts.

    from turnout.workers.testing import run

    def test_a_lead_is_updated():
        result = run(update_lead_status, json={"id": 7}, resources={database: FakeDatabase()})

        assert result.state == "succeeded"
        assert result.attempts == 1

All that decides in a worker decides here: retries, `Reject` and `Retry`, the timeout, what is kept
of the result. Of a delay only its greatest value is noted, and nobody waits for it.
"""

import asyncio
import json as jsons
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import structlog

from turnout.shared import ids, log, outcome
from turnout.shared.envelope import EVENT, ONCE, REPLAY, Envelope
from turnout.shared.errors import FlowError
from turnout.workers import logs
from turnout.workers.attempt import Success
from turnout.workers.context import Context
from turnout.workers.decision import Bury, decide
from turnout.workers.executor import Executor, Threads, executor_of, with_logs
from turnout.workers.flow import Flow, declared
from turnout.workers.once import BEGUN, DONE, Marks
from turnout.workers.resources import Lifespan, Resources
from turnout.workers.result import kept


class Result(NamedTuple):
    """What came of a run."""

    state: str
    """succeeded or dead; retrying, if no more attempts were wanted."""
    attempts: int
    delays: tuple[int, ...]
    """The seconds between the attempts: the greatest that the policy allows, or the flow's own."""
    result: Any = None
    """What the flow returned, as it would be kept with the run."""
    error: str | None = None
    """Of the last attempt, if it failed: the exception in one line."""
    traceback: str | None = None
    reason: str | None = None
    """Why it is dead."""
    logs: tuple[str, ...] = ()
    """What all attempts logged."""


def run(function: Callable[..., Any], **call: Any) -> Result:
    """Do what `run_async` does, in a test that is no coroutine.

    Raises:
        FlowError: see `run_async`; or an event loop is running already.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(run_async(function, **call))
    raise FlowError("an event loop is running here: write `await run_async(…)`")


async def run_async(
    function: Callable[..., Any],
    *,
    body: bytes | str = b"",
    json: Any = None,
    content_type: str = "",
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    method: str = "POST",
    path: str = "",
    query: str = "",
    kind: str = EVENT,
    redelivered: bool = False,
    attempts: int | None = None,
    timeout: float | None = None,
    resources: Mapping[Lifespan[Any], Any] | None = None,
) -> Result:
    """Run a flow for one event, until it has succeeded or is dead.

    Args:
        function: below `@flow`.
        body: of the call.
        json: the body, to be written as JSON.
        content_type: of the body; application/json, if it is given as `json`.
        headers: of the call.
        method: of the call.
        path: what follows the routing key in the URL.
        query: the query string, without "?".
        kind: event, replay or once.
        redelivered: whether the broker handed out the first attempt before.
        attempts: how many there are at most; None: as many as the flow's retries allow.
        timeout: seconds; comes before the flow's own.
        resources: by their lifespans, which are not opened here.

    Raises:
        FlowError: the function is no flow, or there can be no such call.
    """
    flow = declared(function)
    if flow is None:
        raise FlowError(f"{function!r} is no flow: put @flow('group/name') above it")
    if kind not in {EVENT, REPLAY, ONCE}:
        raise FlowError(f"kind is {kind!r}; use {EVENT!r}, {REPLAY!r} or {ONCE!r}")
    if attempts is not None and attempts < 1:
        raise FlowError(f"attempts is {attempts!r}; use 1 or more, or None")
    if body and json is not None:
        raise FlowError("give body or json")
    if timeout is not None:
        flow = flow._replace(timeout=timeout)
    if json is not None:
        body, content_type = jsons.dumps(json), content_type or "application/json"
    envelope = _envelope(
        flow,
        method=method,
        path=path,
        query=query,
        headers=tuple(headers.items() if isinstance(headers, Mapping) else headers),
        content_type=content_type,
        body=body.encode() if isinstance(body, str) else body,
        kind=kind,
    )
    opened = Resources(resources or {}, "in a test, pass it: run(…, resources={…: …})")
    # In this process, where a test sees what happens, also what would have one of its own.
    executor: Executor = Threads(flow, 1) if flow.executor == "process" else executor_of(flow, 1)
    with _logging():
        try:
            return await _run(
                flow, envelope, executor, resources=opened, redelivered=redelivered, most=attempts
            )
        finally:
            await executor.close()


async def _run(
    flow: Flow,
    envelope: Envelope,
    executor: Executor,
    *,
    resources: Resources,
    redelivered: bool,
    most: int | None,
) -> Result:
    marks = _Marks()
    delays: list[int] = []
    lines: list[str] = []
    while True:
        context = Context(envelope, resources, marks, redelivered=redelivered)
        end = await with_logs(executor.run(context))
        lines += end.logs
        told: dict[str, Any] = {
            "attempts": envelope.attempt,
            "delays": tuple(delays),
            "logs": tuple(lines),
        }
        if isinstance(end, Success):
            return Result(outcome.SUCCEEDED, result=kept(end.result)[0], **told)
        told |= {"error": end.error, "traceback": end.traceback}
        decision = decide(flow, envelope.attempt, envelope.kind, end, choose=max)
        if isinstance(decision, Bury):
            return Result(outcome.DEAD, reason=decision.reason, **told)
        delays.append(decision.seconds)
        if envelope.attempt == most:
            return Result(outcome.RETRYING, **told | {"delays": tuple(delays)})
        envelope = envelope._replace(attempt=envelope.attempt + 1)
        redelivered = False


def _envelope(flow: Flow, **call: Any) -> Envelope:
    event_id = ids.new(ids.EVENT)
    return Envelope(
        event_id=event_id,
        run_id=ids.same_uuid(event_id, ids.RUN),
        routing_key="",
        trigger_id="",
        key_id="",
        flow_id="",
        group_id="",
        group=flow.group,
        flow=flow.name,
        received_at=time.time_ns(),
        remote="127.0.0.1",
        **call,
    )


class _Marks(Marks):
    """Marks in memory, for one run."""

    def __init__(self) -> None:
        super().__init__("")
        self._marks: dict[str, bytes] = {}

    async def begin(self, name: str) -> bytes | None:
        return self.begin_blocking(name)

    async def end(self, name: str, *, happened: bool) -> None:
        self.end_blocking(name, happened=happened)

    def begin_blocking(self, name: str) -> bytes | None:
        found = self._marks.get(name)
        self._marks.setdefault(name, BEGUN)
        return found

    def end_blocking(self, name: str, *, happened: bool) -> None:
        if happened:
            self._marks[name] = DONE
        else:
            del self._marks[name]


@contextmanager
def _logging() -> Iterator[None]:
    """Collect what a worker would log: what is information, or worse."""
    if not structlog.is_configured():
        log.use_logging()
    root = logging.getLogger()
    collector, level = logs.Collector(), root.level
    root.addHandler(collector)
    root.setLevel(min(level, logging.INFO))
    try:
        yield
    finally:
        root.removeHandler(collector)
        root.setLevel(level)
