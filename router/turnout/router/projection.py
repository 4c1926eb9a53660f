"""The projection: what ingress and workers must know of the registry, written into the cache.

The epoch is the promise that everything is there. It is written last, and only if the cache was not
flushed meanwhile: a marker, set before the first record, must still stand. It is another one after
each change: a cache that was set back to an earlier state, by a restored backup or a replica that
lagged behind, is known by it and filled again.
"""

import secrets
from collections.abc import Collection, Mapping
from datetime import datetime

from redis.asyncio import Redis

from turnout.router.registry import ApiKey, Snapshot, Trigger
from turnout.shared import log, names, notices
from turnout.shared.errors import SettingsError
from turnout.shared.notices import EVERY_RUN, FlowRecord, Pause
from turnout.shared.records import KeyRecord, TriggerRecord

logger = log.get(__name__)

#: Commands in one round trip.
_CHUNK = 1000

#: An entry of the cache: a string, or the fields of a hash.
Entry = bytes | Mapping[str, bytes]

#: All that is written here and nowhere else.
_OURS = (
    *(f"{prefix}*" for prefix in (names.AUTH_KEY_PREFIX, names.AUTH_TRIGGER_PREFIX)),
    *(f"{names.CANCELLED_PREFIX}*", names.FLOWS, names.PAUSED),
)

_FINISH = """
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('set', KEYS[2], ARGV[1])
redis.call('del', KEYS[1])
return 1
"""


def entries(snapshot: Snapshot) -> dict[str, Entry]:
    """Return all cache entries that follow from the registry, by name."""
    return {**_records(snapshot), **_notices(snapshot)}


def _records(snapshot: Snapshot) -> dict[str, bytes]:
    """Return the records that ingress reads.

    A revoked key has none. A trigger has one from the moment its queue and binding were seen at
    the broker, so that no call comes before its flow can receive it. While a secret or a routing
    key is being replaced, the old one has an entry of its own, which ends by itself.
    """
    found: dict[str, bytes] = {}
    for key in snapshot.keys:
        if key.revoked_at is None:
            found |= _of_key(key)
    for trigger in snapshot.triggers:
        if trigger.live_since is not None:
            found |= _of_trigger(trigger)
    return found


def _notices(snapshot: Snapshot) -> dict[str, Entry]:
    """Return the hashes that workers read; a hash without a field does not exist."""
    found: dict[str, dict[str, bytes]] = {
        names.FLOWS: {
            flow.address: FlowRecord(flow.ordered_by, flow.partitions, flow.run_limit).encode()
            for flow in snapshot.flows
        },
        names.PAUSED: {
            flow.address: Pause(flow.paused_reason or "", flow.paused_at.timestamp()).encode()
            for flow in snapshot.flows
            if flow.paused_at is not None
        },
    }
    for each in snapshot.cancellations:
        found.setdefault(names.cancelled(each.address), {})[each.run] = (
            notices.cancelled_until(int(each.created_at.timestamp() * 1e9), each.reason)
            if each.run == EVERY_RUN
            else notices.cancelled_run(each.reason)
        )
    return {name: fields for name, fields in found.items() if fields}


def names_of_key(key: ApiKey) -> list[str]:
    """Return the names of all entries that a key has, or has had since it was last rotated."""
    return [names.auth_key(digest) for digest in (key.digest, key.old_digest) if digest]


def names_of_trigger(trigger: Trigger) -> list[str]:
    """Return the names of all entries that a trigger has, or has had since it was last rotated."""
    routing_keys = (trigger.routing_key, trigger.old_routing_key)
    return [names.auth_trigger(each) for each in routing_keys if each]


def _of_key(key: ApiKey) -> dict[str, bytes]:
    record = KeyRecord(
        key_id=key.id,
        group_id=key.group_id,
        expires_at=_timestamp(key.expires_at),
        rate=key.effective_limits.rate,
        burst=key.effective_limits.burst,
        in_flight=key.effective_limits.in_flight,
        flow_ids=key.flow_ids,
    )
    entries = {names.auth_key(key.digest): record.encode()}
    if key.old_digest and key.old_until and key.overlaps:
        old = record._replace(
            expires_at=_timestamp(min(filter(None, (key.old_until, key.expires_at)))),
            old_since=_timestamp(key.rotated_at),
        )
        entries[names.auth_key(key.old_digest)] = old.encode()
    return entries


def _of_trigger(trigger: Trigger) -> dict[str, bytes]:
    record = TriggerRecord(
        trigger_id=trigger.id,
        flow_id=trigger.flow_id,
        group_id=trigger.group_id,
        group=trigger.group,
        flow=trigger.flow,
        methods=trigger.methods,
        enabled=trigger.enabled,
        key_ids=trigger.key_ids,
        key_in_query=trigger.key_in_query,
        rate=trigger.effective_limits.rate,
        burst=trigger.effective_limits.burst,
        max_body_bytes=trigger.effective_limits.max_body_bytes,
        content_types=trigger.content_types,
    )
    entries = {}
    for routing_key in trigger.routing_keys:
        own = record
        if routing_key != trigger.routing_key:
            own = own._replace(
                old_since=_timestamp(trigger.rotated_at), expires_at=_timestamp(trigger.old_until)
            )
        if trigger.moved:
            own = own._replace(route=trigger.route(routing_key))
        entries[names.auth_trigger(routing_key)] = own.encode()
    return entries


