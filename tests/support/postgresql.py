"""The PostgreSQL of a test session: what Turnout itself never starts.

It refuses to run as root. Then it runs as the user that its package makes, in a directory of that
user's: those of the tests are closed to everybody else.
"""

import asyncio
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import create_async_engine
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

from turnout.router.nodes import find
from turnout.router.nodes.errors import NodeError
from turnout.router.nodes.node import Node, minimal_environment
from turnout.router.nodes.ports import LOOPBACK, free_ports

SETTING = "TURNOUT_TEST_POSTGRES_URL"

#: That of compose.yaml.
IMAGE = "postgres:18-alpine"

#: Seconds in which it makes its files, and ends.
_PATIENCE = 60.0

_USER = "turnout"

#: Debian and Ubuntu keep its programs, by version, where no PATH leads.
_PACKAGED = Path("/usr/lib/postgresql")

#: Whom its package makes.
_SYSTEM_USER = "postgres"

#: It is gone with the session, so nothing has to reach the disk.
_HURRY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class LocalPostgreSQL(Node):
    """A PostgreSQL of the installed programs, on loopback, apart from the system's own."""

    name = "PostgreSQL"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._password = secrets.token_hex(16)
        (self._port,) = free_ports(1)

    @staticmethod
    def program() -> str | None:
        """Return the newest server's path, or None if PostgreSQL is not installed."""
        versions = sorted(_PACKAGED.glob("*/bin/postgres"), key=lambda each: int(each.parts[-3]))
        return str(versions[-1]) if versions else shutil.which("postgres")

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self._port}"

    @property
    def url(self) -> str:
        """The address of a database in which others may be created."""
        return f"postgresql+asyncpg://{_USER}:{self._password}@{self.address}/postgres"

    def is_ready(self) -> bool:
        """Tell whether it listens, which it does once it accepts logins."""
        with socket.socket() as probe:
            probe.settimeout(1.0)
            return probe.connect_ex((LOOPBACK, self._port)) == 0

    def prepare(self) -> None:
        """Make its files."""
        password = self.directory / "password"
        password.write_text(self._password)
        if os.geteuid() == 0:
            for path in (self.directory, password):
                shutil.chown(path, _SYSTEM_USER, _SYSTEM_USER)
        initdb = Path(self.program() or "postgres").with_name("initdb")
        done = subprocess.run(
            [
                *_unprivileged(),
                *(initdb, "--no-sync", "-D", self._data, "-U", _USER),
                *("--auth=scram-sha-256", f"--pwfile={password}", "--encoding=UTF8"),
                "--locale=C.UTF-8",
            ],
            env=minimal_environment(),
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
        if done.returncode:
            raise NodeError(f"initdb failed:\n{done.stderr}")

    def command(self) -> Sequence[str]:
        """Return the server with its settings."""
        settings = {
            "listen_addresses": LOOPBACK,
            "port": self._port,
            "unix_socket_directories": "",
            **_HURRY,
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        return [*_unprivileged(), self.program() or "postgres", "-D", self._data, *options]

    def kill(self) -> None:
        """End it at once; it frees the shared memory that kill -9 would leave behind."""
        if self.is_running:
            self.process.signal(signal.SIGQUIT)
            self.process.wait(_PATIENCE)
        super().kill()

    @property
    def _data(self) -> str:
        return str(self.directory / "data")


def _unprivileged() -> list[str]:
    """Return what to begin a command with, so that root does not run it.

    The kernel forgets on a change of user that a child is to end with its parent.
    """
    if os.geteuid():
        return []
    user = [f"--reuid={_SYSTEM_USER}", f"--regid={_SYSTEM_USER}", "--init-groups"]
    return ["setpriv", *user, "--pdeathsig=QUIT", "--"]


@contextmanager
def server() -> Iterator[str]:
    """Have a PostgreSQL: one that is given, in a container, or private; installed if possible.

    Raises:
        NodeError: there is no way to have one here; says what to install.
    """
    if url := os.environ.get(SETTING):
        yield url
    elif find.docker_has(IMAGE, print):
        with _container() as url:
            yield url
    else:
        wanted = find.Server("PostgreSQL", IMAGE, "postgresql", LocalPostgreSQL.program)
        find.require(wanted, SETTING, print)
        with tempfile.TemporaryDirectory(prefix="turnout-postgresql-") as directory:
            node = LocalPostgreSQL(Path(directory))
            try:
                node.start()
                node.wait_ready()
                yield node.url
            finally:
                node.kill()


@contextmanager
def _container() -> Iterator[str]:
    password = secrets.token_hex(16)
    container = (
        DockerContainer(IMAGE)
        .with_env("POSTGRES_USER", _USER)
        .with_env("POSTGRES_PASSWORD", password)
        .with_exposed_ports(5432)
        # It says so a first time while it makes its files, and does not listen then.
        .waiting_for(LogMessageWaitStrategy("listening on IPv4 address"))
    )
    with container:
        address = f"{container.get_container_host_ip()}:{container.get_exposed_port(5432)}"
        yield f"postgresql+asyncpg://{_USER}:{password}@{address}/postgres"


@contextmanager
def database(server_url: str, template: str = "template1") -> Iterator[str]:
    """Have a database on a server, by its address, for the length of a context.

    Args:
        server_url: of a database whose user may create others.
        template: what it is a copy of; nobody may be using that.
    """
    name = f"turnout_test_{secrets.token_hex(6)}"
    asyncio.run(_execute(server_url, f"CREATE DATABASE {name} TEMPLATE {template}"))
    yield make_url(server_url).set(database=name).render_as_string(hide_password=False)
    asyncio.run(_execute(server_url, f"DROP DATABASE {name} WITH (FORCE)"))


async def _execute(server_url: str, statement: str) -> None:
    engine = create_async_engine(server_url, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        await connection.execute(text(statement))
    await engine.dispose()
