"""Envelopes and events for tests."""

import time
from typing import Any

from turnout.shared import ids
from turnout.shared.envelope import Envelope
from turnout.workers import Context, Event
from turnout.workers.once import Marks
from turnout.workers.resources import Resources

EXAMPLE = Envelope(
    event_id="evt_019a0000000070008000000000000001",
    run_id="run_019a0000000070008000000000000001",
    routing_key="a" * 32,
    trigger_id="trg_1",
    key_id="key_1",
    flow_id="flw_1",
    group_id="grp_1",
    group="demo",
    flow="hello",
    received_at=1_772_443_800_123_456_789,
    method="POST",
    path="",
    query="",
    headers=(),
    content_type="application/json",
    remote="127.0.0.1",
    body=b"{}",
)


def new_envelope(address: str, **fields: Any) -> Envelope:
    """Make the envelope of a new event for one flow."""
    event_id = ids.new(ids.EVENT)
    group, _, flow = address.partition("/")
    new = EXAMPLE._replace(
        event_id=event_id,
        run_id=ids.same_uuid(event_id, ids.RUN),
        received_at=time.time_ns(),
        group=group,
        flow=flow,
    )
    return new._replace(**fields)


def event(*, redelivered: bool = False, **fields: Any) -> Event:
    """Make an event with some fields of its envelope."""
    return Event(EXAMPLE._replace(**fields), redelivered=redelivered)


def context(*, redelivered: bool = False, **fields: Any) -> Context:
    """Make the context of an attempt, without resources and without a cache."""
    return Context(
        EXAMPLE._replace(**fields),
        Resources({}, "there are none in this test"),
        Marks("redis://127.0.0.1:1/0"),
        redelivered=redelivered,
    )
