"""Once: a side effect that is not to be repeated when its run is.

A run may be tried again after a failure, or handed out again by the broker when its worker is lost.
A mark in Redis tells the later attempt what became of the side effect in an earlier one:

    no mark ──block entered──▶ begun ──block left────▶ done      later attempts skip it
                                 ├──── it raised ────▶ no mark   the next attempt tries again
                                 └──── cut off ──────▶ begun     nobody knows: `OnceError`

*Cut off* is a worker that was killed, or an attempt that was cancelled at its timeout, in the
middle of the block. Only the receiver of the side effect can tell then whether it happened. So
later attempts raise, until the run is dead and a person decides, or the flow catches the error and
asks the receiver.

Limits: a mark is kept for seven days. It belongs to the run; a replay is another run, and repeats
the side effect. Without Redis the block is not entered and raises, so that the attempt is tried
again. When Redis loses its data, the side effect may be repeated.
"""

from types import TracebackType
from typing import cast

import redis
import redis.asyncio

from turnout.shared import cache, log, names
from turnout.shared.errors import TurnoutError

logger = log.get(__name__)

#: Seconds that a mark is kept.
LIFETIME = 7 * 24 * 3600

BEGUN = b"begun"
DONE = b"done"


class OnceError(TurnoutError):
    """It is not known whether a side effect has happened."""


class Marks:
    """The marks in Redis. Each method is there twice: for the event loop, and for threads.

    Args:
        url: of Redis; it is connected to when a flow first asks.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._client: redis.asyncio.Redis | None = None
        self._blocking: redis.Redis | None = None

    async def begin(self, name: str) -> bytes | None:
        """Make the mark "begun" where there is none; return the one that there was."""
        if self._client is None:
            self._client = cache.connect(self._url)
        found = await self._client.set(name, BEGUN, nx=True, get=True, ex=LIFETIME)
        return cast("bytes | None", found)

    async def end(self, name: str, *, happened: bool) -> None:
        """Make the mark "done", or remove it."""
        assert self._client is not None  # noqa: S101 - `begin` came before
        if happened:
            await self._client.set(name, DONE, ex=LIFETIME)
        else:
            await self._client.delete(name)

    def begin_blocking(self, name: str) -> bytes | None:
        """Do the same in a thread."""
        if self._blocking is None:
            self._blocking = cache.connect_blocking(self._url)
        found = self._blocking.set(name, BEGUN, nx=True, get=True, ex=LIFETIME)
        return cast("bytes | None", found)

    def end_blocking(self, name: str, *, happened: bool) -> None:
        """Do the same in a thread."""
        assert self._blocking is not None  # noqa: S101 - `begin_blocking` came before
        if happened:
            self._blocking.set(name, DONE, ex=LIFETIME)
        else:
            self._blocking.delete(name)

    async def close(self) -> None:
        """Disconnect."""
        if self._client is not None:
            await self._client.aclose()
        if self._blocking is not None:
            self._blocking.close()


class Once:
    """A guarded block: entering it tells whether the side effect is still to be done."""

    def __init__(self, marks: Marks, run_id: str, key: str) -> None:
        self._marks = marks
        self._name = names.once(run_id, key)
        self._told = f"once({key!r}) in {run_id}"
        self._is_first = False

    async def __aenter__(self) -> bool:
        """Begin.

        Raises:
            OnceError: an earlier attempt was cut off, or Redis cannot be asked.
        """
        try:
            found = await self._marks.begin(self._name)
        except cache.ERRORS as error:
            raise self._unasked(error) from None
        return self._entered(found)

    async def __aexit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        if self._is_known(error):
            try:
                await self._marks.end(self._name, happened=error is None)
            except cache.ERRORS as lost:
                self._warn(lost)

    def __enter__(self) -> bool:
        """Begin, in a plain function.

        Raises:
            OnceError: an earlier attempt was cut off, or Redis cannot be asked.
        """
        try:
            found = self._marks.begin_blocking(self._name)
        except cache.ERRORS as error:
            raise self._unasked(error) from None
        return self._entered(found)

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        if self._is_known(error):
            try:
                self._marks.end_blocking(self._name, happened=error is None)
            except cache.ERRORS as lost:
                self._warn(lost)

    def _entered(self, found: bytes | None) -> bool:
        if found == BEGUN:
            raise OnceError(
                f"{self._told}: an earlier attempt began it and did not get to its end; "
                "it may have happened"
            )
        self._is_first = found is None
        return self._is_first

    def _is_known(self, error: BaseException | None) -> bool:
        """Tell whether the block came to an end of its own; a cancelled one was cut off."""
        return self._is_first and (error is None or isinstance(error, Exception))

    def _unasked(self, error: Exception) -> OnceError:
        return OnceError(f"{self._told}: Redis cannot be asked whether it has happened: {error}")

    def _warn(self, error: Exception) -> None:
        # The block has ended as it has: to raise now would only repeat what follows it.
        logger.warning("mark stays at begun", once=self._told, reason=str(error))
