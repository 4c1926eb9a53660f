"""The RabbitMQ and the Redis of a test session."""

import base64
import json
import os
import secrets
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import LogMessageWaitStrategy
from yarl import URL

from turnout.router import broker_users, management
from turnout.router.nodes import docker, find
from turnout.router.nodes.rabbitmq import LocalRabbitMQ, RabbitMQ
from turnout.router.nodes.redis import Redis

AMQP_SETTING = "TURNOUT_TEST_AMQP_URL"
MANAGEMENT_SETTING = "TURNOUT_TEST_MANAGEMENT_URL"
REDIS_SETTING = "TURNOUT_TEST_REDIS_URL"

_ADMINISTRATOR = "turnout-tests"


@dataclass(frozen=True)
class Management:
    """RabbitMQ's management API, used as an administrator.

    Attributes:
        url: with user and password.
    """

    url: str

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Call it and return the answer's JSON, or None if it has none.

        Args:
            path: below /api/, its parts quoted where they need it.

        Raises:
            urllib.error.HTTPError: it refused.
        """
        url = URL(self.url)
        credentials = base64.b64encode(f"{url.user}:{url.password}".encode()).decode()
        request = urllib.request.Request(
            f"{url.with_user(None)}".rstrip("/") + f"/api/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Basic {credentials}", "Content-Type": "application/json"},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=10) as response:
            text = response.read()
        return json.loads(text) if text else None

    def make_vhost(self, name: str) -> None:
        """Make a virtual host in which our user may do everything."""
        self.call("PUT", f"vhosts/{quoted(name)}", {})
        user = URL(self.url).user or ""
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        self.call("PUT", f"permissions/{quoted(name)}/{quoted(user)}", everything)

    def delete_vhost(self, name: str) -> None:
        """Delete a virtual host with all that is in it."""
        self.call("DELETE", f"vhosts/{quoted(name)}")


@dataclass(frozen=True)
class Broker:
    """The session's RabbitMQ.

    Attributes:
        url: amqp://user:password@host:port, of an administrator.
        management_url: http://user:password@host:port, of the same.
        node: the private node, if it is one: it can be stopped, killed and paused.
    """

    url: str
    management_url: str
    node: RabbitMQ | None = None

    def amqp_url(self, vhost: str) -> str:
        """Return the address of one virtual host, as the administrator."""
        return str(URL(self.url).with_path(f"/{vhost}"))

    @property
    def management(self) -> Management:
        """Its management API."""
        return Management(self.management_url)


def quoted(name: str) -> str:
    """Quote a name for a path of the management API."""
    return urllib.parse.quote(name, safe="")


def administrator_definitions(password: str) -> dict[str, Any]:
    """Return the definitions of a broker for tests: an administrator and no virtual host."""
    user = broker_users.user_definition(_ADMINISTRATOR, password, ("administrator",))
    return {"users": [user], "vhosts": [{"name": "/"}], "permissions": []}


@contextmanager
def private_rabbitmq(directory: Path) -> Iterator[Broker]:
    """Run a private node of the installed RabbitMQ; without one, it is installed if possible."""
    password = secrets.token_hex(16)
    node = find.local_rabbitmq(
        directory, administrator_definitions(password), setting=AMQP_SETTING, say=print
    )
    try:
        node.start()
        node.wait_ready()
        yield Broker(
            f"amqp://{_ADMINISTRATOR}:{password}@{node.address}",
            f"http://{_ADMINISTRATOR}:{password}@127.0.0.1:{node.management_port}",
            node,
        )
    finally:
        node.kill()  # its data goes with the session: there is nothing to save


@contextmanager
def container_rabbitmq() -> Iterator[Broker]:
    """Run RabbitMQ in a container."""
    password = secrets.token_hex(16)
    container = (
        DockerContainer(docker.RABBITMQ_IMAGE)
        .with_env("RABBITMQ_DEFAULT_USER", _ADMINISTRATOR)
        .with_env("RABBITMQ_DEFAULT_PASS", password)
        .with_exposed_ports(5672, 15672)
        .waiting_for(LogMessageWaitStrategy("Server startup complete"))
    )
    with container:
        host = container.get_container_host_ip()
        amqp, management = (container.get_exposed_port(port) for port in (5672, 15672))
        yield Broker(
            f"amqp://{_ADMINISTRATOR}:{password}@{host}:{amqp}",
            f"http://{_ADMINISTRATOR}:{password}@{host}:{management}",
        )


def given_rabbitmq(amqp_url: str, management_url: str | None) -> Broker:
    """Use a RabbitMQ that runs."""
    url = URL(amqp_url).with_path("")
    return Broker(str(url), management_url or management.default_url(amqp_url))


@contextmanager
def private_redis(directory: Path) -> Iterator[Redis]:
    """Run a private Redis; without one, it is installed if possible."""
    node = find.local_redis(directory, secrets.token_hex(16), setting=REDIS_SETTING, say=print)
    try:
        node.start()
        node.wait_ready()
        yield node
    finally:
        node.kill()


@contextmanager
def container_redis() -> Iterator[str]:
    """Run Redis in a container; give its address without a database."""
    container = (
        DockerContainer(docker.REDIS_IMAGE)
        .with_exposed_ports(6379)
        .waiting_for(LogMessageWaitStrategy("Ready to accept connections"))
    )
    with container:
        yield f"redis://{container.get_container_host_ip()}:{container.get_exposed_port(6379)}"


@contextmanager
def memory_alarm(node: RabbitMQ) -> Iterator[None]:
    """Have the broker believe that it has no memory left."""
    server = LocalRabbitMQ.program()
    assert server is not None

    def set_watermark(fraction: str) -> None:
        subprocess.run(
            [Path(server).with_name("rabbitmqctl"), "set_vm_memory_high_watermark", fraction],
            env={**os.environ, **node.environment()},
            check=True,
            capture_output=True,
            timeout=60,
        )

    set_watermark("0.00001")
    try:
        yield
    finally:
        set_watermark("0.4")
