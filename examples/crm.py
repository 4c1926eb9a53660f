"""Update Lead Status: deals that move in the CRM move in our own table of leads.

HubSpot posts changes in batches, without order, and again when it was not answered in time:
https://developers.hubspot.com/docs/api/webhooks. Runs can be repeated too. So the table remembers
which change it shows, and only takes newer ones: any batch may come again, late, or both.

The table is in the SQLite file that LEADS_DATABASE names, by default .turnout/leads.db.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from turnout.workers import Context, Event, Reject, flow, lifespan

SCHEMA = """
CREATE TABLE IF NOT EXISTS leads (
    deal_id    INTEGER PRIMARY KEY,
    status     TEXT    NOT NULL,
    changed_at INTEGER NOT NULL,  -- milliseconds since the Unix epoch
    change_id  INTEGER NOT NULL   -- decides between changes of the same millisecond
)
"""

UPDATE = """
INSERT INTO leads (deal_id, status, changed_at, change_id)
VALUES (:objectId, :propertyValue, :occurredAt, :eventId)
ON CONFLICT (deal_id) DO UPDATE
SET status = excluded.status, changed_at = excluded.changed_at, change_id = excluded.change_id
WHERE (excluded.changed_at, excluded.change_id) > (leads.changed_at, leads.change_id)
"""


@lifespan
def leads() -> Iterator[Path]:
    """Make the table before the first run."""
    path = Path(os.environ.get("LEADS_DATABASE", ".turnout/leads.db"))
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(SCHEMA)
    yield path


@flow("crm/update-lead-status", retries=5, timeout=30)
def update_lead_status(event: Event, context: Context) -> dict[str, int]:
    """Apply a batch of changes, all or none; a plain function, because SQLite makes it wait."""
    batch = event.json()
    if not isinstance(batch, list):
        raise Reject("HubSpot sends a list of changes; this is something else")
    changes = [change for change in batch if is_stage(change)]
    path = context.resources[leads]
    with closing(sqlite3.connect(path, timeout=10)) as database, database:
        updated = sum(database.execute(UPDATE, change).rowcount for change in changes)
    context.logger.info("batch is applied", changes=len(changes), news=updated)
    return {"changes": len(changes), "updated": updated}


def is_stage(change: dict[str, Any]) -> bool:
    """Tell whether a deal moved to another stage; a subscription may bring other changes too."""
    kind = (change["subscriptionType"], change["propertyName"])
    return kind == ("deal.propertyChange", "dealstage")
