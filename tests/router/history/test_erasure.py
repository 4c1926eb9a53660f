"""Erasing an event: nothing in SQL tells of its payload any more, whatever comes late."""

import time
from typing import Any

import pytest
import sqlalchemy as sa
from pamqp import commands, frame, header
from tests.router.history.test_fold import archived, record, told
from tests.support import history

from turnout.router.database import Database
from turnout.router.history.archive import Archive
from turnout.router.history.erasure import Erased
from turnout.router.history.fold import Batch
from turnout.router.history.lookup import History
from turnout.router.history.write import write
from turnout.router.letters.dead import DeadLetters
from turnout.router.letters.models import DeadLetter, Unrouted
from turnout.router.letters.unrouted import UnroutedEvents
from turnout.router.link import Links
from turnout.router.models import Base
from turnout.router.registry import ROUTER, Conflict
from turnout.router.replay.models import Replay
from turnout.shared import ids, outcome
from turnout.shared.amqp import Delivery
from turnout.shared.envelope import Envelope

pytestmark = pytest.mark.both_databases

#: Whom nothing is to tell of any more.
JANE = "jane@example.org"


@pytest.fixture
def past(database: Database) -> History:
    return History(database, Archive(Links(["amqp://127.0.0.1:1/"], "test")))


def jane() -> Envelope:
    return history.event(1, body=f'{{"email": "{JANE}"}}'.encode(), path=f"/{JANE}")


def again(event: Envelope) -> Envelope:
    """A replay of an event."""
    run_id, replay = ids.new(ids.RUN), ids.new(ids.REPLAY)
    return event._replace(run_id=run_id, kind="replay", origin=event.run_id, replay=replay)


def delivery(event: Envelope) -> Delivery:
    """A dead letter, as a worker publishes it."""
    said = {"turnout-reason": "attempts", "turnout-error": f"ValueError: {JANE}"}
    properties = header.ContentHeader(0, 0, commands.Basic.Properties(headers=said))
    return Delivery(1, False, "turnout.dead", frame.marshal(properties, 1)[7:-1], event.encode())


async def keep(database: Database, dead: Envelope, unrouted: Envelope) -> None:
    await DeadLetters(database).keep([delivery(dead)])
    await UnroutedEvents(database, None, None).keep([delivery(unrouted)])


async def add_replay(database: Database, run: Envelope, state: str) -> None:
    """Add a replay that has changed the body of an event, and the run that it made."""
    async with database.writing() as connection:
        columns = {each.name: each for each in Replay.__table__.c if not each.nullable}
        values = {name: "" if _is_text(each) else 0 for name, each in columns.items()}
        values |= {"id": run.replay, "state": state, "edit": f'{{"merge": {{"to": "{JANE}"}}}}'}
        await connection.execute(sa.insert(Replay).values(values | {"dry_run": False}))
    await record(database, [archived(9, [run])], [])


def _is_text(column: sa.Column[Any]) -> bool:
    return isinstance(column.type, sa.String)


async def dump(database: Database) -> str:
    """All rows of all tables."""
    async with database.reading() as connection:
        return repr(
            [[*await connection.execute(sa.select(table))] for table in Base.metadata.sorted_tables]
        )


async def test_nothing_in_the_database_tells_of_an_erased_event(
    database: Database, past: History
) -> None:
    event = jane()
    replayed, parked = again(event), again(event)
    ends = [
        history.ended(event, outcome.DEAD, error=f"ValueError: {JANE}", traceback=JANE),
        history.ended(replayed, result={"to": JANE}),
    ]
    await record(database, [archived(0, [event, parked])], [told(ends)])
    await add_replay(database, replayed, "done")
    await keep(database, event, parked)
    assert JANE in await dump(database)

    await past.erase(event.event_id, "asked by letter", ROUTER)

    assert JANE not in await dump(database)
    async with database.reading() as connection:
        letter = (await connection.execute(sa.select(DeadLetter.__table__))).one()
        assert (letter.state, letter.settled_by) == ("discarded", "the event is erased")
        assert await connection.scalar(sa.select(sa.func.count()).select_from(Unrouted)) == 0
    story = await past.story(event.event_id)
    assert {each.id: each.state for each in story.runs} == {
        event.run_id: "dead",
        replayed.run_id: "succeeded",
        parked.run_id: "cancelled",
    }

    await keep(database, event, parked)  # as if the broker had handed them out again
    await record_late(database, ends)
    assert JANE not in await dump(database)
    assert time.time_ns() > (await past.story(event.event_id)).erasure.erased_at


async def record_late(database: Database, ends: list[Any]) -> None:
    """Record as the recorder does, which leaves out what was erased."""
    rows = Batch.of([], [told(ends)]).rows()
    async with database.writing() as connection:
        await Erased().strip(connection, rows)
        await write(connection, rows)


async def test_a_replay_that_still_changes_the_body_has_to_be_aborted_first(
    database: Database, past: History
) -> None:
    event = jane()
    await record(database, [archived(0, [event])], [])
    replayed = again(event)
    await add_replay(database, replayed, "paused")
    with pytest.raises(Conflict, match=str(replayed.replay)):
        await past.erase(event.event_id, "asked by letter", ROUTER)
    assert (await past.story(event.event_id)).erasure is None
