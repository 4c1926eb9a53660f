"""The SQL database: how it is opened, read, written and brought to the newest schema.

SQLite (a file, in WAL mode) or PostgreSQL, by URL. Nothing outside the router opens it.
"""

import asyncio
import functools
import importlib.util
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import (
    URL,
    Connection,
    Executable,
    UpdateBase,
    event,
    insert,
    make_url,
    text,
    update,
)
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    InterfaceError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.util.concurrency import await_

from turnout.router.models import Base, Revision
from turnout.shared.errors import TurnoutError

_SQLITE = "sqlite+aiosqlite"
_POSTGRESQL = "postgresql+asyncpg"

#: Seconds that a writer of SQLite waits for another one.
_BUSY_TIMEOUT = 5
#: Of each connection to SQLite: KiB of pages that it remembers, and pages of 4 KiB in the log ahead
#: until they go into the file: one that is written again and again goes there once.
_PRAGMAS = ("cache_size=-16384", "wal_autocheckpoint=4096")
#: Seconds until PostgreSQL has to accept a connection, and to answer a statement.
_CONNECT_TIMEOUT = 5
_STATEMENT_TIMEOUT = 10
#: SQLSTATE classes: connection lost, too few resources, shutting down or starting up.
#: https://www.postgresql.org/docs/current/errcodes-appendix.html
_NOT_NOW = ("08", "53", "57")
#: Any number that no other program uses in the same database: "turnout" in hex.
_MIGRATION_LOCK = 0x7475726E6F7574
_CHANGE_LOCK = _MIGRATION_LOCK + 1
_LOCK = text("SELECT pg_advisory_xact_lock(:lock)")
_COMMIT_LATER = text("SET LOCAL synchronous_commit = off")

#: Seconds after which PostgreSQL ends the transaction of a process that does nothing: one that is
#: stopped must not keep another router from taking over.
_IDLE_TIMEOUT = 5
#: Of a connection: whether its transaction has changed the registry.
_CHANGED = "turnout-registry-changed"
#: Of a connection: the ids of what it has changed there; None: it has not said.
_TOUCHED = "turnout-registry-touched"
#: Rows that are inserted by one statement.
_TOGETHER = 1000
#: Revisions of which it is known what they changed.
_REVISIONS = 1000

MIGRATIONS = Path(__file__).parent / "migrations"

#: Raises an error if the transaction must not write.
Fence = Callable[[AsyncConnection], Awaitable[None]]


class DatabaseUnavailable(TurnoutError):
    """The database does not answer."""


class UnknownSchema(TurnoutError):
    """The database cannot be brought to the schema of this version."""


