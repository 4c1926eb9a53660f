"""Writing rows that may be there already."""

import hashlib
from collections.abc import Sequence
from typing import Any

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from turnout.router.models import Base


def raw_id(body: bytes) -> str:
    """Identify what is no envelope by its bytes: the same once more has the same id."""
    return "raw_" + hashlib.sha256(body).hexdigest()[:32]


async def upsert(
    connection: AsyncConnection,
    model: type[Base],
    rows: Sequence[dict[str, Any]],
    *,
    updated: Sequence[str] = (),
) -> None:
    """Insert rows; of one whose id is there already, only some columns are updated."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    insert = dialect.insert(model)
    if updated:
        new = {name: insert.excluded[name] for name in updated}
        insert = insert.on_conflict_do_update(index_elements=["id"], set_=new)
    else:
        insert = insert.on_conflict_do_nothing()
    await connection.execute(insert, rows)
