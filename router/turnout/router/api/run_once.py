"""`/triggers/{id}/run-once`: an operator's test of a flow."""

import base64
import binascii
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from turnout.router import run_once
from turnout.router.api.body import Answer, Header, Reason
from turnout.router.api.call import Call
from turnout.router.api.control import OPERATIONS
from turnout.router.api.events import payload_of
from turnout.router.api.moments import at
from turnout.router.api.params import UUID, TriggerId
from turnout.router.api.problem import Problem
from turnout.router.api.routes import LARGEST_PAYLOAD, Routes
from turnout.router.registry import Invalid, Method, NotFound, Trigger
from turnout.router.run_once import NotReady, Once, Readiness
from turnout.shared import ids
from turnout.shared.outcome import Outcome

routes = Routes()

#: Seconds that a test run is waited for, unless said otherwise, and at most.
TIMEOUT = 30.0
_LONGEST = 600.0


class NewOnce(Reason):
    """What the flow is to receive."""

    method: Method | None = None
    """null: the first that the trigger allows."""
    headers: Annotated[tuple[Header, ...], Field(max_length=100, strict=False)] = ()
    body: str = ""
    encoding: Literal["text", "base64"] = "text"
    """Of `body`."""
    event: Annotated[str, StringConstraints(pattern=f"^{ids.EVENT}_{UUID}$")] | None = None
    """The id of a past event of the same group, whose call is taken instead of the above."""
    timeout: Annotated[float, Field(gt=0, le=_LONGEST)] = TIMEOUT

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.event is not None and self.model_fields_set & {"method", "headers", "body"}:
            raise PydanticCustomError("one", "either an event, or a method, headers and body")
        return self


class ReadinessAnswer(Answer):
    """How soon the flow would run."""

    workers: int
    waiting: int
    """Runs in its queue that no worker has."""
    paused: str | None
    """Why the flow is paused; null: it is not."""

    @classmethod
    def of(cls, readiness: Readiness) -> Self:
        """Show it."""
        return cls(**readiness._asdict())


class EndAnswer(Answer):
    """How the run ended."""

    state: str
    worker_id: str
    version: str
    started_at: datetime
    ended_at: datetime
    milliseconds: float
    result: Any
    error: str | None
    traceback: str | None
    logs: list[str]

    @classmethod
    def of(cls, outcome: Outcome) -> Self:
        """Show it."""
        return cls(
            state=outcome.state,
            worker_id=outcome.worker_id,
            version=outcome.version,
            started_at=at(outcome.started_at),
            ended_at=at(outcome.ended_at),
            milliseconds=round((outcome.ended_at - outcome.started_at) / 1e6, 1),
            result=outcome.result,
            error=outcome.error,
            traceback=outcome.traceback,
            logs=list(outcome.logs),
        )


class OnceAnswer(Answer):
    """A test run."""

    event_id: str
    run_id: str
    before: ReadinessAnswer
    """What the flow's queue looked like when it was sent."""
    attempt: EndAnswer | None
    """null: it did not end in time, and is still queued or running."""

    @classmethod
    def of(cls, once: Once) -> Self:
        """Show it."""
        return cls(
            event_id=once.event_id,
            run_id=once.run_id,
            before=ReadinessAnswer.of(once.readiness),
            attempt=None if once.outcome is None else EndAnswer.of(once.outcome),
        )


@routes.get("/triggers/{trigger_id}/run-once")
async def ready(call: Call, trigger_id: TriggerId) -> ReadinessAnswer:
    """Tell how soon a flow would run."""
    trigger = await call.registry.trigger(trigger_id)
    return ReadinessAnswer.of(await call.app[OPERATIONS].once.readiness(trigger))


@routes.post(
    "/triggers/{trigger_id}/run-once", status=200, max_body=LARGEST_PAYLOAD, refuses=(409, 410)
)
async def run(call: Call, trigger_id: TriggerId, body: NewOnce) -> OnceAnswer:
    """Run the flow of a trigger once, and wait for its end."""
    trigger = await call.registry.trigger(trigger_id)
    test = await _of_event(call, trigger, body.event) if body.event else _given(trigger, body)
    most = trigger.effective_limits.max_body_bytes
    if most is not None and len(test.body) > most:
        raise Invalid("body", f"ingress takes {most} bytes at most through this trigger")
    try:
        once = await call.app[OPERATIONS].once.run(trigger, test, body.timeout, call.actor)
    except NotReady as error:
        raise Problem(409, "not_ready", str(error)) from None
    return OnceAnswer.of(once)


async def _of_event(call: Call, trigger: Trigger, event_id: str) -> run_once.Call:
    """Return the call that a past event was.

    Raises:
        NotFound: there is no such event in the trigger's group.
        Problem: its payload is gone.
    """
    if await call.registry.owner("event", event_id) != trigger.group:
        raise NotFound("event", event_id)
    event = await payload_of(call, event_id)
    return run_once.Call(event.method, event.headers, event.body, event.path, event.query)


def _given(trigger: Trigger, body: NewOnce) -> run_once.Call:
    return run_once.Call(body.method or trigger.methods[0], body.headers, _bytes(body))


def _bytes(body: NewOnce) -> bytes:
    if body.encoding == "text":
        return body.body.encode()
    try:
        return base64.b64decode(body.body, validate=True)
    except binascii.Error as error:
        raise Invalid("body", f"it is no base64: {error}") from None