def parse_url(url: str) -> URL:
    """Check the address of a database.

    Raises:
        ValueError: it is none that Turnout can use; the text does not repeat the address, which
            may hold a password.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise ValueError("the address of the database cannot be read") from None
    if parsed.drivername not in {_SQLITE, _POSTGRESQL}:
        raise ValueError(f"the address starts with {_SQLITE}:/// or {_POSTGRESQL}://")
    if parsed.drivername == _SQLITE and parsed.database in {None, "", ":memory:"}:
        raise ValueError(f"the address names no file: {_SQLITE}:///turnout.db")
    if parsed.drivername == _POSTGRESQL and importlib.util.find_spec("asyncpg") is None:
        raise ValueError("PostgreSQL needs one more package: pip install 'turnout[postgres]'")
    return parsed


@asynccontextmanager
async def open_database(url: str) -> AsyncIterator["Database"]:
    """Open the database for as long as the context lasts; nothing is connected yet.

    Args:
        url: `sqlite+aiosqlite:///file` or `postgresql+asyncpg://user:password@host:port/name`.

    Raises:
        DatabaseUnavailable: the file cannot be created.
        ValueError: the address is none that Turnout can use.
    """
    parsed = parse_url(url)
    engine = _engine(parsed)
    try:
        yield Database(parsed, engine)
    finally:
        await engine.dispose()


class Database:
    """An open database. What is read in one context belongs to one state of it.

    Attributes:
        fence: checks, in each transaction that writes, whether it may; None: all may.
    """

    def __init__(self, url: URL, engine: AsyncEngine) -> None:
        self.fence: Fence | None = None
        self._alone = False
        self._url = url
        self._touched: dict[int, frozenset[str]] = {}
        self._turn = asyncio.Lock()
        if url.drivername == _SQLITE:
            self._readers = engine
            # A transaction that reads first and writes then would fail at once, without waiting,
            # when somebody else has written in between.
            self._writers = engine.execution_options(
                sqlite_begin=("PRAGMA synchronous=FULL", "BEGIN IMMEDIATE")
            )
            self._later = engine.execution_options(
                sqlite_begin=("PRAGMA synchronous=NORMAL", "BEGIN IMMEDIATE")
            )
        else:
            self._readers = engine.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
            self._writers = self._later = engine

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Read in one transaction.

        Raises:
            DatabaseUnavailable: the database does not answer.
        """
        with _unavailability():
            async with self._readers.begin() as connection:
                yield connection

    @asynccontextmanager
    async def writing(
        self, *, fenced: bool = True, durable: bool = True
    ) -> AsyncIterator[AsyncConnection]:
        """Write in one transaction, committed when the context ends without an error.

        A change of the registry moves its revision in the same transaction.

        Args:
            fenced: whether the fence, if there is one, is asked first.
            durable: whether it has to be on the disk by then. If not, a power cut may undo the
                whole transaction: for what can be written again from elsewhere.

        Raises:
            DatabaseUnavailable: the database does not answer; nothing was written, or it is not
                known whether all was.
        """
        engine = self._writers if durable else self._later
        with _unavailability():
            async with self._in_turn(), engine.begin() as connection:
                if not durable and self._url.drivername == _POSTGRESQL:
                    await connection.execute(_COMMIT_LATER)
                if fenced and self.fence is not None:
                    await self.fence(connection)
                    self._alone = self._url.drivername == _SQLITE
                connection.info.update({_CHANGED: False, _TOUCHED: None})
                yield connection
                touched = connection.info[_TOUCHED]
                revision = None
                if connection.info[_CHANGED]:
                    moved = update(Revision).values(number=Revision.number + 1)
                    revision = await connection.scalar(moved.returning(Revision.number))
            if revision is not None and touched is not None:
                self._touched[revision] = frozenset(touched)
                self._touched.pop(revision - _REVISIONS, None)

    @asynccontextmanager
    async def _in_turn(self) -> AsyncIterator[None]:
        """Write after those of this process who came first, where one writes at a time.

        SQLite itself would have them look again after pauses of up to 100 ms, in any order.
        """
        if self._url.drivername != _SQLITE:
            yield
            return
        async with asyncio.timeout(_BUSY_TIMEOUT):
            await self._turn.acquire()
        try:
            yield
        finally:
            self._alone = False
            self._turn.release()

    @asynccontextmanager
    async def changing(self) -> AsyncIterator[AsyncConnection]:
        """Write in one transaction, like `writing`, while nobody else is in one of these.

        On SQLite no two transactions write at a time in any case. Here PostgreSQL does likewise:
        what a change found when it looked is still so when it writes.

        Raises:
            DatabaseUnavailable: as `writing`.
        """
        async with self.writing() as connection:
            if self._url.drivername == _POSTGRESQL:
                await connection.execute(_LOCK, {"lock": _CHANGE_LOCK})
            yield connection

    def touched(self, after: int, until: int) -> frozenset[str] | None:
        """Return the ids of what was changed in the registry between two revisions.

        None: it is not known, as with changes that another process made.
        """
        revisions = range(after + 1, until + 1)
        if not all(each in self._touched for each in revisions):
            return None
        return frozenset().union(*(self._touched[each] for each in revisions))

    def writes_alone(self) -> bool:
        """Tell whether a transaction that passed the fence keeps other processes from writing.

        That never is so on PostgreSQL.
        """
        return self._alone

    async def ping(self) -> None:
        """Ask the database for a sign of life.

        Raises:
            DatabaseUnavailable: there is none.
        """
        async with self.reading() as connection:
            await connection.execute(text("SELECT 1"))

    async def migrate(self) -> None:
        """Bring the schema to the newest version, in one transaction; safe to repeat.

        Routers that start at the same time migrate one after the other.

        Raises:
            DatabaseUnavailable: the database does not answer.
            UnknownSchema: a newer version of Turnout has been here.
        """
        # An engine of its own: a migration may rebuild a table, which on SQLite would delete the
        # rows that refer to it, were foreign keys enforced.
        engine = _engine(self._url, foreign_keys=False)
        try:
            with _unavailability():
                async with engine.execution_options(
                    sqlite_begin=("BEGIN IMMEDIATE",)
                ).begin() as connection:
                    if self._url.drivername == _POSTGRESQL:
                        await connection.execute(_LOCK, {"lock": _MIGRATION_LOCK})
                    await connection.run_sync(_upgrade)
        finally:
            await engine.dispose()


