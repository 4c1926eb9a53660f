"""Owners: to which group something belongs, from its id alone."""

from sqlalchemy import Select, select
from sqlalchemy.orm import InstrumentedAttribute

from turnout.router import models
from turnout.router.registry.store import Store
from turnout.shared import ids

#: For each prefix of an id, what finds the slug of the group. What has none here is of no group,
#: so that a token limited to some does not see it.
_OWNERS: dict[str, tuple[Select[str], InstrumentedAttribute[str]]] = {
    ids.KEY: (select(models.Group.slug).join(models.ApiKey), models.ApiKey.id),
    ids.TRIGGER: (
        select(models.Group.slug).join(models.Flow).join(models.Trigger),
        models.Trigger.id,
    ),
}


class Owners(Store):
    """The look-up of owners."""

    async def owner(self, identifier: str) -> str | None:
        """Return the slug of the group to which an id belongs; None: to none, or it is unknown."""
        found = _OWNERS.get(identifier.partition("_")[0])
        if found is None:
            return None
        statement, column = found
        async with self._database.reading() as connection:
            rows = await connection.execute(statement.where(column == identifier))
            return rows.scalar_one_or_none()
