"""Cancellations: which queued runs of a flow must not start any more, and why."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from turnout.router import models
from turnout.router.registry.flows import find_flow
from turnout.router.registry.store import Store, now
from turnout.shared.notices import EVERY_RUN

_CANCELLATIONS = (
    select(
        models.Group.slug,
        models.Flow.slug,
        models.Cancellation.run,
        models.Cancellation.reason,
        models.Cancellation.created_at,
    )
    .select_from(models.Cancellation)
    .join(models.Flow)
    .join(models.Group)
    .order_by(models.Cancellation.created_at.desc(), models.Cancellation.run)
)


@dataclass(frozen=True)
class Cancellation:
    """A cancellation as it is registered; `group` and `flow` are the parts of an address."""

    group: str
    flow: str
    run: str
    """The id of a run, or `EVERY_RUN`."""
    reason: str
    created_at: datetime

    @property
    def address(self) -> str:
        """The address of its flow: "group/flow"."""
        return f"{self.group}/{self.flow}"


class Cancellations(Store):
    """The verbs of cancellations."""

    async def cancel(
        self, group: str, flow: str, reason: str, run: str = EVERY_RUN
    ) -> Cancellation:
        """Cancel one run of a flow, or all that are queued now; the latest reason holds.

        Raises:
            NotFound: there is no such flow.
        """
        async with self._changing() as change:
            connection = change.connection
            target = await find_flow(connection, group, flow)
            made = Cancellation(target.group, target.slug, run, reason, now())
            await connection.execute(
                delete(models.Cancellation).where(
                    models.Cancellation.flow_id == target.id, models.Cancellation.run == run
                )
            )
            await connection.execute(
                insert(models.Cancellation).values(
                    flow_id=target.id, run=run, reason=reason, created_at=made.created_at
                )
            )
            await change.note(
                "flow.cancel",
                object_id=target.id,
                label=target.address,
                group=group,
                detail={"run": run, "reason": reason},
            )
        return made

    async def list_cancellations(self, group: str, flow: str) -> list[Cancellation]:
        """Return the cancellations of one flow, newest first.

        Raises:
            NotFound: there is no such flow.
        """
        async with self._database.reading() as connection:
            target = await find_flow(connection, group, flow)
            return await select_cancellations(connection, models.Cancellation.flow_id == target.id)


async def select_cancellations(
    connection: AsyncConnection, *conditions: ColumnElement[bool]
) -> list[Cancellation]:
    """Return the cancellations for which the conditions hold, within a transaction."""
    rows = await connection.execute(_CANCELLATIONS.where(*conditions))
    return [Cancellation(*row) for row in rows]
