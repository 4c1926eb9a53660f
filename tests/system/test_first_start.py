"""A router as it is started for the first time: with TLS, and without a token in its settings."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.router.test_cli import Result, run
from tests.router.test_tls import Files
from tests.support.brokers import Broker
from tests.support.process import Command
from tests.support.system import PATIENCE
from tests.support.waiting import eventually

from turnout.router.nodes import ports

_SHOWN = re.compile(r"^Admin token, shown once: (ta_\w+)$", re.MULTILINE)


class Router:
    """A router, its certificate, and the command line that trusts it."""

    def __init__(self, directory: Path, settings: dict[str, str]) -> None:
        self._directory = directory
        (port,) = ports.free_ports(1)
        self._files = Files(directory / "admin.pem", directory / "admin.key")
        self._files.renew(1)
        self._url = f"https://127.0.0.1:{port}"
        self.command = Command(
            ["router"],
            environment={
                **settings,
                "TURNOUT_DATABASE_URL": f"sqlite+aiosqlite:///{directory}/turnout.db",
                "TURNOUT_ADMIN_PORT": str(port),
                "TURNOUT_ADMIN_TLS_CERTIFICATE": str(self._files.certificate),
                "TURNOUT_ADMIN_TLS_KEY": str(self._files.key),
            },
            directory=directory,
        )

    async def turnout(self, *arguments: str, token: str) -> Result:
        """Run a command."""
        return await run(
            *arguments,
            cwd=self._directory,
            TURNOUT_ADMIN_URL=self._url,
            TURNOUT_ADMIN_CA=str(self._files.certificate),
            TURNOUT_ADMIN_TOKEN=token,
        )

    async def started(self) -> None:
        """Start it and wait until it is the active one."""
        seen = self.command.log.count("cache filled")
        self.command.start()
        await self.command.wait_until(
            lambda: self.command.log.count("cache filled") > seen, "the cache is filled", PATIENCE
        )


@pytest.fixture
def router(tmp_path: Path, rabbitmq: Broker, amqp_url: str, redis_url: str) -> Iterator[Router]:
    addresses = {
        "TURNOUT_AMQP_URL": amqp_url,
        "TURNOUT_REDIS_URL": redis_url,
        "TURNOUT_MANAGEMENT_URL": rabbitmq.management_url,
    }
    router = Router(tmp_path, addresses)
    yield router
    if router.command.is_running:
        router.command.stop()


async def test_the_first_start_shows_a_token_once_and_the_api_is_served_with_tls(
    router: Router,
) -> None:
    await router.started()
    (token,) = _SHOWN.findall(router.command.log)

    async def is_complete() -> bool:
        return (await router.turnout("topology", "check", token=token)).code == 0

    await eventually(is_complete, PATIENCE, "the broker has all that the registry asks for")
    assert (await router.turnout("group", "create", "crm", token=token)).code == 0

    router.command.stop()
    await router.started()
    assert _SHOWN.findall(router.command.log) == [token]
    listed = await router.turnout("token", "list", token=token)
    assert (listed.code, "first start" in listed.out) == (0, True)