def _timestamp(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()


_ADVANCE = """
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('set', KEYS[1], ARGV[2])
return 1
"""


class Projection:
    """Keeps the cache like the registry.

    Args:
        client: the cache.
    """

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._written: dict[str, Entry] | None = None  # None: not known, so all is written
        self._epoch = b""
        self._withdrawn: set[str] = set()

    async def is_complete(self) -> bool:
        """Tell whether the cache holds what was last written: it was not flushed or set back.

        Raises:
            redis.RedisError, OSError: the cache does not answer.
        """
        return self._written is not None and await self._is_ours()

    async def write(self, snapshot: Snapshot) -> None:
        """Bring the cache in line: what changed since the last time, or everything.

        Raises:
            redis.RedisError, OSError: the cache does not answer; the next call writes everything.
        """
        wanted = entries(snapshot)
        written, self._written = self._written, None
        if written is not None and await self._is_ours():
            complete = await self._change(
                {name: entry for name, entry in wanted.items() if written.get(name) != entry},
                [name for name in written if name not in wanted],
            )
        else:
            complete = await self._fill(wanted)
        if complete:
            self._written = wanted
        else:
            logger.warning("the cache was flushed while it was written; it is filled again")

    async def withdraw(self, entries: Collection[str]) -> None:
        """Remove records at once and for ever, without waiting for a write that is under way.

        Such a write follows an earlier state of the registry: what it brings back, it removes.

        Raises:
            redis.RedisError, OSError: the cache does not answer; the next write removes them.
        """
        self._withdrawn.update(entries)
        await self._delete(list(entries))

    async def _is_ours(self) -> bool:
        return await self._client.get(names.AUTH_EPOCH) == self._epoch

    async def _change(self, changed: dict[str, Entry], gone: list[str]) -> bool:
        """Write what changed, then another epoch; tell whether the cache stood all that time."""
        if not changed and not gone:
            return True
        await self._set(changed)
        await self._delete(gone)
        before, self._epoch = self._epoch, secrets.token_hex(8).encode()
        advanced = await self._client.eval(_ADVANCE, 1, names.AUTH_EPOCH, before, self._epoch)
        return bool(advanced)

    async def _fill(self, wanted: dict[str, Entry]) -> bool:
        """Write everything, remove what does not belong, then promise that it is complete.

        Returns:
            Whether it is: the cache was not flushed meanwhile.
        """
        marker = secrets.token_hex(8).encode()
        await self._client.set(names.AUTH_FILLING, marker)
        await self._set(wanted)
        stale = [
            name
            for pattern in _OURS
            async for found in self._client.scan_iter(match=pattern, count=_CHUNK)
            if (name := found.decode()) not in wanted
        ]
        await self._delete(stale)
        finished = await self._client.eval(_FINISH, 2, names.AUTH_FILLING, names.AUTH_EPOCH, marker)
        if finished:
            self._epoch = marker
            logger.info("cache filled", records=len(wanted), removed=len(stale))
        return bool(finished)

    async def _set(self, changed: dict[str, Entry]) -> None:
        strings = [(name, each) for name, each in changed.items() if isinstance(each, bytes)]
        for begin in range(0, len(strings), _CHUNK):
            some = dict(strings[begin : begin + _CHUNK])
            await self._client.mset(some)
            await self._delete([name for name in some if name in self._withdrawn])
        for name, each in changed.items():
            if not isinstance(each, bytes):
                # In one transaction: nobody reads a hash that is half written.
                async with self._client.pipeline() as pipe:
                    pipe.delete(name)
                    pipe.hset(name, items=[part for pair in each.items() for part in pair])
                    await pipe.execute()

    async def _delete(self, gone: list[str]) -> None:
        for begin in range(0, len(gone), _CHUNK):
            await self._client.delete(*gone[begin : begin + _CHUNK])


async def check_eviction(client: Redis) -> None:
    """Make sure that the cache never drops a record to make room.

    Raises:
        SettingsError: its eviction policy could.
        redis.RedisError, OSError: it does not answer.
    """
    memory = await client.info("memory")
    policy = str(memory.get("maxmemory_policy", "noeviction"))
    if memory.get("maxmemory") and policy.startswith("allkeys"):
        raise SettingsError(
            f"Redis evicts entries (maxmemory-policy {policy}): a valid API key could vanish. "
            "Set maxmemory-policy to noeviction"
        )
