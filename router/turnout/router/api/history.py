"""`/history`: how far events and outcomes are recorded. And how their answers show a run."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, Self

from pydantic import Field

from turnout.router.api.body import Answer, Items
from turnout.router.api.call import Call
from turnout.router.api.control import HISTORY, REGISTRY
from turnout.router.api.moments import moment, nanoseconds
from turnout.router.api.params import UUID, Moment, PageQuery, Text, cut
from turnout.router.api.routes import Routes
from turnout.router.api.selection import KeyName, PartyQuery, TriggerName, key_called, legal
from turnout.router.history.search import Filter, Record
from turnout.router.registry import Directory
from turnout.shared import ids, names

routes = Routes()

State = Literal[
    "queued", "running", "retrying", "succeeded", "dead", "cancelled", "refused", "unknown"
]


class HistoryQuery(PartyQuery):
    """Which events or runs."""

    state: State | None = None
    error: Text | None = None
    """The name of an exception, with its module or without."""
    since: Moment | None = Field(None, alias="from")
    until: Moment | None = Field(None, alias="to")


class NewestQuery(HistoryQuery, PageQuery):
    """Which part of them, newest first."""


class RunAnswer(Answer):
    """One execution of a flow for an event."""

    id: str
    event_id: str
    group: str
    flow: str
    """The address: "group/flow"."""
    trigger: TriggerName | None
    """Null until its event was read in the archive; the same for key and kind."""
    key: KeyName | None
    """Null for a run once, too."""
    kind: str | None
    origin: str | None
    """Of a replay: the run that it repeats."""
    replay: str | None
    """Of a replay: the operation that it belongs to."""
    state: State
    attempt: int
    """The newest; 0 before the first."""
    started_at: datetime | None
    """Of the newest attempt."""
    ended_at: datetime | None
    error_type: str | None
    error: str | None

    @classmethod
    def of(cls, run: Record, directory: Directory, /, **more: object) -> Self:
        """Show a run, and what else the answer holds."""
        return cls.model_validate(
            {
                "id": run.id,
                "event_id": run.event_id,
                "group": run.group_slug,
                "flow": f"{run.group_slug}/{run.flow_slug}",
                "trigger": TriggerName.of(run.trigger_id, directory.trigger(run.trigger_id))
                if run.trigger_id
                else None,
                "key": KeyName.of(run.key_id, directory.key(run.key_id)) if run.key_id else None,
                "kind": run.kind,
                "origin": run.origin,
                "replay": run.replay,
                "state": run.state,
                "attempt": run.attempt,
                "started_at": moment(run.started_at),
                "ended_at": moment(run.ended_at),
                "error_type": run.error_type,
                "error": run.error,
                **more,
            }
        )


class StreamAnswer(Answer):
    """How far a stream is recorded."""

    stream: str
    recorded: int | None
    """The offset of the newest message that is."""
    newest: int | None
    """The offset of the newest message that there is."""
    behind: int
    """How many messages are still to be recorded."""
    recorded_until: datetime | None
    """When the newest thing that is recorded happened."""
    unreadable: int
    """How many messages and events could not be read, and were left out."""
    missed: int
    """How many messages the broker dropped before they were recorded."""


@routes.get("/history")
async def status(call: Call) -> Items[StreamAnswer]:
    """Tell how far the archive and the outcomes are recorded."""
    return Items(
        items=[
            StreamAnswer(
                stream=each.stream,
                recorded=each.mark.last if each.mark.last >= 0 else None,
                newest=each.bounds.last if each.bounds else None,
                behind=each.messages,
                recorded_until=moment(each.mark.written_at),
                unreadable=each.mark.unreadable,
                missed=each.mark.missed,
            )
            for each in await call.app[HISTORY].lag()
        ]
    )


async def newest(
    call: Call, query: NewestQuery, *, replays: bool | None = None
) -> tuple[Sequence[Record], str | None]:
    """Find runs, newest first, and the cursor of those after them; see `filter_of`."""
    wanted = await filter_of(call, query, replays=replays)
    position = query.after(f"{ids.RUN}_{UUID}")
    before = None if position is None else position[0]
    found = await call.app[HISTORY].newest(wanted, before=before, limit=query.limit + 1)
    return cut(found, query.limit, lambda run: (run.id,))


async def filter_of(call: Call, query: HistoryQuery, *, replays: bool | None = None) -> Filter:
    """Turn a query into what the history looks for, of what the token may see.

    Groups, flows and triggers need not exist any more; a key does if it is not given by its id.

    Raises:
        Invalid: the group is no slug, or the flow no address.
        NotFound: no key is called like this.
    """
    group = query.group and legal("group", names.slug, query.group)
    flow = None
    if query.flow is not None:
        group, flow = legal("flow", names.flow_address, query.flow)
    return Filter(
        groups=call.groups,
        group=group,
        flow=flow,
        trigger_id=query.trigger,
        key_id=query.key and await key_called(query.key, call),
        since=None if query.since is None else nanoseconds(query.since),
        until=None if query.until is None else nanoseconds(query.until),
        state=query.state,
        error_type=query.error,
        replays=replays,
    )


async def directory_of(call: Call) -> Directory:
    """Return who is who."""
    snapshot = await call.app[REGISTRY].snapshot()  # which this one keeps
    return Directory(snapshot.keys, snapshot.triggers)
