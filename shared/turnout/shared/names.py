"""Legal names, and every name derived from them: exchanges, queues, cache keys.

No other module spells a name of the broker or the cache.
"""

import re
from datetime import UTC, datetime
from typing import Literal

from turnout.shared.errors import InvalidName

_PARTITION = re.compile(r"\.p[0-9]+\Z")
_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")

# Exchanges. All but TRIGGERS are fanouts to the queue of the same name.
TRIGGERS = "turnout.triggers"
ARCHIVE = "turnout.archive"
DEAD = "turnout.dead"
UNROUTED = "turnout.unrouted"
OUTCOMES = "turnout.outcomes"

FLOW_QUEUE_PREFIX = "turnout.flow."

#: Delays of the buckets in seconds: 1 s to 1 h, each about 1.5 times the one before.
DELAYS = (
    *(1, 2, 3, 5, 8, 12, 18, 27, 40, 60),
    *(90, 135, 200, 300, 450, 675, 1000, 1500, 2250, 3600),
)

# Cache keys.
AUTH_EPOCH = "turnout:auth:epoch"
AUTH_FILLING = "turnout:auth:filling"
AUTH_KEY_PREFIX = "turnout:auth:key:"
AUTH_TRIGGER_PREFIX = "turnout:auth:trigger:"
WORKERS = "turnout:workers"
#: What workers must know of each flow, and why those that are paused are, by "group/flow".
FLOWS = "turnout:flows"
PAUSED = "turnout:paused"
#: What waits for the workers of each flow.
BACKLOG = "turnout:backlog"
CANCELLED_PREFIX = "turnout:cancelled:"
#: A capped stream of the latest refused calls.
REFUSED = "turnout:refused"
#: When each key and trigger last had a call accepted, by id, in seconds since the Unix epoch.
LAST_USED = "turnout:usage:last"


def slug(value: str, what: str = "slug") -> str:
    """Return `value` if it is a legal slug.

    Args:
        value: the text to check.
        what: how the error calls it, for example "group".

    Raises:
        InvalidName: it is not 1 to 40 of a-z, 0-9 and "-", or starts with "-".
    """
    if not _SLUG.fullmatch(value):
        raise InvalidName(
            f"{what} {value[:60]!r} is not a slug: use 1 to 40 of a-z, 0-9 and '-', "
            "starting with a letter or digit"
        )
    return value


def flow_address(address: str) -> tuple[str, str]:
    """Split "group/flow" into its two slugs.

    Raises:
        InvalidName: it is not two slugs with one slash between them.
    """
    group, slash, flow = address.partition("/")
    if not slash:
        raise InvalidName(f"flow {address[:90]!r} has no group: write it as 'group/flow'")
    return slug(group, "group"), slug(flow, "flow")


def flow_queue(group: str, flow: str) -> str:
    """Name the queue of one flow; slugs have no dot, so the name is unambiguous."""
    return f"{FLOW_QUEUE_PREFIX}{group}.{flow}"


def partition(name: str, number: int) -> str:
    """Name one part of the queue, or of the routing key, of an ordered flow."""
    return f"{name}.p{number}"


def same_partition(name: str, other: str) -> str:
    """Name the part of a queue that is numbered like another name, if that has a number."""
    match = _PARTITION.search(other)
    return name if match is None else name + match[0]


def flow_of(queue: str) -> str | None:
    """Return the address of the flow that a queue belongs to, or None if it is no flow's."""
    if not queue.startswith(FLOW_QUEUE_PREFIX):
        return None
    group, flow, *_ = queue[len(FLOW_QUEUE_PREFIX) :].split(".")
    return f"{group}/{flow}"


def delay(seconds: int) -> str:
    """Name the exchange and the queue of one delay bucket."""
    return f"turnout.delay.{seconds}"


def auth_key(digest: str) -> str:
    """Name the cache entry of an API key by the hex SHA-256 of its text."""
    return AUTH_KEY_PREFIX + digest


def auth_trigger(routing_key: str) -> str:
    """Name the cache entry of an HTTP trigger."""
    return AUTH_TRIGGER_PREFIX + routing_key


def route(routing_key: str, flow_id: str) -> str:
    """Name the AMQP routing key of a trigger that was moved to a flow.

    Each leads to one queue, for ever: a trigger is moved by publishing with another one, and none
    is ever bound to two queues.
    """
    return f"{routing_key}.{flow_id}"


def cancelled(address: str) -> str:
    """Name the hash of the cancelled runs of a flow, by "group/flow"."""
    return CANCELLED_PREFIX + address


def shares(address: str) -> str:
    """Name the hash of what each worker has of the limit of a flow, by "group/flow"."""
    return f"turnout:shares:{address}"


def usage(moment: datetime, unit: Literal["minute", "hour", "day"]) -> str:
    """Name the hash that counts the accepted calls of one minute, hour or day, in UTC.

    Its fields are `<trigger id> <key id>`.
    """
    text = moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M")
    return f"turnout:usage:{unit}:{text[: {'minute': 16, 'hour': 13, 'day': 10}[unit]]}"


def refused(moment: datetime) -> str:
    """Name the hash that counts the refused calls of one day, in UTC.

    Its fields are `<trigger id> <key id> <code>`; an id that is not known is "-".
    """
    return f"turnout:refused:day:{moment.astimezone(UTC):%Y-%m-%d}"


def overlap(identifier: str, since: float) -> str:
    """Name the hash that counts the calls that come with what was replaced.

    Its fields are `<trigger id> <network> <agent>`.

    Args:
        identifier: of the key or trigger that was rotated.
        since: when, in seconds since the Unix epoch.
    """
    return f"turnout:overlap:{identifier}:{int(since)}"


def overlap_last(identifier: str, since: float) -> str:
    """Name the hash that tells when each of these calls last came, in seconds since the epoch."""
    return f"{overlap(identifier, since)}:last"


def counted(process: str) -> str:
    """Name the entry that tells which counts of a process were written."""
    return f"turnout:counted:{process}"


def rate(kind: Literal["key", "trigger"], identifier: str) -> str:
    """Name the token bucket of an API key or a trigger."""
    return f"turnout:rate:{kind}:{identifier}"


def idempotency(digest: str) -> str:
    """Name the entry that remembers an idempotency key by its hash."""
    return f"turnout:idempotency:{digest}"


def reply(token: str) -> str:
    """Name the channel on which one process waits for the outcomes of runs.

    Args:
        token: unguessable, because whoever knows the name can answer.
    """
    return f"turnout:reply:{token}"


def once(run_id: str, key: str) -> str:
    """Name the mark of a side effect of a run."""
    return f"turnout:once:{run_id}:{key}"


def executed(digest: str) -> str:
    """Name the entry that tells which run an idempotency key belongs to, by its hash."""
    return f"turnout:executed:{digest}"


def worker(worker_id: str) -> str:
    """Name the cache entry in which one worker process announces itself."""
    return f"turnout:worker:{worker_id}"


def redact(routing_key: str) -> str:
    """Shorten a routing key for a log line: it is as sensitive as half of a password."""
    return routing_key[:6] + "…"
