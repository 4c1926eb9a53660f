"""Stock levels: what was sold, what came in, and what was counted, each in its order.

A count replaces what was there; what is sold before it and told after it would be taken off twice.
So the events of one article run one after the other, `ordered_by` its number, and those of other
articles beside them. A run that is repeated comes before the next one of its article: to know the
last event that an article shows is enough to apply none twice.

The table is in the SQLite file that STOCK_DATABASE names, by default .turnout/stock.db.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from turnout.workers import Context, Event, Reject, flow, lifespan

SCHEMA = """
CREATE TABLE IF NOT EXISTS stock (
    article TEXT    PRIMARY KEY,
    pieces  INTEGER NOT NULL,
    event   TEXT    NOT NULL  -- the last one that is in it
)
"""

UPDATE = """
INSERT INTO stock (article, pieces, event) VALUES (:article, :pieces, :event)
ON CONFLICT (article) DO UPDATE
SET pieces = excluded.pieces + iif(:counted, 0, stock.pieces), event = excluded.event
WHERE stock.event <> excluded.event
"""


@lifespan
def stock() -> Iterator[Path]:
    """Make the table before the first run."""
    path = Path(os.environ.get("STOCK_DATABASE", ".turnout/stock.db"))
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(SCHEMA)
    yield path


@flow("shop/stock", ordered_by="article", partitions=4, retries=5, timeout=30)
def update_stock(event: Event, context: Context) -> int:
    """Apply {"article": "A-7", "sold": 2}, "delivered" or "counted"; return what is there now."""
    change = event.json()
    kind = next((each for each in ("sold", "delivered", "counted") if each in change), None)
    if kind is None or "article" not in change:
        raise Reject("it names no article, or neither sold, delivered nor counted")
    values = {
        "article": change["article"],
        "pieces": -change[kind] if kind == "sold" else change[kind],
        "counted": kind == "counted",
        "event": event.id,
    }
    with closing(sqlite3.connect(context.resources[stock], timeout=10)) as database, database:
        if context.is_abandoned:  # the next event of this article may have begun elsewhere
            raise RuntimeError("the connection to the broker is lost")
        database.execute(UPDATE, values)
        (pieces,) = database.execute(
            "SELECT pieces FROM stock WHERE article = ?", [change["article"]]
        ).fetchone()
    context.logger.info("stock is updated", article=change["article"], pieces=pieces)
    return int(pieces)
