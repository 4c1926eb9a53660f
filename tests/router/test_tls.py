"""TLS of the admin API: the router as it is served, and the client of the command line."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.support.waiting import eventually

from turnout.router import service, tls
from turnout.router.cli.client import AdminApi, AdminApiError
from turnout.router.nodes import ports
from turnout.router.settings import RouterSettings
from turnout.shared import keys
from turnout.shared.errors import SettingsError


class Files(NamedTuple):
    """A certificate of 127.0.0.1, which is its own authority."""

    certificate: Path
    key: Path

    def renew(self, serial: int) -> None:
        """Write both anew."""
        subprocess.run(
            [
                *(
                    "openssl",
                    "req",
                    "-x509",
                    "-newkey",
                    "ec",
                    "-pkeyopt",
                    "ec_paramgen_curve:P-256",
                ),
                *("-nodes", "-days", "2", "-subj", "/CN=router", "-set_serial", str(serial)),
                *("-addext", "subjectAltName=IP:127.0.0.1"),
                *("-keyout", str(self.key), "-out", str(self.certificate)),
            ],
            check=True,
            capture_output=True,
        )


@pytest.fixture
def files(tmp_path: Path) -> Files:
    made = Files(tmp_path / "admin.pem", tmp_path / "admin.key")
    made.renew(1)
    return made


@asynccontextmanager
async def served(files: Files, redis_url: str, token: str) -> AsyncIterator[str]:
    """Serve a router that has no broker, and return where its admin API is."""
    (port,) = ports.free_ports(1)
    settings = RouterSettings(
        amqp_url="amqp://127.0.0.1:1/",
        redis_url=redis_url,
        database_url=f"sqlite+aiosqlite:///{files.key.parent}/turnout.db",
        admin_tls_certificate=files.certificate,
        admin_tls_key=files.key,
        admin_port=port,
        admin_token=token,
    )
    stop = asyncio.Event()
    running = asyncio.create_task(service.serve(settings, stop))

    async def listens() -> bool:
        return running.done() or await serial(port) is not None

    await eventually(listens, what="the admin API listens")
    yield f"https://127.0.0.1:{port}"
    stop.set()
    await running


async def serial(port: int) -> int | None:
    """Return the serial number of the certificate that is shown at a port."""
    try:
        pem = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port))
    except OSError:
        return None
    shown = await asyncio.to_thread(
        subprocess.run,
        ["openssl", "x509", "-noout", "-serial"],
        input=pem.encode(),
        capture_output=True,
        check=True,
    )
    return int(shown.stdout.decode().strip().partition("=")[2], 16)


async def test_the_admin_api_is_served_with_tls_to_who_trusts_its_authority(
    files: Files, redis_url: str
) -> None:
    token = keys.new_key(keys.ADMIN_TOKEN).text
    async with served(files, redis_url, token) as url:

        async def groups(authority: str | None) -> object:
            return await asyncio.to_thread(AdminApi(url, token, authority).get, "groups")

        async def answers() -> bool:
            try:
                return await groups(str(files.certificate)) == {"items": [], "next_cursor": None}
            except AdminApiError as error:
                if error.status != 503:  # until it is the active one
                    raise
                return False

        await eventually(answers, what="the admin API answers")
        with pytest.raises(AdminApiError, match="TURNOUT_ADMIN_CA"):
            await groups(None)
        with pytest.raises(AdminApiError, match=r"TURNOUT_ADMIN_CA: .* cannot be used"):
            await groups(str(files.certificate.with_name("none.pem")))


async def test_a_renewed_certificate_is_shown_and_a_broken_one_is_not(files: Files) -> None:
    shown = tls.Certificate(files.certificate, files.key)
    server = await asyncio.start_server(
        lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=shown.context
    )
    port = server.sockets[0].getsockname()[1]
    for change, expected in (
        (lambda: None, 1),
        (lambda: files.key.write_text("broken"), 1),
        (files.key.unlink, 1),
        (lambda: files.renew(2), 2),
    ):
        await asyncio.to_thread(change)
        shown.refresh()
        assert await serial(port) == expected
    server.close()


def test_a_key_of_another_certificate_is_refused_at_the_start(files: Files, tmp_path: Path) -> None:
    other = Files(tmp_path / "other.pem", tmp_path / "other.key")
    other.renew(3)
    for key in (other.key, tmp_path / "none.key"):
        with pytest.raises(SettingsError, match="TURNOUT_ADMIN_TLS_KEY cannot be used"):
            tls.Certificate(files.certificate, key)
