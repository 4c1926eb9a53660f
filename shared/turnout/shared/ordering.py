"""Ordering: which key an event has, and to which partition of its flow it goes.

    {"customer": {"id": 42}, …} ── "customer.id" ──▶ key "42" ── crc32 modulo 8 ──▶ partition 2

An event without such a value, or whose body is no JSON, has no key; all of these go to partition 0,
one after the other. Ingress, router and workers must agree on it for ever: events of one key that
went to two queues would overtake each other.
"""

import json
import re
import zlib

from turnout.shared import names
from turnout.shared.errors import InvalidName

#: Names of fields, or places in a list, with dots between.
_PATH = re.compile(r"[^.\s]+(\.[^.\s]+)*")
_LONGEST_PATH = 200
MOST_PARTITIONS = 64

#: How many partitions an ordered flow has where nothing else is said.
PARTITIONS = 8


def count(ordered_by: str | None, partitions: int | None) -> int | None:
    """Return how many partitions a flow has by its rule; None: it is not ordered.

    Raises:
        InvalidName: there cannot be such a rule.
    """
    if ordered_by is None:
        if partitions is not None:
            raise InvalidName("partitions go with ordered_by: give both")
        return None
    if len(ordered_by) > _LONGEST_PATH or not _PATH.fullmatch(ordered_by):
        raise InvalidName(
            f"ordered_by is {ordered_by[:80]!r}; use the path of a field, like 'customer.id'"
        )
    if partitions is None:
        return PARTITIONS
    if not 1 <= partitions <= MOST_PARTITIONS:
        raise InvalidName(f"partitions is {partitions!r}; use 1 to {MOST_PARTITIONS}")
    return partitions


def key(body: bytes, path: str) -> str | None:
    """Return the key of an event by its body, or None if it has none."""
    try:
        value = json.loads(body)
        for step in path.split("."):
            value = value[int(step)] if isinstance(value, list) else value[step]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    if isinstance(value, str):
        return value
    # 42 and "42" are one key: senders are not that careful.
    return json.dumps(value) if isinstance(value, int | float) else None


def partition(body: bytes, path: str, partitions: int) -> int:
    """Return the partition of an event, from 0."""
    found = key(body, path)
    if found is None:
        return 0
    return zlib.crc32(found.encode("utf-8", "surrogatepass")) % partitions


def route(routing_key: str, body: bytes, ordered_by: str | None, partitions: int | None) -> str:
    """Return the AMQP routing key of an event of a trigger.

    Args:
        routing_key: that of the trigger.
        body: of the event.
        ordered_by: the rule of the flow; None: it is not ordered.
        partitions: how many it has, if it is.
    """
    if ordered_by is None or partitions is None:
        return routing_key
    return names.partition(routing_key, partition(body, ordered_by, partitions))


def queues(group: str, flow: str, partitions: int | None) -> tuple[str, ...]:
    """Name the queues of a flow: one, or one for each partition."""
    queue = names.flow_queue(group, flow)
    if partitions is None:
        return (queue,)
    return tuple(names.partition(queue, number) for number in range(partitions))
