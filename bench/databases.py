"""The databases of a benchmark: SQLite in a file, PostgreSQL as the tests have it."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support import postgresql

#: How they are called on the command line, and by people.
NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}


@contextmanager
def empty(name: str) -> Iterator[str]:
    """Have an empty database, by its address, for the length of a context."""
    if name == "sqlite":
        with tempfile.TemporaryDirectory(prefix="turnout-bench-") as directory:
            yield f"sqlite+aiosqlite:///{directory}/turnout.db"
    else:
        with postgresql.server() as server, postgresql.database(server) as url:
            yield url
