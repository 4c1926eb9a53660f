"""Idempotency keys: a call that is sent again is answered again, and runs once.

    claim() ── nobody has it ──▶ ours, pending ── event accepted ──▶ done: kept for a day
        │                                    ├── surely refused ──▶ free again
        │                                    └── not known ───────▶ pending until the lease ends
        ├── done ──▶ the event id of the first call
        ├── pending for another call ──▶ refused for now: that one may yet fail
        └── Redis does not answer ──▶ ours: the worker finds the twin by the hash in the envelope

An event is published first and its key is done afterwards, so whatever is lost in between leads to
a second run and never to none.
"""

import hashlib

from multidict import CIMultiDictProxy

from turnout.shared import names
from turnout.shared.batch import Batch, Unavailable

#: Headers that carry one, the first that is there counts:
#: https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/ and
#: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
_HEADERS = ("Idempotency-Key", "webhook-id")

_PENDING = b"pending "
_DONE = b"done "

# Only whoever has the claim may change it: it may have run out and be another call's by now.
_FINISH = """
if redis.call('get', KEYS[1]) == ARGV[1] then
  redis.call('set', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
"""
_RELEASE = "if redis.call('get', KEYS[1]) == ARGV[1] then redis.call('del', KEYS[1]) end"


def digest(headers: CIMultiDictProxy[str], group_id: str, trigger_id: str) -> str | None:
    """Hash the idempotency key of a call, if it brought one.

    Args:
        headers: of the call.
        group_id: in which the key is unique.
        trigger_id: the same: one message that a provider sends to two triggers starts both flows.

    Returns:
        Hex SHA-256, or None.
    """
    for name in _HEADERS:
        if text := headers.get(name):
            scoped = f"{group_id}\0{trigger_id}\0{text}"
            return hashlib.sha256(scoped.encode("utf-8", "surrogateescape")).hexdigest()
    return None


class Idempotency:
    """Remembers idempotency keys in Redis.

    Args:
        batch: asks the cache.
        lease: seconds for which a claim holds whose outcome is not known; longer than any call.
        lifetime: seconds for which a finished one is remembered.
    """

    def __init__(self, batch: Batch, *, lease: float, lifetime: float) -> None:
        self._batch = batch
        self._lease = int(lease * 1000)
        self._lifetime = int(lifetime * 1000)

    async def claim(self, key: str, event_id: str) -> str | None:
        """Claim a key for an event that is about to be published.

        Args:
            key: its digest.
            event_id: new with each call, so it tells whose claim it is.

        Returns:
            The id of the event that the key stands for: this one, or that of an earlier call.
            None: another call has claimed it and is not done.
        """
        name = names.idempotency(key)
        own = _PENDING + event_id.encode()
        try:
            found: bytes | None = await self._batch.execute(
                "SET", name, own, "NX", "GET", "PX", self._lease
            )
        except Unavailable:
            return event_id
        if found is None or found == own:  # own: redis-py sent it twice
            return event_id
        return found.removeprefix(_DONE).decode() if found.startswith(_DONE) else None

    async def finish(self, key: str, event_id: str) -> None:
        """Note that the event was accepted; if that fails, a twin runs a second time."""
        event = event_id.encode()
        await self._change(_FINISH, key, _PENDING + event, _DONE + event, self._lifetime)

    async def release(self, key: str, event_id: str) -> None:
        """Note that the event was surely not accepted, so that the next call is a new one."""
        await self._change(_RELEASE, key, _PENDING + event_id.encode())

    async def _change(self, script: str, key: str, *arguments: bytes | int) -> None:
        try:
            await self._batch.execute("EVAL", script, 1, names.idempotency(key), *arguments)
        except Unavailable:
            return  # the lease runs out by itself
