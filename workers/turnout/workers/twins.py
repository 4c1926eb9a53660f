"""Twins: events that two calls with one idempotency key made, of which one is to run.

Ingress answers a second call with the first one's event. Where it could not know (the cache was
down or forgetful, the first answer was "not known"), two events are in the queue, and the worker
finds out:

    claim() ── nobody has run it ──▶ ours ── succeeded ──▶ done, for a day
        │                             │         └── dead, the lease ended ──▶ anybody's again
        │                             └── retried, or redelivered ──▶ still ours
        ├── done by another run ──▶ a duplicate: it does not run
        ├── done by this run ─────▶ it succeeded, and its worker died before it could say so
        └── another run has it ───▶ wait: that one may yet fail

Redis is never the only copy of anything, so without it both run.
"""

from enum import Enum
from typing import NamedTuple

from turnout.shared import names
from turnout.shared.batch import Batch, Unavailable

_PENDING = b"pending "
_DONE = b"done "

_CLAIM = """
local found = redis.call('get', KEYS[1])
if found and found ~= ARGV[1] then return found end
redis.call('set', KEYS[1], ARGV[1], 'PX', ARGV[2])
"""
# Only whoever has the lease may change it: it may have ended, and be another one's by now.
_FINISH = """
if redis.call('get', KEYS[1]) == ARGV[1] then
  redis.call('set', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
"""
_RELEASE = "if redis.call('get', KEYS[1]) == ARGV[1] then redis.call('del', KEYS[1]) end"


class Claim(Enum):
    """What is known of an idempotency key."""

    OURS = "ours"
    """Nobody else has run it."""
    DONE = "done"
    """This very run has succeeded."""
    DUPLICATE = "duplicate"
    """Another run has succeeded."""
    BUSY = "busy"
    """Another run is at it."""


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

    async def claim(self, key: str, run_id: str, lease: float) -> Found:
        """Claim a key for a run that is about to start.

        Args:
            key: its digest.
            run_id: the same in all attempts and redeliveries.
            lease: seconds after which the run is given up; longer than an attempt takes.
        """
        own = _PENDING + run_id.encode()
        try:
            found: bytes | None = await self._ask(_CLAIM, key, own, int(lease * 1000))
        except Unavailable:
            found = None
        if found is None:
            return Found(Claim.OURS, run_id)
        state, _, other = found.partition(b" ")
        holder = other.decode()
        if state + b" " != _DONE:
            return Found(Claim.BUSY, holder)
        return Found(Claim.DONE if holder == run_id else Claim.DUPLICATE, holder)

    async def finish(self, key: str, run_id: str) -> None:
        """Note that a run has succeeded; if that fails, a twin runs as well."""
        run = run_id.encode()
        await self._change(_FINISH, key, _PENDING + run, _DONE + run, self._lifetime)

    async def release(self, key: str, run_id: str) -> None:
        """Note that a run is dead, so that a twin may try."""
        await self._change(_RELEASE, key, _PENDING + run_id.encode())

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
