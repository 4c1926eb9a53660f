"""The users that are loaded when RabbitMQ starts, each against the complete topology.

`test_broker_users` tries the permissions one by one; here the real parts do their work with them,
and each is refused everything else that the topology has.
"""

import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from pamqp import commands
from pamqp.base import Frame
from tests.support.topology import collecting, linked
from tests.support.waiting import eventually

from turnout.router import broker_users, topology
from turnout.router.declare import declare
from turnout.router.nodes import find
from turnout.router.nodes.rabbitmq import RabbitMQ
from turnout.router.registry import Registry
from turnout.router.settings import RouterSettings
from turnout.router.topology import Topology
from turnout.shared import names
from turnout.shared.amqp import Channel, Link
from turnout.shared.errors import BrokerError, ChannelRefused
from turnout.shared.publisher import ACCEPTED, Publisher, Verdict
from turnout.shared.settings import load

PASSWORDS = {role: secrets.token_hex(16) for role in broker_users.ROLES}

FLOW_QUEUE = names.flow_queue("crm", "update-lead")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    """A node that knows nothing but our definitions."""
    node = find.rabbitmq(
        tmp_path_factory.mktemp("rabbitmq"),
        broker_users.definitions(PASSWORDS),
        setting="TURNOUT_TEST_AMQP_URL",
        say=print,
    )
    try:
        node.start()
        node.wait_ready()
        yield node
    finally:
        node.kill()


def url(node: RabbitMQ, role: str) -> str:
    return broker_users.amqp_url(role, PASSWORDS[role], "127.0.0.1", node.amqp_port)


@dataclass
class Declared:
    """What the router has declared, and the routing key of a trigger in it."""

    topology: Topology
    routing_key: str

    @property
    def queues(self) -> set[str]:
        return {queue.name for queue in self.topology.queues}

    @property
    def exchanges(self) -> set[str]:
        """Those of the topology, the default one, and some that every broker has."""
        own = {exchange.name for exchange in self.topology.exchanges}
        return own | {"", "amq.direct", "amq.fanout", "amq.topic"}


@pytest.fixture
async def declared(node: RabbitMQ, registry: Registry) -> Declared:
    """The topology of a registry with a flow and a trigger, declared by the router's user."""
    await registry.create_group("crm")
    await registry.create_flow("crm", "update-lead")
    trigger = await registry.create_trigger("crm", "update-lead", description="test")
    wanted = topology.of(await registry.snapshot(), load(RouterSettings))
    async with linked(url(node, "router")) as link:
        assert await declare(link, wanted) == wanted
        assert await declare(link, wanted) == wanted
    return Declared(wanted, trigger.routing_key)


@asynccontextmanager
async def publishing(node: RabbitMQ, role: str) -> AsyncIterator[Publisher]:
    publisher = Publisher([url(node, role)], name=f"test of {role}")
    await publisher.start()
    try:
        await publisher.ready()
        yield publisher
    finally:
        await publisher.close()


async def accepted_by(node: RabbitMQ, role: str, exchange: str, routing_key: str) -> bool:
    async with publishing(node, role) as publisher:
        confirm = await publisher.publish(exchange, routing_key, b"x", kind="test")
    # A refused publish closes the channel; the publisher cannot tell which one it was.
    assert confirm == ACCEPTED or confirm.verdict is Verdict.UNKNOWN, confirm
    return confirm == ACCEPTED


async def refused(link: Link, request: Frame, reply: type[Frame]) -> bool:
    """Tell whether the broker refuses a request for want of permission."""
    channel = Channel()
    await link.open(channel)
    try:
        await channel.call(request, reply)
    except ChannelRefused as error:
        assert error.code == 403, error  # noqa: PT017 - any other reason is a broken test
        return True
    return False


