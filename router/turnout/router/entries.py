"""Entries: what ingress and workers must know of the registry, as the cache holds it."""

from collections.abc import Iterator
from datetime import datetime

from turnout.router.registry import ApiKey, Snapshot, Trigger
from turnout.shared import names, notices
from turnout.shared.notices import EVERY_RUN, FlowRecord, Pause
from turnout.shared.records import KeyRecord, TriggerRecord

#: The fields of a hash.
Notice = dict[str, bytes]

#: The names of all entries, as patterns.
PATTERNS = (
    *(f"{prefix}*" for prefix in (names.AUTH_KEY_PREFIX, names.AUTH_TRIGGER_PREFIX)),
    *(f"{names.CANCELLED_PREFIX}*", names.FLOWS, names.PAUSED),
)


def records_of(snapshot: Snapshot) -> Iterator[tuple[str, bytes]]:
    """Give the records that ingress reads, each with its name.

    A revoked key has none. A trigger has one from the moment its queue and binding were seen at
    the broker, so that no call comes before its flow can receive it. While a secret or a routing
    key is being replaced, the old one has an entry of its own, which ends by itself.
    """
    for each in snapshot.parties:
        yield from records_of_one(each).items()


def records_of_one(party: ApiKey | Trigger) -> dict[str, bytes]:
    """Return the records of a key or a trigger, by name: see `records_of`."""
    if isinstance(party, ApiKey):
        return {} if party.revoked_at is not None else _of_key(party)
    return {} if party.live_since is None else _of_trigger(party)


def names_of(party: ApiKey | Trigger) -> list[str]:
    """Return the names of all records that a key or a trigger has, or may still have."""
    return names_of_key(party) if isinstance(party, ApiKey) else names_of_trigger(party)


def notices_of(snapshot: Snapshot) -> dict[str, Notice]:
    """Return the hashes that workers read; a hash without a field does not exist."""
    found: dict[str, dict[str, bytes]] = {
        names.FLOWS: {
            flow.address: FlowRecord(flow.ordered_by, flow.partitions, flow.max_running).encode()
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
    limits = key.effective_limits
    record = KeyRecord(
        key_id=key.id,
        group_id=key.group_id,
        expires_at=_timestamp(key.expires_at),
        rate=limits.rate,
        burst=limits.burst,
        in_flight=limits.in_flight,
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
    limits = trigger.effective_limits
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
        rate=limits.rate,
        burst=limits.burst,
        max_body_bytes=limits.max_body_bytes,
        max_header_bytes=limits.max_header_bytes,
        read_timeout=limits.read_timeout,
        content_types=trigger.content_types,
        wait=trigger.wait,
        ordered_by=trigger.ordered_by,
        partitions=trigger.partitions,
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
