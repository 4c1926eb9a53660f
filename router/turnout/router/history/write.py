"""Write: rows of the history into the database, so that writing them again changes nothing.

Statements are made once and executed for many rows each, past SQLAlchemy's own handling of rows:
that would cost more than the database does.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.ext.asyncio import AsyncConnection

from turnout.router.history import states
from turnout.router.history.fold import ERROR, Rows
from turnout.router.history.models import Attempt, Event, Run
from turnout.router.models import Base
from turnout.shared.envelope import Envelope

#: What outcomes tell of a run, and what its event tells.
_PROGRESS = ("state", "attempt", "progress", "started_at", "ended_at", "error_type", "error")
_ORIGIN = ("trigger_id", "key_id", "kind", "origin", "replay")


async def write(connection: AsyncConnection, rows: Rows) -> None:
    """Write rows, within a transaction."""
    for make, some in (
        (_events, rows.events),
        (_runs, rows.runs),
        (_progressed, rows.progressed),
        (_retracted, rows.retracted),
        (_attempts, rows.attempts),
    ):
        if some:
            await connection.exec_driver_sql(
                _text(make, connection.dialect), list(map(tuple, some))
            )


async def move(connection: AsyncConnection, runs: Sequence[Envelope], note: str) -> None:
    """Write, within a transaction, that queued runs belong to the flow that they name now."""
    rows = [(*queued(each)[:ERROR], note) for each in runs]
    await connection.exec_driver_sql(_text(_moved, connection.dialect), rows)


def queued(run: Envelope) -> list[Any]:
    """Return the row of `runs` of a run that waits in a queue."""
    return [
        run.run_id,
        run.event_id,
        run.group,
        run.flow,
        run.trigger_id,
        run.key_id,
        run.kind,
        run.origin,
        run.replay,
        states.QUEUED,
        *(0, 0, 0, 0),
        None,
        None,
    ]


def _events(dialect: str) -> Any:
    """An event never changes; one that is in the archive twice is where it was first."""
    return _insert(dialect, Event).on_conflict_do_nothing(index_elements=["id"])


def _runs(dialect: str) -> Any:
    """A run whose event was read: outcomes may have been read before."""
    statement = _insert(dialect, Run)
    new, old = statement.excluded, Run.__table__.c
    newer = _newer(new)
    return statement.on_conflict_do_update(
        index_elements=["id"],
        set_={name: sa.func.coalesce(old[name], new[name]) for name in _ORIGIN}
        | {name: sa.case((newer, new[name]), else_=old[name]) for name in _PROGRESS},
        where=sa.or_(old.kind.is_(None), newer),
    )


def _progressed(dialect: str) -> Any:
    """A run of which outcomes were read: its event may come later."""
    statement = _insert(dialect, Run)
    return statement.on_conflict_do_update(
        index_elements=["id"],
        set_={name: statement.excluded[name] for name in _PROGRESS},
        where=_newer(statement.excluded),
    )


def _moved(dialect: str) -> Any:
    """A run that waits for another flow: its event may come later, and changes nothing of that."""
    statement = _insert(dialect, Run)
    new = statement.excluded
    return statement.on_conflict_do_update(
        index_elements=["id"],
        set_={"group_slug": new.group_slug, "flow_slug": new.flow_slug, "error": new.error},
        where=sa.or_(*(Run.state == sa.literal_column(f"'{each}'") for each in states.OPEN)),
    )


def _retracted(_: str) -> Any:
    """A run whose event ingress took back: if it has begun all the same, nothing changes."""
    return (
        sa.update(Run)
        .values(state=sa.bindparam("state_"), progress=sa.bindparam("progress_"))
        .where(Run.id == sa.bindparam("id_"), Run.progress < sa.bindparam("most_"))
    )


def _attempts(dialect: str) -> Any:
    """An attempt: its end is read after its beginning, or before."""
    statement = _insert(dialect, Attempt)
    keys = ["run_id", "number", "started_at"]
    new = statement.excluded
    return statement.on_conflict_do_update(
        index_elements=keys,
        set_={each.name: new[each.name] for each in Attempt.__table__.c if each.name not in keys},
        where=new.ended_at > Attempt.ended_at,
    )


def _newer(new: Any) -> sa.ColumnElement[bool]:
    """Tell whether what is inserted is later in the order of `states` than what is there."""
    return sa.tuple_(new.progress, new.started_at, new.ended_at) > sa.tuple_(
        Run.progress, Run.started_at, Run.ended_at
    )


def _insert(dialect: str, model: type[Base]) -> Any:
    return (postgresql if dialect == "postgresql" else sqlite).insert(model)


@cache
def _text(make: Any, dialect: Dialect) -> str:
    """Return a statement in the words of the driver; its parameters are in the order of a row."""
    return str(make(dialect.name).compile(dialect=dialect))
