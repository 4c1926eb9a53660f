"""TLS of the admin API: the certificate that it shows, and its renewal.

    files ──read──▶ context ──▶ each new connection
      └── renewed ──read again──▶ open connections go on as they are

What cannot be read is told, and the certificate before it stays.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

from turnout.shared import log
from turnout.shared.errors import SettingsError

logger = log.get(__name__)

#: Seconds between two looks at the files.
_INTERVAL = 10.0


class Certificate:
    """A certificate and its key, in files that somebody renews.

    Args:
        certificate: the file of the certificate and those that lead to its authority, in PEM.
        key: the file of its private key, in PEM, without a password.

    Raises:
        SettingsError: they cannot be read, or do not belong together.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files = (certificate, key)
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._read_at = self._changed_at()
        self._read()

    async def watch(self) -> None:
        """Use the files again whenever they have changed, for ever."""
        while True:
            await asyncio.sleep(_INTERVAL)
            self.refresh()

    def refresh(self) -> None:
        """Read the files again, if they have changed; those that cannot be used are not."""
        try:
            changed_at = self._changed_at()
            if changed_at == self._read_at:
                return
            self._read_at = changed_at
            self._read()
        except SettingsError as error:
            logger.warning("the renewed certificate is not used", reason=str(error))
        else:
            logger.info("the renewed certificate is used")

    def _read(self) -> None:
        # First into a context of its own: a key of another certificate must not spoil the one
        # that is used.
        for context in (ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), self.context):
            try:
                context.load_cert_chain(*self._files, password="")
            except (OSError, ssl.SSLError) as error:
                raise _unusable(error) from None

    def _changed_at(self) -> tuple[int, ...]:
        try:
            return tuple(each.stat().st_mtime_ns for each in self._files)
        except OSError as error:
            raise _unusable(error) from None


@contextlib.asynccontextmanager
async def serving(
    certificate: Path | None, key: Path | None
) -> AsyncIterator[ssl.SSLContext | None]:
    """Hand out what a server needs for TLS, up to date for as long as the context lasts.

    Raises:
        SettingsError: the files cannot be used.
    """
    if certificate is None or key is None:
        yield None
        return
    shown = Certificate(certificate, key)
    task = asyncio.create_task(shown.watch(), name="certificate")
    try:
        yield shown.context
    finally:
        task.cancel()


def _unusable(error: OSError) -> SettingsError:
    return SettingsError(
        "TURNOUT_ADMIN_TLS_CERTIFICATE and TURNOUT_ADMIN_TLS_KEY cannot be used: "
        f"{error.strerror or error}"
    )
