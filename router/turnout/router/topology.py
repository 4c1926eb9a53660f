"""The topology of the broker, as data: what must exist for the registry as it is.

    turnout.triggers (direct) ── one binding per routing key ──▶ turnout.flow.<group>.<flow>
          └─ alternate exchange ──▶ turnout.unrouted
          └─ of an ordered flow: <routing key>.p<k> ──▶ turnout.flow.<group>.<flow>.p<k>
    turnout.delay.<seconds> ──▶ queue of that name ── after its time ──▶ the flow's queue
    turnout.dead · turnout.unrouted · turnout.outcomes · turnout.archive ──▶ queues of those names

Only the router declares; `declare` makes the broker match.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

from turnout.router.registry import Snapshot, Trigger, differences
from turnout.router.settings import RouterSettings
from turnout.shared import names, ordering

#: How often a queue hands out a message again before it is dead-lettered.
DELIVERY_LIMIT = 20

# RabbitMQ 4 drops a message after 20 deliveries where nothing else is said. The router's own queues
# keep theirs until it has them in SQL, however often it was interrupted.
_UNLIMITED = 2**31 - 1

# By default a dead-lettered message can be lost between two queues; so it stays in the first until
# the second has confirmed it. It needs this overflow behaviour.
# https://www.rabbitmq.com/docs/quorum-queues#dead-lettering
_SAFELY = {"x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"}


class Exchange(NamedTuple):
    """A durable exchange that must exist."""

    name: str
    kind: Literal["direct", "fanout"] = "fanout"
    alternate: str | None = None
    """The exchange that takes what no queue is bound for."""

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of its declaration."""
        return {"alternate-exchange": self.alternate} if self.alternate else {}


@dataclass(frozen=True)
class Queue:
    """A durable queue or stream that must exist."""

    name: str
    arguments: dict[str, Any] = field(compare=False)


class Binding(NamedTuple):
    """A binding that must exist."""

    exchange: str
    queue: str
    routing_key: str = ""


class Missing(NamedTuple):
    """Something of the topology that is not at the broker."""

    kind: Literal["exchange", "queue", "binding"]
    name: str


@dataclass(frozen=True)
class Topology:
    """Exchanges, queues and bindings; each exists once."""

    exchanges: frozenset[Exchange] = frozenset()
    queues: frozenset[Queue] = frozenset()
    bindings: frozenset[Binding] = frozenset()

    def without(self, present: "Topology") -> "Topology":
        """Return what is in this topology and not in `present`."""
        return Topology(
            self.exchanges - present.exchanges,
            self.queues - present.queues,
            self.bindings - present.bindings,
        )

    def together_with(self, other: "Topology") -> "Topology":
        """Return what is in either."""
        return Topology(
            self.exchanges | other.exchanges,
            self.queues | other.queues,
            self.bindings | other.bindings,
        )

    def __bool__(self) -> bool:
        return bool(self.exchanges or self.queues or self.bindings)

    def listed(self) -> list[Missing]:
        """Name everything in it, sorted; routing keys are shortened."""
        return sorted(
            [
                *(Missing("exchange", each.name) for each in self.exchanges),
                *(Missing("queue", each.name) for each in self.queues),
                *(
                    Missing(
                        "binding",
                        f"{each.exchange} -> {each.queue}"
                        + (f" ({names.redact(each.routing_key)})" if each.routing_key else ""),
                    )
                    for each in self.bindings
                ),
            ]
        )


def of(snapshot: Snapshot, settings: RouterSettings) -> Topology:
    """Derive the topology from what is registered."""
    fixed = [
        *(Queue(names.delay(seconds), _bucket(seconds)) for seconds in names.DELAYS),
        *(Queue(name, _kept()) for name in (names.DEAD, names.UNROUTED)),
        Queue(names.ARCHIVE, _stream(settings.archive_max_age, settings.archive_max_bytes)),
        Queue(names.OUTCOMES, _stream(settings.archive_max_age, settings.outcomes_max_bytes)),
    ]
    flows = [
        Queue(queue, _flow_arguments(ordered=flow.ordered_by is not None))
        for flow in snapshot.flows
        for queue in ordering.queues(flow.group, flow.slug, flow.partitions)
    ]
    return Topology(
        exchanges=frozenset(
            [
                Exchange(names.TRIGGERS, "direct", names.UNROUTED),
                *(Exchange(queue.name) for queue in fixed),
            ]
        ),
        queues=frozenset([*fixed, *flows]),
        bindings=frozenset(
            [
                *(Binding(queue.name, queue.name) for queue in fixed),
                *(binding for trigger in snapshot.triggers for binding in bindings_of(trigger)),
            ]
        ),
    )


def following(
    known: Topology, before: Snapshot, after: Snapshot, settings: RouterSettings
) -> Topology:
    """Derive the topology from a later snapshot: like `of`, but of what has changed alone.

    Args:
        known: the topology of the earlier snapshot.
        before: the earlier snapshot.
        after: the later one.
        settings: of the router.
    """
    if before.flows is not after.flows:
        return of(after, settings)
    pairs = list(differences(before, after))
    gone = {each for was, _ in pairs if isinstance(was, Trigger) for each in _ever_bound(was)}
    new = {each for _, now in pairs if isinstance(now, Trigger) for each in bindings_of(now)}
    return replace(known, bindings=known.bindings - gone | new)


def bindings_of(trigger: Trigger) -> list[Binding]:
    """Return the bindings that lead from a trigger to the queue, or the queues, of its flow."""
    routes = [trigger.route(routing_key) for routing_key in trigger.routing_keys]
    queues = ordering.queues(trigger.group, trigger.flow, trigger.partitions)
    if trigger.partitions is None:
        return [Binding(names.TRIGGERS, queues[0], route) for route in routes]
    return [
        Binding(names.TRIGGERS, queue, names.partition(route, number))
        for route in routes
        for number, queue in enumerate(queues)
    ]


def _ever_bound(trigger: Trigger) -> list[Binding]:
    """Return the bindings that a trigger has, or had before its overlap ended."""
    if trigger.old_routing_key is None:
        return bindings_of(trigger)
    old = replace(trigger, routing_key=trigger.old_routing_key, old_routing_key=None)
    return [*bindings_of(trigger), *bindings_of(old)]


def queues_named(found: Iterable[str]) -> frozenset[Queue]:
    """Return queues that compare equal to declared ones of these names."""
    return frozenset(Queue(name, {}) for name in found)


def _flow_arguments(*, ordered: bool) -> dict[str, Any]:
    return {
        "x-queue-type": "quorum",
        "x-delivery-limit": DELIVERY_LIMIT,
        "x-dead-letter-exchange": names.DEAD,
        **_SAFELY,
        # One worker at a time has a partition: nobody overtakes it.
        **({"x-single-active-consumer": True} if ordered else {}),
    }


def _bucket(seconds: int) -> dict[str, Any]:
    return {
        "x-queue-type": "quorum",
        "x-message-ttl": seconds * 1000,
        # The default exchange: the routing key of a retry is the name of its flow's queue.
        "x-dead-letter-exchange": "",
        **_SAFELY,
    }


def _kept() -> dict[str, Any]:
    return {"x-queue-type": "quorum", "x-delivery-limit": _UNLIMITED}


def _stream(max_age: str, max_bytes: int) -> dict[str, Any]:
    return {
        "x-queue-type": "stream",
        "x-max-age": max_age,
        "x-max-length-bytes": max_bytes,
        # Retention frees whole segments; the default of 500 MB would make it coarse.
        "x-stream-max-segment-size-bytes": min(100_000_000, max_bytes // 4),
    }
