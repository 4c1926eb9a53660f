"""The prefetch: how many messages of a flow may be in a worker, unacknowledged.

Those that run are `limit`. Beyond them, the next ones have to be here when a run ends, or its slot
is idle for a round trip to the broker; but a message that waits here is one that an idle worker
elsewhere cannot have. So what may wait is what is begun within `_AHEAD` seconds at the present
pace, which is limit / duration:

    prefetch = limit + limit / duration * _AHEAD

    a flow of a minute, 100 at a time    100 + 0        nothing waits
    a flow of 20 ms, 100 at a time       100 + 250      its slots are never idle
    a flow that does nothing             100 + 500      as much as is useful

`_AHEAD` is above the time from the end of a run to the arrival of the message that its
acknowledgement lets in: an outcome's confirmation (5 to 20 ms under load) and a round trip. The
part that waits is bounded too. In bytes: it is held in memory. And in number: 2000 that wait are
cold for the processor when their turn comes, and each run took a fifth longer than with 500. So
where a confirmation takes 20 ms, a process runs no more than (100 + 500) / 0.02 s = 30,000 a
second; a greater limit lets it run more.

While messages come whose earlier workers died with them, it is 1: whatever is in a worker that
crashes counts as one more delivery of it, and the queue's delivery limit must find the culprit
alone.
"""

_AHEAD = 0.05
_MOST = 500
_MOST_BYTES = 64 * 1024 * 1024

#: From this delivery on a message is suspected of having ended its workers.
SUSPECT = 3


def choose(limit: int, duration: float, size: float) -> int:
    """Choose the prefetch of a flow.

    Args:
        limit: how many runs may be in progress at once.
        duration: mean seconds that a run took lately; 0: not known.
        size: mean bytes of a message.
    """
    if duration <= 0 or not limit:
        return limit
    ahead = min(limit * _AHEAD / duration, _MOST, _MOST_BYTES / max(size, 1.0))
    return limit + int(ahead)


def differs(one: int, other: int) -> bool:
    """Tell whether a change is worth beginning to consume anew."""
    return one != other and (min(one, other) <= 1 or max(one, other) > 1.5 * min(one, other))
