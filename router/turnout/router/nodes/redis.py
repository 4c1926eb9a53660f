"""A private Redis."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import redis

from turnout.router.nodes.node import Node, write_private
from turnout.router.nodes.ports import LOOPBACK, free_ports

_PROBE_SECONDS = 1.0

# Authentication records must never be evicted; what is written is on disk within a second.
_CONFIGURATION = """\
bind {host}
port {port}
requirepass {password}
dir "{directory}"
daemonize no
maxmemory-policy noeviction
appendonly yes
appendfsync everysec
save 3600 1 300 100
loglevel warning
"""


class Redis(Node):
    """A Redis on loopback that asks for a password.

    Args:
        directory: where data, settings and logs are.
        password: letters and digits.
    """

    name = "Redis"

    def __init__(self, directory: Path, password: str) -> None:
        super().__init__(directory)
        self.password = password
        (self.port,) = free_ports(1)

    @property
    def address(self) -> str:
        """host:port."""
        return f"{LOOPBACK}:{self.port}"

    def url(self, database: int = 0) -> str:
        """Return the address of one of its 16 databases, with the password."""
        return f"redis://:{self.password}@{self.address}/{database}"

    def is_ready(self) -> bool:
        """Tell whether it answers PING: it does not while it still loads its data."""
        client = redis.Redis.from_url(self.url(), socket_timeout=_PROBE_SECONDS, retry=None)
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
        finally:
            client.close()


class LocalRedis(Redis):
    """A Redis of the installed program, apart from the system's own."""

    @staticmethod
    def program() -> str | None:
        """Return the server's path, or None if neither Redis nor Valkey is installed."""
        return shutil.which("redis-server") or shutil.which("valkey-server")

    def prepare(self) -> None:
        """Write the configuration: the password is in no command line."""
        write_private(
            self._configuration_file,
            configuration(
                self.password, host=LOOPBACK, port=self.port, directory=str(self.directory)
            ),
        )

    def command(self) -> Sequence[str]:
        """Return the server with its configuration file."""
        return [self.program() or "redis-server", str(self._configuration_file)]

    @property
    def _configuration_file(self) -> Path:
        return self.directory / "redis.conf"


def configuration(password: str, *, host: str, port: int, directory: str) -> str:
    """Return the text of a configuration file of Redis.

    Args:
        password: letters and digits.
        host: the address to listen on.
        port: the port.
        directory: of its data.
    """
    return _CONFIGURATION.format(host=host, port=port, password=password, directory=directory)
