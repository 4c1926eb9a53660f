"""The lease: one router of several is the active one, by a row in SQL.

    standby ── nobody has it, or its holder gives no sign of life ──▶ active: epoch + 1
       ▲                                                                │ a beat each second
       └── another has it, or the database did not answer for too long ─┘

No clock is compared with another: a router on standby takes over when it has seen the same beat for
`_TAKEOVER` seconds, and the active one steps down when it could not renew for `_PATIENCE`, which is
less. One that was stopped in between (SIGSTOP, a suspended machine) does not know that yet when it
goes on. So each transaction that writes first reads the epoch, and keeps it from being moved until
it ends: whoever comes too late writes nothing.
"""

import asyncio
import os
import socket
import time
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from turnout.router import models
from turnout.router.database import Database, DatabaseUnavailable
from turnout.router.nodes.process import started_at
from turnout.shared import log
from turnout.shared.errors import TurnoutError

logger = log.get(__name__)

#: Seconds: between two beats, between two looks of a router on standby, without a renewal until the
#: holder steps down, with the same beat until another takes over.
_BEAT = 1.0
_LOOK = 0.5
_PATIENCE = 5.0
_TAKEOVER = 6.5

_ROW = select(models.Lease.holder, models.Lease.epoch, models.Lease.beat)


class LeaseLost(TurnoutError):
    """This router is not, or no longer, the active one."""


class _Seen(NamedTuple):
    """The row at one moment."""

    holder: str
    epoch: int
    beat: int


class Lease:
    """The lease as one router sees it. From now on nothing is written to the database without it.

    Args:
        database: where the row is.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._holder = _this_process()
        self._epoch = 0
        self._renewed = float("-inf")
        database.fence = self._check_in

    @property
    def held(self) -> bool:
        """Whether this router is the active one, as far as it can know by itself."""
        return _clock() - self._renewed < _PATIENCE

    @property
    def epoch(self) -> int:
        """The number of our holding: greater than that of every holder before.

        Raises:
            LeaseLost: this router is not the active one.
        """
        self.require()
        return self._epoch

    def require(self) -> None:
        """Make sure that this router is the active one, as far as it can know by itself.

        Raises:
            LeaseLost: it is not.
        """
        if not self.held:
            raise LeaseLost("this router is not the active one")

    async def acquire(self) -> None:
        """Wait until nobody else holds it, and take it."""
        seen: _Seen | None = None
        since = _clock()
        told = False
        while True:
            try:
                found = await self._look()
                if found != seen:
                    seen, since = found, _clock()
                is_over = _is_over(found.holder) or _clock() - since > _TAKEOVER
                if is_over and await self._take(found):
                    logger.info("this router is active", epoch=self._epoch)
                    return
                if not told:
                    logger.info("this router is on standby", active=found.holder)
                told = True
            except DatabaseUnavailable as error:
                logger.warning("the lease cannot be read", reason=str(error))
            await asyncio.sleep(_LOOK)

    async def keep(self) -> None:
        """Renew it for ever.

        Raises:
            LeaseLost: another router has it, or it could not be renewed for too long.
        """
        while True:
            await asyncio.sleep(_BEAT)
            began = _clock()
            if self._database.writes_alone():  # its transaction is a beat as well, see _check_in
                self._renewed = began
                continue
            try:
                async with asyncio.timeout(max(0.1, self._renewed + _PATIENCE - _BEAT - began)):
                    await self._renew()
                self._renewed = began
            except (DatabaseUnavailable, TimeoutError) as error:
                if self._database.writes_alone():  # it waited for a transaction of our own
                    self._renewed = _clock()
                    continue
                logger.warning("the lease is not renewed", reason=str(error) or "no answer")
            if not self.held:
                raise LeaseLost(f"the lease could not be renewed for {_PATIENCE:g} s")

    async def release(self) -> None:
        """Give it up, if it is ours, so that another router need not wait for it."""
        self._renewed = float("-inf")
        if not self._epoch:
            return
        try:
            async with self._database.writing(fenced=False) as connection:
                await connection.execute(
                    update(models.Lease)
                    .where(models.Lease.epoch == self._epoch, models.Lease.holder == self._holder)
                    .values(holder="")
                )
        except DatabaseUnavailable as error:
            logger.warning("the lease is not given up", reason=str(error))

    async def _look(self) -> _Seen:
        async with self._database.reading() as connection:
            return _Seen(*(await connection.execute(_ROW)).one())

    async def _take(self, seen: _Seen) -> bool:
        """Take it if it still is as it was seen; tell whether it did."""
        began = _clock()
        async with self._database.writing(fenced=False) as connection:
            # Waits for transactions of the holder before: they hold the row, see _check_in.
            if _Seen(*(await connection.execute(_ROW.with_for_update())).one()) != seen:
                return False
            await connection.execute(
                update(models.Lease).values(holder=self._holder, epoch=seen.epoch + 1, beat=0)
            )
        self._epoch, self._renewed = seen.epoch + 1, began
        return True

    async def _renew(self) -> None:
        async with self._database.writing(fenced=False) as connection:
            renewed = await self._beat(connection)
        if not renewed:
            self._renewed = float("-inf")
            raise LeaseLost("another router has taken over")

    async def _beat(self, connection: AsyncConnection) -> bool:
        """Give a sign of life, if the lease is ours; tell whether it is."""
        beat = (
            update(models.Lease)
            .where(models.Lease.epoch == self._epoch)
            .values(beat=models.Lease.beat + 1)
        )
        return bool((await connection.execute(beat)).rowcount)

    async def _check_in(self, connection: AsyncConnection) -> None:
        """Make sure, within a transaction, that it is ours until the transaction ends.

        Raises:
            LeaseLost: it is not.
        """
        self.require()
        if connection.dialect.name == "postgresql":
            # The row stays locked against taking it, and not against renewing it.
            lock = select(models.Lease.epoch).with_for_update(key_share=True, read=True)
            ours = await connection.scalar(lock) == self._epoch
        else:
            # There is one writer at a time. Whoever wants the lease of one that takes long finds
            # another beat when it is through.
            ours = await self._beat(connection)
        if not ours:
            self._renewed = float("-inf")
            raise LeaseLost("another router has taken over")


def _clock() -> float:
    """Return seconds that go on while this process, or this machine, is stopped."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _this_process() -> str:
    """Name this process so that no other one, before or elsewhere, has its name."""
    return f"{_machine()} {os.getpid()} {started_at(os.getpid())} on {socket.gethostname()}"


def _is_over(holder: str) -> bool:
    """Tell whether a holder has surely ended: nobody, or a process of this machine that is gone."""
    if not holder:
        return True
    machine, pid, began, *_ = holder.split(" ")
    return machine == _machine() and started_at(int(pid)) != began


def _machine() -> str:
    """Name what process ids are counted in: one boot of one machine, one container."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}:{os.stat('/proc/self/ns/pid').st_ino}"  # noqa: PTH116 - no file of ours
