"""Unrouted events: parked when their binding was missing, published again once it exists.

An event leaves the table when the broker has confirmed it. If its binding went away in that moment,
the broker has it in `turnout.unrouted` again: then its row has another `parked_at`, before it would
be deleted or after, and stays.
"""

import asyncio
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from turnout.router.database import Database, DatabaseUnavailable
from turnout.router.history import states
from turnout.router.history.erasure import erased
from turnout.router.history.models import Run
from turnout.router.letters.models import Unrouted
from turnout.router.letters.write import raw_id, upsert
from turnout.shared import envelope, log, names
from turnout.shared.amqp import Delivery
from turnout.shared.envelope import Envelope
from turnout.shared.errors import InvalidEnvelope
from turnout.shared.publisher import Publisher, Verdict

logger = log.get(__name__)

#: Seconds between two looks, and events that are published at once.
_INTERVAL = 1.0
_BATCH = 100


_DELETE = sa.delete(Unrouted).where(
    Unrouted.id == sa.bindparam("id_"), Unrouted.parked_at == sa.bindparam("parked_at_")
)


class Bindings(Protocol):
    """Knows which bindings exist."""

    @property
    def routes(self) -> Collection[str]:
        """The routing keys whose queue and binding existed at the last look at the broker."""


@dataclass(frozen=True)
class Parked:
    """Events that wait for one binding."""

    group: str
    flow: str
    trigger_id: str | None
    routing_key: str
    count: int
    first: int
    """When the oldest was parked."""


class UnroutedEvents:
    """The verbs of unrouted events.

    Args:
        database: where they are kept.
        bindings: tells what can be published again.
        publisher: publishes it.
    """

    def __init__(self, database: Database, bindings: Bindings, publisher: Publisher) -> None:
        self._database = database
        self._bindings = bindings
        self._publisher = publisher

    async def keep(self, deliveries: Sequence[Delivery]) -> None:
        """Keep what came from `turnout.unrouted`.

        Raises:
            DatabaseUnavailable: they are not kept.
        """
        rows = [_row(each) for each in deliveries]
        async with self._database.writing() as connection:
            gone = await erased(connection, (row["event_id"] for row in rows))
            rows = [row for row in rows if row["event_id"] not in gone]
            if rows:
                await upsert(connection, Unrouted, rows, updated=["parked_at"])
        for routing_key in {row["routing_key"] for row in rows}:
            logger.error(
                "events have no route: they are parked until their binding exists",
                route=names.redact(routing_key),
                events=sum(row["routing_key"] == routing_key for row in rows),
            )

    async def parked(self) -> list[Parked]:
        """Count what is parked, by where it was to go."""
        table = Unrouted
        columns = (table.group_slug, table.flow_slug, table.trigger_id, table.routing_key)
        query = (
            sa.select(*columns, sa.func.count(), sa.func.min(table.parked_at))
            .group_by(*columns)
            .order_by(*columns)
        )
        async with self._database.reading() as connection:
            return [Parked(*row) for row in await connection.execute(query)]

    async def run(self) -> None:
        """Publish again what has a route, for ever."""
        while True:
            try:
                moved = await self._publish_some()
            except DatabaseUnavailable as error:
                logger.warning("unrouted events wait", reason=str(error))
                moved = 0
            if moved < _BATCH:
                await asyncio.sleep(_INTERVAL)

    async def _publish_some(self) -> int:
        """Publish some events whose binding exists; return how many are in their queue now."""
        async with self._database.reading() as connection:
            wanted = (await connection.scalars(sa.select(Unrouted.routing_key).distinct())).all()
        live = [each for each in wanted if each in self._bindings.routes]
        if not live:
            return 0
        query = (
            sa.select(Unrouted.id, Unrouted.parked_at, Unrouted.routing_key, Unrouted.body)
            .where(Unrouted.routing_key.in_(live))
            .order_by(Unrouted.parked_at)
            .limit(_BATCH)
        )
        async with self._database.reading() as connection:
            rows = (await connection.execute(query)).all()
        confirms = await asyncio.gather(
            *(
                self._publisher.publish(names.TRIGGERS, key, body, kind=envelope.TYPE)
                for _, _, key, body in rows
            )
        )
        moved = [
            {"id_": row.id, "parked_at_": row.parked_at}
            for row, confirm in zip(rows, confirms, strict=True)
            if confirm.verdict is Verdict.ACCEPTED
        ]
        if moved:
            async with self._database.writing() as connection:
                await connection.execute(_DELETE, moved)
            logger.info("unrouted events have a route again", events=len(moved))
        return len(moved)


async def drop(connection: AsyncConnection, event_id: str) -> None:
    """Delete what waits for a route of an event, within a transaction; those runs are cancelled."""
    waiting = sa.select(Unrouted.id).where(Unrouted.event_id == event_id)
    progress = states.progress(states.CANCELLED)
    await connection.execute(
        sa.update(Run)
        .where(Run.id.in_(waiting), Run.progress < progress)
        .values(state=states.CANCELLED, progress=progress)
    )
    await connection.execute(sa.delete(Unrouted).where(Unrouted.event_id == event_id))


def _row(delivery: Delivery) -> dict[str, Any]:
    row = {
        "routing_key": delivery.routing_key,
        "parked_at": time.time_ns(),
        "body": delivery.body,
    }
    try:
        event = Envelope.decode(delivery.body)
    except InvalidEnvelope:
        return row | {
            "id": raw_id(delivery.body),
            "event_id": None,
            "group_slug": "",
            "flow_slug": "",
            "trigger_id": None,
            "received_at": 0,
        }
    return row | {
        "id": event.run_id,
        "event_id": event.event_id,
        "group_slug": event.group,
        "flow_slug": event.flow,
        "trigger_id": event.trigger_id,
        "received_at": event.received_at,
    }
