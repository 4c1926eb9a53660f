"""Rows of the history do not depend on the order in which things were read, nor on how often."""

import random
from collections.abc import Iterable, Sequence

import pytest
import sqlalchemy as sa
from tests.support import history

from turnout.router.database import Database
from turnout.router.history.fold import Batch, error_type
from turnout.router.history.models import Attempt, Event, Run
from turnout.router.history.stream import Message
from turnout.router.history.write import write
from turnout.shared import outcome
from turnout.shared.block import Block
from turnout.shared.envelope import Envelope
from turnout.shared.outcome import Outcome

pytestmark = pytest.mark.both_databases

Records = dict[str, list[tuple[object, ...]]]


def archived(
    offset: int, events: Sequence[Envelope], verdicts: Iterable[tuple[str, str]] = ()
) -> Message:
    written = Block("test", 1, 0, 0, tuple(each.encode() for each in events), tuple(verdicts))
    return Message(offset, written.encode(compress=False))


def told(outcomes: Sequence[Outcome]) -> Message:
    return Message(0, outcome.encode(outcomes))


async def record(
    database: Database, archive: Sequence[Message], outcomes: Sequence[Message]
) -> None:
    async with database.writing() as connection:
        await write(connection, Batch.of(archive, outcomes).rows())


async def everything(database: Database) -> Records:
    async with database.reading() as connection:
        return {
            model.__tablename__: sorted(
                map(tuple, await connection.execute(sa.select(model.__table__))), key=repr
            )
            for model in (Event, Run, Attempt)
        }


async def clear(database: Database) -> None:
    async with database.writing() as connection:
        for model in (Event, Run, Attempt):
            await connection.execute(sa.delete(model))


async def states(database: Database) -> dict[str, str]:
    async with database.reading() as connection:
        return dict((await connection.execute(sa.select(Run.event_id, Run.state))).all())


async def test_any_order_and_any_repetition_come_to_the_same_rows(database: Database) -> None:
    for seed in range(12):
        chosen = random.Random(seed)
        events = [history.event(number) for number in range(40)]
        outcomes = [each for event in events for each in history.story(event, chosen)]
        taken_back = [
            (event.event_id, chosen.choice(["refused", "unknown"])) for event in events[::9]
        ]
        blocks = [archived(offset, events[offset * 4 : offset * 4 + 4]) for offset in range(10)]
        verdicts = archived(10, [], taken_back)
        await clear(database)
        await record(database, [*blocks, verdicts], [told(outcomes)])
        expected = await everything(database)

        await clear(database)
        steps = [([each], []) for each in blocks]
        steps += [([], [told([each])]) for each in (*outcomes, *chosen.choices(outcomes, k=30))]
        chosen.shuffle(steps)
        steps += [([verdicts], []), chosen.choice(steps)]
        while steps:
            some, steps = steps[: (size := chosen.choice([1, 3, 20]))], steps[size:]
            await record(
                database,
                [each for archive, _ in some for each in archive],
                [each for _, ends in some for each in ends],
            )
        assert await everything(database) == expected, f"seed {seed}"


@pytest.mark.parametrize("together", [True, False])
async def test_a_run_is_in_the_state_of_its_last_attempt(
    database: Database, *, together: bool
) -> None:
    runs = {
        "queued": [],
        "running": [(outcome.STARTED, 1)],
        "retrying": [(outcome.STARTED, 1), (outcome.RETRYING, 1)],
        "succeeded": [(outcome.RETRYING, 1), (outcome.STARTED, 2), (outcome.SUCCEEDED, 2)],
        "dead": [(outcome.RETRYING, 1), (outcome.DEAD, 2), (outcome.STARTED, 2)],
        "cancelled": [(outcome.RETRYING, 1), (outcome.CANCELLED, 2)],
    }
    events = {state: history.event() for state in runs}
    outcomes = [
        history.ended(events[state], each, attempt=attempt)
        for state, steps in runs.items()
        for each, attempt in steps
    ]
    blocks = [archived(0, list(events.values()))]
    if together:
        await record(database, blocks, [told(outcomes)])
    else:
        await record(database, blocks, [])
        for each in outcomes:
            await record(database, [], [told([each])])
    assert await states(database) == {event.event_id: state for state, event in events.items()}


async def test_an_event_that_was_taken_back_is_not_queued_unless_it_runs(
    database: Database,
) -> None:
    refused, unknown, ran = (history.event() for _ in range(3))
    await record(database, [archived(0, [refused, unknown, ran])], [])
    verdicts = [
        (refused.event_id, "refused"),
        (unknown.event_id, "unknown"),
        (ran.event_id, "unknown"),
    ]
    await record(database, [archived(1, [], verdicts)], [])
    await record(database, [], [told([history.ended(ran)])])
    assert await states(database) == {
        refused.event_id: "refused",
        unknown.event_id: "unknown",
        ran.event_id: "succeeded",
    }


async def test_an_attempt_that_was_handed_out_twice_is_there_twice(database: Database) -> None:
    event = history.event()
    first = history.ended(event, outcome.STARTED)
    again = history.ended(event, started_at=first.started_at + 1, ended_at=first.started_at + 9)
    await record(
        database, [archived(0, [event])], [told([first, again._replace(redelivered=True)])]
    )
    found = (await everything(database))["attempts"]
    assert [(row[4], row[7]) for row in found] == [("running", False), ("succeeded", True)]


async def test_what_no_database_takes_is_replaced(database: Database) -> None:
    event = history.event(path="/a\udcff", content_type="text/pl\udcffain")
    dead = history.ended(event, outcome.DEAD, error="E: \0 é", traceback="\0", version="\0")
    await record(database, [archived(0, [event])], [told([dead])])
    rows = await everything(database)
    assert rows["events"][0][3:5] == ("/a?", "text/pl?ain")
    assert rows["runs"][0][-1] == "E: \ufffd é"


def test_what_cannot_be_read_is_counted_and_the_rest_is_recorded() -> None:
    good = history.event()
    written = Block("test", 1, 0, 0, (b"\xc1", good.encode(), b"\x80"))
    batch = Batch.of(
        [Message(0, b"no block"), Message(1, written.encode(compress=True))],
        [Message(0, b"none"), told([history.ended(good, "new")]), told([history.ended(good)])],
    )
    assert (batch.bad_events, batch.bad_outcomes) == (3, 2)
    assert [row[0] for row in batch.rows().events] == [good.event_id]
    assert len(batch.rows().attempts) == 1


def test_the_type_of_an_error_is_its_first_word() -> None:
    assert error_type("crm.Unreachable: https://crm.example.org: no route") == "crm.Unreachable"
    assert error_type("KeyError") == "KeyError"
    assert error_type(None) is None
