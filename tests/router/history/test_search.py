"""Which runs are found, and in which order; on both databases, by the same indexes."""

import time
from collections.abc import Sequence

import pytest
import sqlalchemy as sa
from tests.router.history.test_fold import archived, record, told
from tests.support import history

from turnout.router.database import Database
from turnout.router.history import search
from turnout.router.history.search import Filter
from turnout.router.replay.models import Replay
from turnout.shared import ids, outcome
from turnout.shared.envelope import Envelope

pytestmark = pytest.mark.both_databases


async def found(
    database: Database, wanted: Filter, *, before: str | None = None, limit: int = 100
) -> list[str]:
    """The ids of the events whose runs are found."""
    async with database.reading() as connection:
        rows = await search.newest(connection, wanted, before=before, limit=limit)
    return [each.event_id for each in rows]


def event_ids(events: Sequence[Envelope]) -> list[str]:
    return sorted((each.event_id for each in events), reverse=True)


async def test_who_may_see_some_groups_finds_their_runs_alone(database: Database) -> None:
    events = [history.event(number) for number in range(24)]
    ends = [history.ended(each, outcome.DEAD) for each in events]
    await record(database, [archived(0, events)], [told(ends)])
    theirs = [each for each in events if each.group in {"crm", "ops"}]
    for more in ({}, {"state": "dead"}, {"error_type": "ValueError"}):
        wanted = Filter(groups=("crm", "ops"), **more)
        assert await found(database, wanted) == event_ids(theirs), more


async def test_an_error_is_found_with_its_module_and_without(database: Database) -> None:
    events = [history.event(number) for number in range(6)]
    errors = ["Sold: a", "shop.Sold: b", "shop.UnSold: c", "other.Sold: d", "shop.Sold.x: e"]
    ends = [
        history.ended(each, outcome.DEAD, error=error)
        for each, error in zip(events, errors, strict=False)
    ]
    await record(database, [archived(0, events)], [told(ends)])
    for name, expected in {
        "Sold": [events[0], events[1], events[3]],
        "shop.Sold": [events[1]],
        "x": [events[4]],
        "old": [],
        "%": [],
    }.items():
        assert await found(database, Filter(error_type=name)) == event_ids(expected), name
    assert await found(database, Filter(error_type="Sold", state="queued")) == []


async def test_events_are_found_on_both_sides_of_a_large_replay(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "_MANY", 3)
    before = [history.event(number) for number in range(5)]
    started_at = time.time_ns()
    meanwhile = history.event(5)
    replay = ids.new(ids.REPLAY)
    repeated = [
        each._replace(
            run_id=ids.derived(ids.RUN, started_at // 1_000_000, number, each.run_id),
            kind="replay",
            origin=each.run_id,
            replay=replay,
        )
        for number, each in enumerate(before)
    ]
    after = [history.event(number) for number in range(6, 10)]
    await record(database, [archived(0, [*before, *repeated, meanwhile, *after])], [])
    async with database.writing() as connection:
        columns = {each.name: each for each in Replay.__table__.c if not each.nullable}
        values = {
            name: "" if isinstance(each.type, sa.String) else 0 for name, each in columns.items()
        }
        values |= {"id": replay, "position": 5, "started_at": started_at, "dry_run": False}
        await connection.execute(sa.insert(Replay).values(values))

    events = event_ids([*before, meanwhile, *after])
    assert await found(database, Filter(replays=False)) == events
    assert await found(database, Filter(replays=False), limit=7) == events[:7]
    last = ids.same_uuid(events[4], ids.RUN)
    assert await found(database, Filter(replays=False), before=last) == events[5:]
    assert len(await found(database, Filter())) == 15
