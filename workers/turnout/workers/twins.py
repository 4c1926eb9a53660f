"""Twins: two messages that stand for one call, or are copies of one run, of which one is to run.

Ingress answers a second call with the first one's event. Where it could not know (the cache was
down or forgetful, the first answer was "not known"), two events are in the queue. And a router that
was killed while it published a replay publishes some of its runs again, by the ids that they had.
The worker finds out:

    claim() ── nobody has run it ──▶ ours ── succeeded ──▶ done, for a day
        │                             ├── dead ──▶ a twin's, but not a copy's
        │                             ├── the lease ended ──▶ anybody's again
        │                             └── retried, or redelivered ──▶ still ours
        ├── done by another run ──▶ a duplicate: it does not run
        ├── ended in this run ────▶ a copy of it; or its worker died before it could say so
        └── another run has it, or this one in another copy ──▶ wait: that one may yet fail

A copy is told from a redelivery and from a later attempt by its message: it is a first attempt that
the broker has never handed out. Redis is never the only copy of anything, so without it both run.
"""

from enum import Enum
from typing import NamedTuple

from turnout.shared import names
from turnout.shared.batch import Batch, Unavailable

_PENDING = b"pending "
_DONE = b"done "
_DEAD = b"dead "

# What another run left that is dead is free. Own again: the run is retried, or redelivered.
_CLAIM = """
local found = redis.call('get', KEYS[1])
local free = not found or (found ~= ARGV[3] and string.sub(found, 1, 5) == 'dead ')
if free or (found == ARGV[1] and ARGV[4] == '0') then
  redis.call('set', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return nil
end
return found
"""
# Only whoever has the lease may change it: it may have ended, and be another one's by now.
_FINISH = """
if redis.call('get', KEYS[1]) == ARGV[1] then
  redis.call('set', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
"""
_EXTEND = """
if redis.call('get', KEYS[1]) == ARGV[1] then redis.call('pexpire', KEYS[1], ARGV[2]) end
"""


class Claim(Enum):
    """What is known of an idempotency key."""

    OURS = "ours"
    """Nobody else has run it."""
    DONE = "done"
    """This very run has succeeded."""
    DEAD = "dead"
    """This very run is dead."""
    DUPLICATE = "duplicate"
    """Another run has succeeded."""
    BUSY = "busy"
    """Another run, or another copy of this one, is at it."""


class Found(NamedTuple):
    """The answer to a claim."""

    claim: Claim
    run_id: str
    """Whose the key is."""


class Twins:
    """Remembers in Redis which run an idempotency key belongs to.

    Args:
        batch: asks the cache.
        lifetime: seconds for which a finished one is remembered.
    """

    def __init__(self, batch: Batch, *, lifetime: float) -> None:
        self._batch = batch
        self._lifetime = int(lifetime * 1000)

    async def claim(self, key: str, run_id: str, lease: float, *, is_first: bool) -> Found:
        """Claim a key for a run that is about to start.

        Args:
            key: its digest.
            run_id: the same in all attempts, redeliveries and copies.
            lease: seconds after which the run is given up; longer than an attempt takes.
            is_first: whether nobody can have begun this very message before.
        """
        run = run_id.encode()
        own, milliseconds = _PENDING + run, int(lease * 1000)
        try:
            found: bytes | None = await self._ask(
                _CLAIM, key, own, milliseconds, _DEAD + run, int(is_first)
            )
        except Unavailable:
            found = None
        if found is None:
            return Found(Claim.OURS, run_id)
        state, _, other = found.partition(b" ")
        holder = other.decode()
        if state + b" " == _PENDING:
            return Found(Claim.BUSY, holder)
        if state + b" " == _DEAD:
            return Found(Claim.DEAD, holder)
        return Found(Claim.DONE if holder == run_id else Claim.DUPLICATE, holder)

    async def finish(self, key: str, run_id: str) -> None:
        """Note that a run has succeeded; if that fails, a twin runs as well."""
        run = run_id.encode()
        await self._change(_FINISH, key, _PENDING + run, _DONE + run, self._lifetime)

    async def extend(self, key: str, run_id: str, lease: float) -> None:
        """Note that a run waits for another attempt."""
        await self._change(_EXTEND, key, _PENDING + run_id.encode(), int(lease * 1000))

    async def bury(self, key: str, run_id: str) -> None:
        """Note that a run is dead, so that a twin may try; a copy may not."""
        run = run_id.encode()
        await self._change(_FINISH, key, _PENDING + run, _DEAD + run, self._lifetime)

    async def _change(self, script: str, key: str, *arguments: bytes | int) -> None:
        try:
            await self._ask(script, key, *arguments)
        except Unavailable:
            return  # the lease ends by itself

    async def _ask(self, script: str, key: str, *arguments: bytes | int) -> bytes | None:
        reply: bytes | None = await self._batch.execute(
            "EVAL", script, 1, names.executed(key), *arguments
        )
        return reply
