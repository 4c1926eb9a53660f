"""Cancellations: which queued runs of a flow must not start any more, and why.

That of a single run is forgotten an hour after the run has ended, when no copy of it can be under
way any more; and one of a run that the history does not have, after 30 days.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, delete, insert, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from turnout.router import models
from turnout.router.database import touch
from turnout.router.history import states
from turnout.router.history.models import Run
from turnout.router.registry.errors import NotFound, WrongState
from turnout.router.registry.flows import find_flow
from turnout.router.registry.store import Store, now
from turnout.shared.notices import EVERY_RUN

_KEPT_AFTER_THE_END = timedelta(hours=1)
_KEPT_WITHOUT_A_RUN = timedelta(days=30)
_MOST_AT_ONCE = 1000

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

    async def cancel_run(self, run_id: str, reason: str) -> Cancellation:
        """Cancel one run, of the flow that the history knows.

        Raises:
            NotFound: the history does not have it, or not yet.
            WrongState: it has ended.
        """
        async with self._database.reading() as connection:
            rows = await connection.execute(
                select(Run.group_slug, Run.flow_slug, Run.state).where(Run.id == run_id)
            )
        run = rows.one_or_none()
        if run is None:
            raise NotFound("run", run_id)
        if run.state not in states.OPEN:
            raise WrongState(f"{run_id} has ended: it is {run.state}")
        return await self.cancel(run.group_slug, run.flow_slug, reason, run_id)

    async def forget_cancellations(self) -> int:
        """Forget those of single runs that have ended; return how many that were."""
        moment = now()
        ended_before = int((moment - _KEPT_AFTER_THE_END).timestamp() * 1e9)
        identity = (models.Cancellation.flow_id, models.Cancellation.run)
        has_ended = Run.state.not_in(states.OPEN) & (Run.ended_at < ended_before)
        is_unknown = Run.id.is_(None) & (
            models.Cancellation.created_at < moment - _KEPT_WITHOUT_A_RUN
        )
        async with self._database.reading() as connection:
            rows = await connection.execute(
                select(*identity)
                .outerjoin(Run, Run.id == models.Cancellation.run)
                .where(models.Cancellation.run != EVERY_RUN, has_ended | is_unknown)
                .limit(_MOST_AT_ONCE)
            )
        found = [tuple(row) for row in rows]
        if found:
            async with self._database.writing() as connection:
                await connection.execute(
                    delete(models.Cancellation).where(tuple_(*identity).in_(found))
                )
                touch(connection)
        return len(found)

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
