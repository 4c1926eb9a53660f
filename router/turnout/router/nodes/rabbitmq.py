"""A private RabbitMQ node."""

import http.client
import json
import secrets
import shutil
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from turnout.router.nodes.node import Node, minimal_environment, write_private
from turnout.router.nodes.ports import LOOPBACK, free_ports
from turnout.router.nodes.process import Process

_PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"  # AMQP 0-9-1 specification, §4.2.2
_METHOD_FRAME = b"\x01"
_PROBE_SECONDS = 1.0

# Packages of Debian, Ubuntu and Red Hat put a wrapper on the PATH that insists on the system's own
# user and node; behind it is the program itself.
_SERVER = "rabbitmq-server"
_PACKAGED_SERVER = Path("/usr/lib/rabbitmq/bin") / _SERVER

#: Arguments of its Erlang machine, which by default takes a thread for each processor and holds it
#: there. Here it shares the machine: it takes half as many, and the system chooses where they run.
#: That is a quarter to a third less of its CPU time for one event at full load.
#: https://www.rabbitmq.com/docs/runtime#scheduling
ERLANG_ARGUMENTS = "+SP 50:50 +stbt u"

_CONFIGURATION = """\
listeners.tcp.1 = {host}:{amqp_port}
management.tcp.ip = {host}
management.tcp.port = {management_port}
load_definitions = {definitions}
disk_free_limit.absolute = 50MB
consumer_timeout = {delivery_timeout}
log.file = rabbitmq.log
log.file.rotation.size = 10485760
log.file.rotation.count = 2
log.console = true
log.console.level = warning
"""


class RabbitMQ(Node):
    """A RabbitMQ node with the management plugin, on loopback.

    Args:
        directory: where data, settings and logs are.
        definitions: users, virtual hosts and permissions; loaded at each start.

    Attributes:
        delivery_timeout: seconds after which it takes an unacknowledged message back.
    """

    name = "RabbitMQ"
    delivery_timeout = 1800.0

    def __init__(self, directory: Path, definitions: Mapping[str, Any]) -> None:
        super().__init__(directory)
        self.definitions = definitions
        self.amqp_port, self.management_port = free_ports(2)

    @property
    def address(self) -> str:
        """host:port of AMQP."""
        return f"{LOOPBACK}:{self.amqp_port}"

    def is_ready(self) -> bool:
        """Tell whether it answers an AMQP handshake and a call of the management API.

        RabbitMQ loads the definitions before it opens either, so users are there as well.
        """
        return self._speaks_amqp() and self._manages()

    def _speaks_amqp(self) -> bool:
        try:
            with socket.create_connection(
                (LOOPBACK, self.amqp_port), timeout=_PROBE_SECONDS
            ) as connection:
                connection.sendall(_PROTOCOL_HEADER)
                return connection.recv(1) == _METHOD_FRAME
        except OSError:
            return False

    def _manages(self) -> bool:
        connection = http.client.HTTPConnection(
            LOOPBACK, self.management_port, timeout=_PROBE_SECONDS
        )
        try:
            connection.request("GET", "/api/whoami")
            return connection.getresponse().status == http.client.UNAUTHORIZED
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


class LocalRabbitMQ(RabbitMQ):
    """A RabbitMQ node of the installed programs, apart from the system's own node.

    Its Erlang distribution port, and the epmd that knows it, are its own and on loopback too.
    """

    def __init__(self, directory: Path, definitions: Mapping[str, Any]) -> None:
        super().__init__(directory, definitions)
        self._distribution_port, self._epmd_port = free_ports(2)
        self._epmd: Process | None = None

    @staticmethod
    def program() -> str | None:
        """Return the server's path, or None if RabbitMQ is not installed."""
        if shutil.which("epmd") is None:
            return None
        return str(_PACKAGED_SERVER) if _PACKAGED_SERVER.exists() else shutil.which(_SERVER)

    def prepare(self) -> None:
        """Write configuration, definitions and Erlang cookie, and start epmd."""
        # Erlang refuses a cookie that others may read.
        if not self._cookie.exists():
            write_private(self._cookie, secrets.token_hex(20))
        write_private(self._file("definitions.json"), json.dumps(self.definitions))
        self._file("enabled_plugins").write_text("[rabbitmq_management].\n")
        self._file("advanced.config").write_text("[].\n")
        self._file("env.conf").write_text("")
        self._file("rabbitmq.conf").write_text(
            _CONFIGURATION.format(
                host=LOOPBACK,
                amqp_port=self.amqp_port,
                management_port=self.management_port,
                definitions=self._file("definitions.json"),
                delivery_timeout=int(self.delivery_timeout * 1000),
            )
        )
        self._start_epmd()

    def command(self) -> Sequence[str]:
        """Return the server's program."""
        return [self.program() or _SERVER]

    def environment(self) -> Mapping[str, str]:
        """Return the variables that keep the node apart from any other."""
        return {
            **minimal_environment(),
            **self._epmd_variables,
            "HOME": str(self.directory),
            "RABBITMQ_NODENAME": "turnout@localhost",
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_MNESIA_BASE": str(self._file("data")),
            "RABBITMQ_LOG_BASE": str(self._file("log")),
            "RABBITMQ_PID_FILE": str(self._file("pid")),
            "RABBITMQ_CONFIG_FILE": str(self._file("rabbitmq.conf")),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self._file("advanced.config")),
            "RABBITMQ_CONF_ENV_FILE": str(self._file("env.conf")),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._file("enabled_plugins")),
            # Without it the server's script stays as a second process, between us and the node.
            "RUNNING_UNDER_SYSTEMD": "true",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ERLANG_ARGUMENTS,
            # For every Erlang machine that it starts: without it they listen on all addresses.
            "ERL_FLAGS": "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}",
        }

    def stop(self, grace: float = 20.0) -> None:
        """Shut it down in order, then its epmd."""
        super().stop(grace)
        if self._epmd is not None:
            self._epmd.stop(grace=2.0)

    def kill(self) -> None:
        """Kill it and its epmd."""
        super().kill()
        if self._epmd is not None:
            self._epmd.kill()

    def _start_epmd(self) -> None:
        """Run Erlang's port mapper as a child: else Erlang leaves one behind as a daemon."""
        if self._epmd is not None:
            self._epmd.kill()
        self._epmd = Process(
            ["epmd", "-address", LOOPBACK, "-port", str(self._epmd_port)],
            environment={**minimal_environment(), **self._epmd_variables},
            record=self._file("epmd.process"),
        )
        with self._file("epmd.output").open("wb") as output:
            self._epmd.start(output)

    @property
    def _epmd_variables(self) -> dict[str, str]:
        return {"ERL_EPMD_PORT": str(self._epmd_port), "ERL_EPMD_ADDRESS": LOOPBACK}

    @property
    def _cookie(self) -> Path:
        return self._file(".erlang.cookie")

    def _file(self, name: str) -> Path:
        return self.directory / name
