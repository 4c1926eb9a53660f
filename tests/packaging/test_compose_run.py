"""What compose.yaml starts, started without an engine: same secrets, same commands, same checks.

Only hosts, ports and the database differ: private nodes on loopback, and SQLite.
"""

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import aiohttp
import pytest
from tests.packaging.composed import Service, mounts, services
from tests.support.process import ROOT, Command
from tests.support.waiting import eventually
from yarl import URL

from turnout.router.compose import volumes
from turnout.router.nodes import find
from turnout.router.nodes.ports import free_ports
from turnout.router.nodes.rabbitmq import RabbitMQ
from turnout.router.nodes.redis import Redis

SERVICES = {"rabbitmq", "redis", "postgres", "router", "ingress", "worker", "demo"}


class Machine:
    """The volumes of compose.yaml in a directory, and where each service really is.

    Args:
        root: where the volumes are.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        for each in ("kept", *SERVICES):
            (root / each).mkdir()
        volumes.write(root)
        self.rabbitmq: RabbitMQ = find.rabbitmq(
            root / "rabbitmq-data",
            json.loads(self.read("rabbitmq/definitions.json")),
            setting="TURNOUT_TEST_AMQP_URL",
            say=print,
        )
        self.redis: Redis = find.redis(
            root / "redis-data",
            self.read("redis/password"),
            setting="TURNOUT_TEST_REDIS_URL",
            say=print,
        )
        self.admin_port, self.ingress_port = free_ports(2)

    def read(self, name: str) -> str:
        return (self.root / name).read_text()

    @property
    def places(self) -> dict[str, str]:
        """Each address in compose.yaml, and the one that stands for it."""
        return {
            "rabbitmq:5672": self.rabbitmq.address,
            "rabbitmq:15672": f"127.0.0.1:{self.rabbitmq.management_port}",
            "redis:6379": self.redis.address,
            "router:8081": f"127.0.0.1:{self.admin_port}",
            "127.0.0.1:8080": f"127.0.0.1:{self.ingress_port}",
        }

    def place(self, text: str) -> str:
        for address, real in self.places.items():
            text = re.sub(rf"(?<![\w.]){re.escape(address)}\b", real, text)
        return text

    def secrets(self, name: str) -> Path:
        """Copy the secrets of a service, with the real addresses; once, it may be reading them."""
        directory = self.root / f"{name}-placed"
        if directory.exists():
            return directory
        directory.mkdir()
        for path in (self.root / name).iterdir():
            text = self.place(path.read_text())
            if path.name == "turnout_database_url":
                text = f"sqlite+aiosqlite:///{self.root}/registry.db"
            (directory / path.name).write_text(text)
        return directory

    def environment(self, name: str) -> dict[str, str]:
        """Return the variables of a service, with the real addresses."""
        service = services()[name]
        given = {key: self.place(value) for key, value in service.get("environment", {}).items()}
        if "TURNOUT_SECRETS_DIR" in given:
            given["TURNOUT_SECRETS_DIR"] = str(self.secrets(name))
        if name == "router":
            given |= {"TURNOUT_ADMIN_HOST": "127.0.0.1", "TURNOUT_ADMIN_PORT": f"{self.admin_port}"}
        if name == "ingress":
            given |= {
                "TURNOUT_INGRESS_HOST": "127.0.0.1",
                "TURNOUT_INGRESS_PORT": f"{self.ingress_port}",
            }
        return given

    def command(self, name: str) -> Command:
        arguments = [
            each.replace("/app/examples", str(ROOT / "examples"))
            for each in services()[name]["command"]
        ]
        return Command(
            arguments, environment=self.environment(name), directory=self.root, name=name
        )

    async def run(self, name: str, words: list[str]) -> tuple[int, str]:
        """Run a program of a service's image, in its environment; return exit code and output."""
        outside = {key: value for key, value in os.environ.items() if "TURNOUT" not in key}
        (state,) = [each for each, place, _ in mounts(services()[name]) if "/var/" in place] or [
            name
        ]
        directory = self.root / state
        directory.mkdir(exist_ok=True)
        process = await asyncio.create_subprocess_exec(
            *([sys.executable, *words[1:]] if words[0] == "python" else words),
            env={**outside, "PYTHONPATH": os.pathsep.join(sys.path), **self.environment(name)},
            cwd=directory,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, output.decode()

    async def is_healthy(self, name: str) -> bool:
        """Run the health check of one of our services."""
        ports = {"8080": str(self.ingress_port), "8081": str(self.admin_port)}
        words = services()[name]["healthcheck"]["test"][1:]
        for port, real in ports.items():
            words = [each.replace(port, real) for each in words]
        code, _ = await self.run(name, words)
        return code == 0


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """RabbitMQ and Redis run."""
    made = Machine(tmp_path_factory.mktemp("machine"))
    try:
        made.rabbitmq.start()
        made.redis.start()
        made.rabbitmq.wait_ready()
        made.redis.wait_ready()
        yield made
    finally:
        made.rabbitmq.kill()
        made.redis.kill()


@pytest.fixture
async def running(machine: Machine) -> AsyncIterator[dict[str, Command]]:
    """Router, ingress and worker run too, and their health checks say so."""
    async with AsyncExitStack() as stack:
        started = {}
        for name in ("router", "ingress", "worker"):
            assert not await machine.is_healthy(name), f"{name} is not started yet"
            started[name] = stack.enter_context(machine.command(name))
        for name, command in started.items():
            await eventually(partial(_is_up, machine, name, command), what=f"{name} is healthy")
        yield started


async def _is_up(machine: Machine, name: str, command: Command) -> bool:
    assert command.is_running, command.log
    return await machine.is_healthy(name)


async def test_the_printed_call_runs_the_demo_flow_and_a_second_start_prints_it_again(
    machine: Machine, running: dict[str, Command]
) -> None:
    entrypoint = services()["demo"]["entrypoint"]
    code, first = await machine.run("demo", entrypoint)
    assert code == 0, running["router"].log
    url = re.search(r"curl -X POST (http://\S+)", first)
    key = re.search(r"Bearer (tk_\w+)", first)
    assert url
    assert key
    async with aiohttp.ClientSession() as session:
        answer = await session.post(
            url[1], headers={"Authorization": f"Bearer {key[1]}"}, json={"name": "Ada"}
        )
        assert answer.status == 202
    await running["worker"].wait_log("Hello, Ada!")
    assert await machine.run("demo", entrypoint) == (0, first)

    facts = machine.root / "demo-data/.turnout/up.json"
    assert facts.stat().st_mode & 0o777 == 0o600
    code, listed = await machine.run(
        "cli", ["python", "-m", "turnout.router.cli", "trigger", "list", "--json"]
    )
    assert code == 0
    assert [each["flow"] for each in json.loads(listed)["items"]] == ["hello"]

    kept = json.loads(machine.read("kept/secrets.json"))
    secret = (kept["database_password"], *kept["broker_passwords"].values())
    for command in running.values():
        assert not any(each in command.log for each in secret)


@pytest.mark.parametrize("name", ["rabbitmq", "redis"])
async def test_the_health_check_of_a_server_tells_whether_it_is_there(
    machine: Machine, name: str
) -> None:
    (free,) = free_ports(1)
    assert await _server_check(machine, services()[name], None) == 0
    assert await _server_check(machine, services()[name], free) != 0


async def _server_check(machine: Machine, service: Service, port: int | None) -> int:
    """Run the check against our nodes, or against a port on which nobody listens."""
    kind, *words = service["healthcheck"]["test"]
    redis = URL(machine.redis.url())
    for own, real in (
        ("/5672", f"/{port or machine.rabbitmq.amqp_port}"),
        ("/15672", f"/{port or machine.rabbitmq.management_port}"),
        ("redis-cli", f"redis-cli -p {port or redis.port}"),
        ("/run/turnout", str(machine.root / "redis")),
    ):
        words = [each.replace(own, real) for each in words]
    process = await asyncio.create_subprocess_exec(
        *(["sh", "-c", *words] if kind == "CMD-SHELL" else words),
        stderr=asyncio.subprocess.DEVNULL,
    )
    return await process.wait()
