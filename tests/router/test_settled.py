"""What operators are done with goes, what they are not stays."""

import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from turnout.router import settled as module
from turnout.router.database import Database, open_database
from turnout.router.letters.models import DeadLetter
from turnout.router.replay.models import Replay
from turnout.router.settled import Settled

_DAY = 86_400 * 1_000_000_000


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(f"sqlite+aiosqlite:///{tmp_path / 'settled.db'}") as database:
        await database.migrate()
        yield database


@pytest.fixture(autouse=True)
def _small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_STEP", 3)


def letter(number: int, state: str, days: int) -> dict[str, Any]:
    """Make a dead letter of 100 bytes that came into a state some days ago."""
    at = time.time_ns() - days * _DAY
    return {
        "id": f"run_{number:032x}",
        "group_slug": "crm",
        "flow_slug": "update",
        "attempt": 1,
        "received_at": at,
        "died_at": at + number,
        "reason": "",
        "error": "",
        "place": "",
        "fingerprint": "0" * 12,
        "body": b"x" * 100,
        "state": state,
        "settled_at": 0 if state == "kept" else at,
        "settled_by": "",
    }


async def left(database: Database) -> list[int]:
    async with database.reading() as connection:
        found = await connection.scalars(sa.select(DeadLetter.id).order_by(DeadLetter.id))
        return [int(each[4:], 16) for each in found]


async def fill(database: Database, *letters: dict[str, Any]) -> None:
    async with database.writing() as connection:
        await connection.execute(sa.insert(DeadLetter), letters)


async def test_settled_dead_letters_go_by_age_and_others_stay(database: Database) -> None:
    await fill(
        database,
        *(letter(number, "replayed", 40) for number in range(7)),
        letter(7, "discarded", 40),
        letter(8, "discarded", 20),
        letter(9, "kept", 400),
    )
    sweep = Settled(database, max_age=timedelta(days=30), max_bytes=10_000)
    assert await sweep.sweep() == 8
    assert await left(database) == [8, 9]
    assert await sweep.sweep() == 0


async def test_the_oldest_settled_dead_letters_go_when_they_are_too_much(
    database: Database,
) -> None:
    await fill(
        database,
        *(letter(number, "replayed", 1) for number in range(10)),
        letter(10, "kept", 1),
    )
    assert await Settled(database, max_age=timedelta(days=30), max_bytes=450).sweep() == 6
    assert await left(database) == [6, 7, 8, 9, 10]


async def test_replays_that_have_ended_go_by_age(database: Database) -> None:
    rows = [
        {
            "id": f"rpl_{number:032x}",
            "created_at": 0,
            "source": "history",
            "selection": "{}",
            "dry_run": False,
            "in_order": False,
            "rate": 0,
            "state": state,
            **dict.fromkeys(
                ("total", "gone", "gone_since", "position", "intent", "skipped", "started_at"), 0
            ),
            "note": "",
            "ended_at": ended_at,
        }
        for number, (state, ended_at) in enumerate(
            [("done", 1), ("aborted", 1), ("done", time.time_ns()), ("running", 0)]
        )
    ]
    async with database.writing() as connection:
        await connection.execute(sa.insert(Replay), rows)
    assert await Settled(database, max_age=timedelta(days=30), max_bytes=0).sweep() == 2
    async with database.reading() as connection:
        states = await connection.scalars(sa.select(Replay.state).order_by(Replay.id))
        assert [*states] == ["done", "running"]
