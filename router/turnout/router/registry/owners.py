"""Owners: to which group something belongs, from its id alone."""

from sqlalchemy import Select, select
from sqlalchemy.orm import InstrumentedAttribute

from turnout.router import models
from turnout.router.history.models import Run
from turnout.router.letters.models import DeadLetter
from turnout.router.registry.store import Store
from turnout.router.replay.models import Replay
from turnout.shared import ids

#: For each noun, what finds the slug of the group. What is not here is of no group, so that a token
#: limited to some does not see it.
_OWNERS: dict[str, tuple[Select[str | None], InstrumentedAttribute[str]]] = {
    "key": (select(models.Group.slug).join(models.ApiKey), models.ApiKey.id),
    "trigger": (
        select(models.Group.slug).join(models.Flow).join(models.Trigger),
        models.Trigger.id,
    ),
    "event": (select(Run.group_slug), Run.id),
    "run": (select(Run.group_slug), Run.id),
    "dead letter": (select(DeadLetter.group_slug), DeadLetter.id),
    "replay": (select(Replay.group_slug), Replay.id),
}


class Owners(Store):
    """The look-up of owners."""

    async def owner(self, noun: str, identifier: str) -> str | None:
        """Return the slug of the group to which something belongs.

        Args:
            noun: what it is, as errors call it.
            identifier: its id.

        Returns:
            None: it is of none, or unknown.
        """
        found = _OWNERS.get(noun)
        if found is None:
            return None
        if noun == "event":
            identifier = ids.same_uuid(identifier, ids.RUN)  # its first run
        statement, column = found
        async with self._database.reading() as connection:
            rows = await connection.execute(statement.where(column == identifier))
            return rows.scalar_one_or_none()
