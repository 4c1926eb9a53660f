"""Dead letters: kept, listed, grouped by what went wrong, discarded. A replay settles them too."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from turnout.router.database import Database
from turnout.router.history.erasure import erased
from turnout.router.history.fold import Batch
from turnout.router.history.stream import Message
from turnout.router.history.write import write
from turnout.router.letters.fingerprint import fingerprint
from turnout.router.letters.models import DeadLetter
from turnout.router.letters.write import raw_id, upsert
from turnout.router.registry import Actor, NotFound, changing
from turnout.shared import log, names, outcome
from turnout.shared.amqp import Delivery, properties_of
from turnout.shared.envelope import Envelope
from turnout.shared.errors import InvalidEnvelope
from turnout.shared.outcome import Outcome

logger = log.get(__name__)

KEPT = "kept"
REPLAYED = "replayed"
DISCARDED = "discarded"

#: Stands where the worker does that has ended a run.
_BROKER = "RabbitMQ"

#: Instead of what it told of its event, and what became of it, once that is erased.
_EMPTY = {"body": b"", "error": "", "place": "", "settled_by": "the event is erased"}

#: What a listing shows: everything but the payload.
_SHOWN = [each for each in DeadLetter.__table__.c if each.name != "body"]


class Wanted(NamedTuple):
    """Which dead letters are meant; None: any."""

    ids: Sequence[str] | None = None
    groups: Sequence[str] | None = None
    """Slugs of the groups that are looked at."""
    group: str | None = None
    flow: str | None = None
    """Slug of the flow."""
    fingerprint: str | None = None
    state: str | None = KEPT

    @property
    def address(self) -> str | None:
        """Of the flow that all of them are of: "group/flow"."""
        return None if self.flow is None else f"{self.group}/{self.flow}"

    def conditions(self) -> list[sa.ColumnElement[bool]]:
        """Return what holds for them."""
        table = DeadLetter.__table__.c
        return [
            column == value
            for column, value in (
                (table.group_slug, self.group),
                (table.flow_slug, self.flow),
                (table.fingerprint, self.fingerprint),
                (table.state, self.state),
            )
            if value is not None
        ] + [
            column.in_(values)
            for column, values in ((table.id, self.ids), (table.group_slug, self.groups))
            if values is not None
        ]

    def told(self) -> dict[str, Any]:
        """Return what was asked for, for people."""
        return {name: value for name, value in self._asdict().items() if value is not None}


@dataclass(frozen=True)
class Group:
    """Dead letters that look alike."""

    fingerprint: str
    group: str
    flow: str
    count: int
    first: int
    last: int
    error: str
    """Of one of them."""
    place: str
    reason: str


class DeadLetters:
    """The verbs of dead letters.

    Args:
        database: where they are kept.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep(self, deliveries: Sequence[Delivery]) -> None:
        """Keep what came from `turnout.dead`.

        Raises:
            DatabaseUnavailable: they are not kept.
        """
        rows = [_row(each) for each in deliveries]
        async with self._database.writing() as connection:
            gone = await erased(connection, (row["event_id"] for row in rows))
            for row in rows:
                if row["event_id"] in gone:
                    row.update(_EMPTY, state=DISCARDED, settled_at=row["died_at"])
            await upsert(connection, DeadLetter, rows)
            if ended := [end for each in deliveries if (end := _end_by_broker(each))]:
                history = Batch.of((), [Message(0, outcome.encode(ended))])
                await write(connection, history.rows())
        for row in rows:
            logger.warning(
                "dead letter",
                id=row["id"],
                flow=f"{row['group_slug']}/{row['flow_slug']}",
                reason=row["reason"],
                error=row["error"],
            )

    async def newest(
        self, wanted: Wanted, *, limit: int, before: tuple[int, str] | None
    ) -> list[Any]:
        """Return the newest, without their payloads; `before` is a `died_at`, and its id."""
        query = sa.select(*_SHOWN).where(*wanted.conditions())
        if before is not None:
            there = sa.tuple_(*map(sa.literal, before))
            query = query.where(sa.tuple_(DeadLetter.died_at, DeadLetter.id) < there)
        query = query.order_by(DeadLetter.died_at.desc(), DeadLetter.id.desc()).limit(limit)
        async with self._database.reading() as connection:
            return list(await connection.execute(query))

    async def groups(self, wanted: Wanted) -> list[Group]:
        """Count those that look alike, the most frequent first."""
        table = DeadLetter
        query = (
            sa.select(
                table.fingerprint,
                table.group_slug,
                table.flow_slug,
                sa.func.count().label("count"),
                sa.func.min(table.died_at),
                sa.func.max(table.died_at),
                sa.func.max(table.error),
                sa.func.max(table.place),
                sa.func.max(table.reason),
            )
            .where(*wanted.conditions())
            .group_by(table.fingerprint, table.group_slug, table.flow_slug)
            .order_by(sa.desc("count"))
        )
        async with self._database.reading() as connection:
            return [Group(*row) for row in await connection.execute(query)]

    async def show(self, letter_id: str) -> Any:
        """Return one, with its payload.

        Raises:
            NotFound: there is none with this id.
        """
        query = sa.select(*DeadLetter.__table__.c).where(DeadLetter.id == letter_id)
        async with self._database.reading() as connection:
            found = (await connection.execute(query)).one_or_none()
        if found is None:
            raise NotFound("dead letter", letter_id)
        return found

    async def discard(self, wanted: Wanted, reason: str, actor: Actor) -> int:
        """Discard those that are kept, and tell how many that were."""
        table = DeadLetter
        query = (
            sa.select(table.group_slug, sa.func.count())
            .where(*wanted.conditions(), table.state == KEPT)
            .group_by(table.group_slug)
        )
        async with changing(self._database, actor) as change:
            found: list[tuple[str | None, int]]
            found = [(row[0], row[1]) for row in await change.connection.execute(query)]
            count = await settle(change.connection, wanted, DISCARDED, reason)
            for group, number in found or [(wanted.group, 0)]:  # each group sees its own
                detail = {**wanted.told(), "ids": (wanted.ids or [])[:100], "count": number}
                await change.note("dead.discard", group=group, detail=detail)
        return count


