"""Where RabbitMQ and Redis come from when no address is given.

In this order, for each of the two on its own: a container, where a Docker engine answers that has
or can pull the image; a private node of the installed programs; on Debian and Ubuntu the programs
are installed first, where that needs no password.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from turnout.router.nodes import docker, packages
from turnout.router.nodes.docker import ContainerRabbitMQ, ContainerRedis
from turnout.router.nodes.errors import NodeError
from turnout.router.nodes.rabbitmq import LocalRabbitMQ, RabbitMQ
from turnout.router.nodes.redis import LocalRedis, Redis

Say = Callable[[str], None]
"""Told, in a sentence, what is being done that takes time."""


@dataclass(frozen=True)
class Server:
    """A program that is needed, and where to have it from."""

    name: str
    image: str
    package: str
    program: Callable[[], str | None]


_RABBITMQ = Server("RabbitMQ", docker.RABBITMQ_IMAGE, "rabbitmq-server", LocalRabbitMQ.program)
_REDIS = Server("Redis", docker.REDIS_IMAGE, "redis-server", LocalRedis.program)


def rabbitmq(
    directory: Path, definitions: Mapping[str, Any], *, setting: str, say: Say
) -> RabbitMQ:
    """Return a node of RabbitMQ that can be started.

    Args:
        directory: for its data, settings and logs.
        definitions: users, virtual hosts and permissions.
        setting: the setting that gives an address instead, for the error.
        say: told about what takes time.

    Raises:
        NodeError: there is no way to have one here; says what to install.
    """
    if docker_has(docker.RABBITMQ_IMAGE, say):
        return ContainerRabbitMQ(directory, definitions)
    return local_rabbitmq(directory, definitions, setting=setting, say=say)


def local_rabbitmq(
    directory: Path, definitions: Mapping[str, Any], *, setting: str, say: Say
) -> RabbitMQ:
    """Return a node of the installed RabbitMQ, installing it if need be; see `rabbitmq`."""
    require(_RABBITMQ, setting, say)
    return LocalRabbitMQ(directory, definitions)


def redis(directory: Path, password: str, *, setting: str, say: Say) -> Redis:
    """Return a Redis that can be started; see `rabbitmq`."""
    if docker_has(docker.REDIS_IMAGE, say):
        return ContainerRedis(directory, password)
    return local_redis(directory, password, setting=setting, say=say)


def local_redis(directory: Path, password: str, *, setting: str, say: Say) -> Redis:
    """Return a node of the installed Redis, installing it if need be; see `rabbitmq`."""
    require(_REDIS, setting, say)
    return LocalRedis(directory, password)


def docker_has(image: str, say: Say) -> bool:
    """Tell whether a Docker engine answers that has, or could pull, an image."""
    if not docker.engine_answers():
        return False
    if docker.has_image(image):
        return True
    say(f"Docker pulls {image}")
    if docker.pull(image):
        return True
    say(f"Docker cannot pull {image}: looking for an installed server instead")
    return False


def require(server: Server, setting: str, say: Say) -> None:
    """Make sure that a program is installed, see `rabbitmq`."""
    if server.program() is not None:
        return
    if packages.can_install():
        say(f"{server.name} is not installed: {packages.command(server.package)}")
        packages.install(server.package)
    if server.program() is None:
        raise NodeError(
            f"there is no {server.name}. Do one of these:\n"
            f"  install it: {packages.command(server.package)}\n"
            f"  start Docker, which then pulls {server.image}\n"
            f"  give the address of one that runs: {setting}=…"
        )