async def may_read(node: RabbitMQ, role: str, queues: set[str]) -> set[str]:
    """Return the queues from which a role may consume or get."""
    readable = set()
    async with linked(url(node, role)) as link:
        for queue in queues:
            reads: list[tuple[Frame, type[Frame]]] = [
                (commands.Basic.Consume(queue=queue), commands.Basic.ConsumeOk),
                (commands.Basic.Get(queue=queue), commands.Basic.GetEmpty),
            ]
            for request, reply in reads:
                if not await refused(link, request, reply):
                    readable.add(queue)
    return readable


async def test_ingress_publishes_calls_and_blocks_and_reaches_no_other_exchange(
    node: RabbitMQ, declared: Declared
) -> None:
    for exchange in declared.exchanges:
        expected = exchange in {names.TRIGGERS, names.ARCHIVE}
        key = declared.routing_key if exchange else FLOW_QUEUE
        assert await accepted_by(node, "ingress", exchange, key) is expected, exchange


async def test_ingress_reads_no_queue_and_changes_nothing(
    node: RabbitMQ, declared: Declared
) -> None:
    assert await may_read(node, "ingress", declared.queues) == set()
    await nothing_can_be_changed(node, "ingress")


async def test_a_worker_publishes_what_comes_of_runs_and_reaches_no_other_exchange(
    node: RabbitMQ, declared: Declared
) -> None:
    for exchange in declared.exchanges:
        expected = exchange in {names.DEAD, names.OUTCOMES, *map(names.delay, names.DELAYS)}
        assert await accepted_by(node, "worker", exchange, FLOW_QUEUE) is expected, exchange


async def test_a_worker_reads_the_queues_of_flows_alone_and_changes_nothing(
    node: RabbitMQ, declared: Declared
) -> None:
    assert await may_read(node, "worker", declared.queues) == {FLOW_QUEUE}
    await nothing_can_be_changed(node, "worker")


async def nothing_can_be_changed(node: RabbitMQ, role: str) -> None:
    changes: list[tuple[Frame, type[Frame]]] = [
        (
            commands.Exchange.Declare(exchange="turnout.new", durable=True),
            commands.Exchange.DeclareOk,
        ),
        (commands.Exchange.Delete(exchange=names.TRIGGERS), commands.Exchange.DeleteOk),
        (
            commands.Queue.Declare(
                queue=names.flow_queue("crm", "new"),
                durable=True,
                arguments={"x-queue-type": "quorum"},
            ),
            commands.Queue.DeclareOk,
        ),
        (commands.Queue.Delete(queue=FLOW_QUEUE), commands.Queue.DeleteOk),
        (
            commands.Queue.Bind(queue=FLOW_QUEUE, exchange=names.TRIGGERS, routing_key="k"),
            commands.Queue.BindOk,
        ),
        (
            commands.Queue.Unbind(queue=FLOW_QUEUE, exchange=names.TRIGGERS, routing_key="k"),
            commands.Queue.UnbindOk,
        ),
    ]
    async with linked(url(node, role)) as link:
        for request, reply in changes:
            assert await refused(link, request, reply), request.name


async def test_a_retry_by_the_worker_comes_back_to_the_flow_s_queue(
    node: RabbitMQ, declared: Declared
) -> None:
    async with publishing(node, "worker") as publisher:
        sent = await publisher.publish(names.delay(1), FLOW_QUEUE, b"a retry", kind="run")
        assert sent == ACCEPTED
    async with collecting(url(node, "worker"), FLOW_QUEUE) as collector:
        await eventually(lambda: b"a retry" in [each.body for each in collector.deliveries])


async def test_there_is_no_guest_and_no_other_virtual_host(node: RabbitMQ) -> None:
    for address in (
        f"amqp://guest:guest@{node.address}/",
        f"amqp://guest:guest@{node.address}/{broker_users.VHOST}",
        url(node, "router").removesuffix(broker_users.VHOST),
    ):
        with pytest.raises(BrokerError):
            await Link.connect(address, name="test")
