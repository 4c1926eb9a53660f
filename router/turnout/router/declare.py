"""Making the broker match a topology. Safe to repeat: what exists stays as it is."""

import asyncio
import time
from collections.abc import Collection, Sequence

from pamqp import commands
from pamqp.base import Frame

from turnout.router.topology import Binding, Exchange, Queue, Topology
from turnout.shared import log
from turnout.shared.amqp import Channel, Link
from turnout.shared.errors import ChannelRefused, LinkClosed

logger = log.get(__name__)

#: How many declarations are under way at once: the broker answers them in order.
_PIPELINE = 256

#: Seconds between two lines about how far a large topology is.
_TELL = 2.0

Item = Exchange | Queue | Binding


async def declare(link: Link, topology: Topology) -> Topology:
    """Declare everything in a topology.

    Args:
        link: a connection that may configure.
        topology: what to declare.

    Returns:
        What was declared. What the broker refused, because it exists with other arguments, is
        logged and left out.

    Raises:
        LinkClosed: the connection was lost.
    """
    declared: list[Item] = []
    total = len(topology.exchanges) + len(topology.queues) + len(topology.bindings)
    told = time.monotonic()
    # Bindings need their ends, and an exchange its alternate; the broker takes that in any order.
    for items in (topology.exchanges, topology.queues, topology.bindings):
        ordered: Sequence[Item] = list(items)
        for begin in range(0, len(ordered), _PIPELINE):
            declared += await _declare_some(link, ordered[begin : begin + _PIPELINE])
            if time.monotonic() - told > _TELL:
                told = time.monotonic()
                logger.info("topology is being declared", done=len(declared), of=total)
    return Topology(
        frozenset(each for each in declared if isinstance(each, Exchange)),
        frozenset(each for each in declared if isinstance(each, Queue)),
        frozenset(each for each in declared if isinstance(each, Binding)),
    )


async def unbind(link: Link, bindings: Collection[Binding]) -> None:
    """Remove bindings; one that does not exist is as good as removed.

    Raises:
        BrokerError: the connection was lost, or the broker refuses.
    """
    requests = [
        (
            commands.Queue.Unbind(
                queue=each.queue, exchange=each.exchange, routing_key=each.routing_key
            ),
            commands.Queue.UnbindOk,
        )
        for each in bindings
    ]
    for begin in range(0, len(requests), _PIPELINE):
        await _call(link, requests[begin : begin + _PIPELINE])


async def _declare_some(link: Link, items: Sequence[Item]) -> Sequence[Item]:
    """Declare items together; when one is refused, one by one, so that the others exist."""
    try:
        await _call(link, [_request(item) for item in items])
    except ChannelRefused as error:
        if len(items) == 1:
            logger.warning(
                "the broker refuses part of the topology",
                kind=type(items[0]).__name__.lower(),
                name=items[0].queue if isinstance(items[0], Binding) else items[0].name,
                reason=str(error),
            )
            return []
        middle = len(items) // 2
        return [
            *await _declare_some(link, items[:middle]),
            *await _declare_some(link, items[middle:]),
        ]
    return items


async def _call(link: Link, requests: Sequence[tuple[Frame, type[Frame]]]) -> None:
    channel = Channel()
    await link.open(channel)
    try:
        answers = await asyncio.gather(
            *(channel.call(*request, 60.0) for request in requests), return_exceptions=True
        )
    except asyncio.CancelledError:
        link.abort(LinkClosed("declaring was given up"))
        raise
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    await channel.close()


def _request(item: Item) -> tuple[Frame, type[Frame]]:
    match item:
        case Exchange():
            return commands.Exchange.Declare(
                exchange=item.name,
                exchange_type=item.kind,
                durable=True,
                arguments=item.arguments,
            ), commands.Exchange.DeclareOk
        case Queue():
            return commands.Queue.Declare(
                queue=item.name, durable=True, arguments=item.arguments
            ), commands.Queue.DeclareOk
        case Binding():
            return commands.Queue.Bind(
                queue=item.queue, exchange=item.exchange, routing_key=item.routing_key
            ), commands.Queue.BindOk
