"""The audit log keeps what was changed, for a time."""

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from turnout.router import models
from turnout.router.audit import AuditRetention
from turnout.router.database import Database
from turnout.router.registry import Registry
from turnout.shared import ids


async def test_what_is_too_old_is_forgotten_step_by_step_and_the_rest_stays(
    database: Database, registry: Registry
) -> None:
    old = datetime.now(UTC) - timedelta(days=31)
    entry = {"at": old, "actor_id": "tok", "actor_name": "x", "object_id": "", "label": ""}
    rows = [
        {**entry, "id": f"{ids.first_of(ids.AUDIT, old)}{number:020x}", "verb": "key.create"}
        for number in range(2500)
    ]
    async with database.writing() as connection:
        await connection.execute(sa.insert(models.AuditEntry), rows)
    await registry.create_group("crm")
    assert await AuditRetention(registry, timedelta(days=32)).sweep() == 0
    assert await AuditRetention(registry, timedelta(days=30)).sweep() == 2500
    assert [each.verb for each in await registry.list_audit()] == ["group.create"]