async def settle(connection: AsyncConnection, wanted: Wanted, state: str, by: str) -> int:
    """Note what became of dead letters that were kept, within a transaction."""
    done = await connection.execute(
        sa.update(DeadLetter)
        .where(*wanted.conditions(), DeadLetter.state == KEPT)
        .values(state=state, settled_at=time.time_ns(), settled_by=by)
    )
    return done.rowcount


async def empty(connection: AsyncConnection, event_id: str) -> None:
    """Delete what dead letters tell of an event, within a transaction; none is kept any more."""
    letters = sa.update(DeadLetter).where(DeadLetter.event_id == event_id)
    await connection.execute(
        letters.where(DeadLetter.state == KEPT).values(state=DISCARDED, settled_at=time.time_ns())
    )
    await connection.execute(letters.values(_EMPTY))


def _row(delivery: Delivery) -> dict[str, Any]:
    headers: dict[str, Any] = properties_of(delivery).headers or {}
    reason = headers.get("turnout-reason") or _reason_of_broker(headers)
    error, place = headers.get("turnout-error", ""), headers.get("turnout-place", "")
    row = {
        "reason": reason,
        "error": error,
        "place": place,
        "fingerprint": fingerprint(reason, error, place),
        "body": delivery.body,
        "died_at": time.time_ns(),
        "state": KEPT,
        "settled_at": 0,
        "settled_by": "",
    }
    try:
        envelope = Envelope.decode(delivery.body)
    except InvalidEnvelope:
        group, _, flow = (names.flow_of(delivery.routing_key) or "").partition("/")
        return row | {
            "id": raw_id(delivery.body),
            "event_id": None,
            "group_slug": group,
            "flow_slug": flow,
            "trigger_id": None,
            "key_id": None,
            "kind": None,
            "attempt": 0,
            "received_at": 0,
        }
    return row | {
        "id": envelope.run_id,
        "event_id": envelope.event_id,
        "group_slug": envelope.group,
        "flow_slug": envelope.flow,
        "trigger_id": envelope.trigger_id,
        "key_id": envelope.key_id,
        "kind": envelope.kind,
        "attempt": envelope.attempt,
        "received_at": envelope.received_at,
    }


def _end_by_broker(delivery: Delivery) -> Outcome | None:
    """Return the outcome of a run that RabbitMQ has put aside: no worker lived to tell it."""
    headers: dict[str, Any] = properties_of(delivery).headers or {}
    deaths = headers.get("x-death")
    if "turnout-reason" in headers or not deaths:
        return None
    try:
        envelope = Envelope.decode(delivery.body)
    except InvalidEnvelope:
        return None
    moment = int(deaths[0]["time"].timestamp() * 1e9)
    return Outcome(
        state=outcome.DEAD,
        event_id=envelope.event_id,
        run_id=envelope.run_id,
        attempt=envelope.attempt,
        group=envelope.group,
        flow=envelope.flow,
        worker_id=_BROKER,
        started_at=moment,
        ended_at=moment,
        redelivered=True,
        error=f"WorkerLost: {_reason_of_broker(headers)}",
    )


def _reason_of_broker(headers: dict[str, Any]) -> str:
    """Say why RabbitMQ itself has put a message into `turnout.dead`."""
    deaths = headers.get("x-death") or [{}]
    why = deaths[0].get("reason", "unknown")
    if why == "delivery_limit":
        return "it ended its worker, or was given back, again and again (delivery limit)"
    return f"RabbitMQ put it aside ({why})"