async def insert_all(
    connection: AsyncConnection, table: type[Base], rows: Iterable[dict[str, Any]]
) -> None:
    """Insert rows, however many, so that others get their turn in between."""
    left = iter(rows)
    while some := list(islice(left, _TOGETHER)):
        await connection.execute(insert(table), some)


def touch(connection: AsyncConnection, *identifiers: str) -> None:
    """Say what of the registry a transaction changes; what does not say so lets all be read again.

    Args:
        connection: of the transaction.
        identifiers: of what is changed; that of a group stands for all of its keys and triggers.
    """
    if connection.info[_TOUCHED] is None:
        connection.info[_TOUCHED] = set()
    connection.info[_TOUCHED].update(identifiers)


def _upgrade(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise UnknownSchema(
            f"the database cannot be migrated ({error}): start the version that wrote it, or newer"
        ) from error


def _engine(url: URL, *, foreign_keys: bool = True) -> AsyncEngine:
    if url.drivername == _SQLITE:
        _create_private(Path(str(url.database)))
        engine = create_async_engine(
            url, hide_parameters=True, connect_args={"timeout": _BUSY_TIMEOUT}
        )
        _prepare_sqlite(engine, foreign_keys=foreign_keys)
    else:
        engine = create_async_engine(
            url,
            hide_parameters=True,  # they hold digests and routing keys, and errors are logged
            pool_pre_ping=True,
            connect_args={
                "timeout": _CONNECT_TIMEOUT,
                "command_timeout": _STATEMENT_TIMEOUT,
                "server_settings": {
                    "idle_in_transaction_session_timeout": str(_IDLE_TIMEOUT * 1000)
                },
            },
        )
    event.listen(engine.sync_engine, "before_execute", _note_change)
    return engine


def _note_change(connection: Connection, statement: Executable, *_: object) -> None:
    """Note that a statement changes a table of the registry."""
    if isinstance(statement, UpdateBase) and not getattr(statement.table, "info", {}).get("apart"):
        connection.info[_CHANGED] = True


def _create_private(path: Path) -> None:
    """Create the file for its owner alone; SQLite gives its companions the same mode."""
    try:
        path.touch(mode=0o600)
    except OSError as error:
        raise DatabaseUnavailable(f"the database {path.absolute()}: {error.strerror}") from error


def _prepare_sqlite(engine: AsyncEngine, *, foreign_keys: bool) -> None:
    @event.listens_for(engine.sync_engine, "connect")
    def _connect(connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
        # A statement that is cancelled twice has its connection told twice to stop, and aiosqlite
        # would wait for ever for its thread to hear the second time.
        driver: Any = entry.driver_connection
        driver.stop = functools.cache(driver.stop)
        # The driver would start transactions on its own, and too late; see _begin.
        connection.isolation_level = None
        cursor = connection.cursor()
        _write_ahead(cursor)
        for pragma in (*_PRAGMAS, f"foreign_keys={'ON' if foreign_keys else 'OFF'}"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Connection) -> None:
        for statement in connection.get_execution_options().get("sqlite_begin", ("BEGIN",)):
            connection.exec_driver_sql(statement)


def _write_ahead(cursor: DBAPICursor) -> None:
    """Have a log ahead of the file; SQLite does not wait for others who are making it just now."""
    until = time.monotonic() + _BUSY_TIMEOUT
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > until:
                raise
            await_(asyncio.sleep(0.02))
        else:
            return


@contextmanager
def _unavailability() -> Iterator[None]:
    """Tell a database that does not answer from every other error."""
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout, OSError) as error:
        raise DatabaseUnavailable(f"the database does not answer: {_reason(error)}") from error
    except DBAPIError as error:
        state = str(getattr(error.orig, "sqlstate", ""))
        if not error.connection_invalidated and not state.startswith(_NOT_NOW):
            raise
        raise DatabaseUnavailable(f"the database does not answer: {_reason(error)}") from error


def _reason(error: SQLAlchemyError | OSError) -> str:
    """Say in one line what the driver said."""
    original = error.orig if isinstance(error, DBAPIError) else error
    return str(original).partition("\n")[0] or type(original).__name__
