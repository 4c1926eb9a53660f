"""RabbitMQ and Redis in containers, through the `docker` command."""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from turnout.router.nodes.node import Node
from turnout.router.nodes.ports import LOOPBACK
from turnout.router.nodes.rabbitmq import ERLANG_ARGUMENTS, RabbitMQ
from turnout.router.nodes.redis import Redis, configuration

#: The images of compose.yaml as well: what is tried is what is run.
RABBITMQ_IMAGE = "rabbitmq:4.3-management"
REDIS_IMAGE = "redis:8.2-alpine"

_ANSWER_SECONDS = 2.0
_PULL_SECONDS = 600.0
_COMMAND_SECONDS = 30.0

_RABBITMQ_CONFIGURATION = """\
load_definitions = /etc/rabbitmq/turnout.json
log.console.level = warning
consumer_timeout = {delivery_timeout}
"""


def engine_answers() -> bool:
    """Tell whether there is a Docker engine that answers within 2 seconds."""
    return shutil.which("docker") is not None and _docker(
        "version", "--format", "{{.Server.Version}}", seconds=_ANSWER_SECONDS
    )


def has_image(image: str) -> bool:
    """Tell whether the engine has an image."""
    return _docker("image", "inspect", image)


def pull(image: str) -> bool:
    """Let the engine fetch an image; tell whether it has it now."""
    return _docker("pull", "--quiet", image, seconds=_PULL_SECONDS)


class _Container(Node):
    """A node in a container that runs attached to us: its client passes SIGTERM on.

    The container is removed when it ends; its data stays in a volume of the same name.
    """

    image: str
    data: str
    """The directory of its data, inside."""

    def publish(self) -> Mapping[int, int]:
        """Return which port of loopback leads to which of its ports."""
        raise NotImplementedError

    def mounts(self) -> Mapping[Path, str]:
        """Return where its files are seen inside."""
        raise NotImplementedError

    def variables(self) -> Mapping[str, str]:
        """Return environment variables that are set inside; no secrets, which `ps` would show."""
        return {}

    def arguments(self) -> Sequence[str]:
        """Return what is appended to the image's own command."""
        return ()

    def prepare(self) -> None:
        """Remove what an earlier start left behind."""
        _docker("rm", "--force", self._container)

    def command(self) -> Sequence[str]:
        """Return the command that runs the container."""
        options = ["--volume", f"{self._container}:{self.data}"]
        for outer, inner in self.publish().items():
            options += ["--publish", f"{LOOPBACK}:{outer}:{inner}"]
        for name, value in self.variables().items():
            options += ["--env", f"{name}={value}"]
        for file, path in self.mounts().items():
            options += ["--volume", f"{file}:{path}:ro"]
        # RabbitMQ's data belongs to a node name, which holds the host's.
        names = ["--name", self._container, "--hostname", "turnout"]
        return ["docker", "run", "--rm", *names, *options, self.image, *self.arguments()]

    def environment(self) -> Mapping[str, str]:
        """Return ours: it says where the engine is. The container sees none of it."""
        return dict(os.environ)

    def kill(self) -> None:
        """Kill the container and its client."""
        _docker("kill", self._container)
        super().kill()

    def pause(self) -> None:
        """Freeze the container."""
        _docker("pause", self._container)

    def resume(self) -> None:
        """Let it go on."""
        _docker("unpause", self._container)

    @property
    def _container(self) -> str:
        digest = hashlib.sha256(str(self.directory).encode()).hexdigest()[:8]
        return f"turnout-{digest}-{self.name.lower()}"

    def _write(self, name: str, text: str) -> Path:
        """Write a file that the container's user can read; the directory keeps others out."""
        path = self.directory / name
        path.write_text(text)
        path.chmod(0o644)
        return path


class ContainerRabbitMQ(_Container, RabbitMQ):
    """A RabbitMQ node in a container."""

    image = RABBITMQ_IMAGE
    data = "/var/lib/rabbitmq"

    def publish(self) -> Mapping[int, int]:
        """Return the ports of AMQP and of the management API."""
        return {self.amqp_port: 5672, self.management_port: 15672}

    def variables(self) -> Mapping[str, str]:
        """Return how its Erlang machine is to run."""
        return {"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ERLANG_ARGUMENTS}

    def mounts(self) -> Mapping[Path, str]:
        """Write and return configuration and definitions."""
        definitions = self._write("definitions.json", json.dumps(self.definitions))
        text = _RABBITMQ_CONFIGURATION.format(delivery_timeout=int(self.delivery_timeout * 1000))
        configuration = self._write("container.conf", text)
        return {
            definitions: "/etc/rabbitmq/turnout.json",
            configuration: "/etc/rabbitmq/conf.d/90-turnout.conf",
        }


class ContainerRedis(_Container, Redis):
    """A Redis in a container."""

    image = REDIS_IMAGE
    data = "/data"

    def publish(self) -> Mapping[int, int]:
        """Return the port."""
        return {self.port: 6379}

    def mounts(self) -> Mapping[Path, str]:
        """Write and return the configuration: the password is in no command line."""
        text = configuration(self.password, host="*", port=6379, directory=self.data)
        return {self._write("container.conf", text): "/etc/redis.conf"}

    def arguments(self) -> Sequence[str]:
        """Return the server with its configuration file."""
        return ("redis-server", "/etc/redis.conf")


def _docker(*arguments: str, seconds: float = _COMMAND_SECONDS) -> bool:
    try:
        done = subprocess.run(
            ["docker", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0
