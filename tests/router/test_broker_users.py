"""Each role's user, in a real RabbitMQ, may do its work and nothing else."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator

import pytest
from pamqp import body, commands, frame, header
from tests.support.brokers import Broker, quoted
from tests.support.waiting import eventually
from yarl import URL

from turnout.router import broker_users
from turnout.router.broker_users import INGRESS, ROLES, ROUTER, VHOST, WORKER
from turnout.shared import names
from turnout.shared.amqp import Channel, Link
from turnout.shared.errors import BrokerError, ChannelRefused

FLOW_QUEUE = names.flow_queue("crm", "update-lead")
QUORUM = {"x-queue-type": "quorum"}


@pytest.fixture(scope="module")
def passwords() -> dict[str, str]:
    return {role: secrets.token_hex(16) for role in ROLES}


@pytest.fixture(scope="module")
def broker(rabbitmq: Broker, passwords: dict[str, str]) -> Iterator[Broker]:
    """The session's RabbitMQ with our definitions and, made by the administrator, a topology."""
    management = rabbitmq.management
    management.call("POST", "definitions", broker_users.definitions(passwords))
    management.make_vhost(VHOST)
    for exchange in (names.TRIGGERS, names.ARCHIVE, names.DEAD, names.OUTCOMES, names.delay(1)):
        management.call("PUT", f"exchanges/{VHOST}/{exchange}", {"type": "fanout", "durable": True})
    for queue in (FLOW_QUEUE, names.DEAD):
        management.call("PUT", f"queues/{VHOST}/{queue}", {"durable": True, "arguments": QUORUM})
    yield rabbitmq
    management.delete_vhost(VHOST)
    for user in ROLES.values():
        management.call("DELETE", f"users/{quoted(user.name)}")


class Role:
    """What one role's user can do: each attempt on a channel of its own."""

    def __init__(self, link: Link) -> None:
        self.link = link

    async def may(self, request, reply) -> bool:  # type: ignore[no-untyped-def]
        channel = Channel()
        await self.link.open(channel)
        try:
            await channel.call(request, reply)
        except ChannelRefused as error:
            assert error.code == 403, error  # noqa: PT017 - any other reason is a broken test
            return False
        return True

    async def may_publish(self, exchange: str, routing_key: str = "") -> bool:
        confirmed = _Confirmed()
        await self.link.open(confirmed)
        await confirmed.call(commands.Confirm.Select(), commands.Confirm.SelectOk)
        confirmed.publish(exchange, routing_key)
        return await confirmed.accepted

    async def may_consume(self, queue: str) -> bool:
        return await self.may(commands.Basic.Consume(queue=queue), commands.Basic.ConsumeOk)

    async def may_declare_queue(self, name: str, **arguments: str) -> bool:
        return await self.may(
            commands.Queue.Declare(queue=name, durable=True, arguments={**QUORUM, **arguments}),
            commands.Queue.DeclareOk,
        )

    async def may_declare_exchange(self, name: str, **arguments: str) -> bool:
        return await self.may(
            commands.Exchange.Declare(
                exchange=name, exchange_type="direct", durable=True, arguments=arguments
            ),
            commands.Exchange.DeclareOk,
        )

    async def may_bind(self, queue: str, exchange: str) -> bool:
        return await self.may(
            commands.Queue.Bind(queue=queue, exchange=exchange, routing_key="k"),
            commands.Queue.BindOk,
        )

    async def may_delete(self, queue: str) -> bool:
        return await self.may(commands.Queue.Delete(queue=queue), commands.Queue.DeleteOk)


class _Confirmed(Channel):
    """A channel with confirms, for one publish."""

    def __init__(self) -> None:
        super().__init__()
        self.accepted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def publish(self, exchange: str, routing_key: str) -> None:
        for part in (
            commands.Basic.Publish(exchange=exchange, routing_key=routing_key),
            header.ContentHeader(body_size=1, properties=commands.Basic.Properties()),
            body.ContentBody(b"x"),
        ):
            self.link.write(frame.marshal(part, self.number))

    def on_confirm(self, tag: int, multiple: bool, accepted: bool) -> None:
        self.accepted.set_result(accepted)

    def on_closed(self, reason: BrokerError) -> None:
        if self.accepted.done():
            return
        if isinstance(reason, ChannelRefused) and reason.code == 403:
            self.accepted.set_result(False)
        else:
            self.accepted.set_exception(reason)


async def _connect(broker: Broker, passwords: dict[str, str], role: str) -> Link:
    url = URL(broker.url)
    assert url.host is not None
    assert url.port is not None
    address = broker_users.amqp_url(role, passwords[role], url.host, url.port)
    return await Link.connect(address, name=f"test of {role}")


@pytest.fixture
async def ingress(broker: Broker, passwords: dict[str, str]) -> AsyncIterator[Role]:
    link = await _connect(broker, passwords, "ingress")
    yield Role(link)
    await link.close()


@pytest.fixture
async def worker(broker: Broker, passwords: dict[str, str]) -> AsyncIterator[Role]:
    link = await _connect(broker, passwords, "worker")
    yield Role(link)
    await link.close()


@pytest.fixture
async def router(broker: Broker, passwords: dict[str, str]) -> AsyncIterator[Role]:
    link = await _connect(broker, passwords, "router")
    yield Role(link)
    await link.close()


async def test_ingress_publishes_calls_and_archive_blocks_and_nothing_else(ingress: Role) -> None:
    assert await ingress.may_publish(names.TRIGGERS)
    assert await ingress.may_publish(names.ARCHIVE)
    for exchange in (names.DEAD, names.OUTCOMES, names.delay(1), "amq.direct"):
        assert not await ingress.may_publish(exchange), exchange
    assert not await ingress.may_publish("", FLOW_QUEUE)


async def test_ingress_neither_consumes_nor_declares_nor_binds(ingress: Role) -> None:
    assert not await ingress.may_consume(FLOW_QUEUE)
    assert not await ingress.may_declare_queue("turnout.flow.crm.other")
    assert not await ingress.may_declare_exchange("turnout.other")
    assert not await ingress.may_bind(FLOW_QUEUE, names.TRIGGERS)
    assert not await ingress.may_delete(FLOW_QUEUE)


async def test_a_worker_consumes_flows_and_publishes_what_comes_of_them(worker: Role) -> None:
    assert await worker.may_consume(FLOW_QUEUE)
    for exchange in (names.OUTCOMES, names.DEAD, names.delay(1)):
        assert await worker.may_publish(exchange), exchange


async def test_a_worker_cannot_pretend_a_call_or_read_anything_else(worker: Role) -> None:
    assert not await worker.may_publish(names.TRIGGERS)
    assert not await worker.may_publish(names.ARCHIVE)
    assert not await worker.may_publish("", FLOW_QUEUE)
    assert not await worker.may_consume(names.DEAD)
    assert not await worker.may_declare_queue("turnout.flow.crm.other")
    assert not await worker.may_bind(FLOW_QUEUE, names.TRIGGERS)
    assert not await worker.may_delete(FLOW_QUEUE)


async def test_the_router_declares_what_the_topology_has(router: Role) -> None:
    assert await router.may_declare_exchange(names.UNROUTED)
    arguments = {"alternate-exchange": names.UNROUTED}
    assert await router.may_declare_exchange("turnout.with-alternate", **arguments)
    # RabbitMQ asks for write on the default exchange, into which delays dead-letter.
    assert await router.may_declare_queue(names.delay(1), **{"x-dead-letter-exchange": ""})
    flow = names.flow_queue("crm", "new")
    assert await router.may_declare_queue(flow, **{"x-dead-letter-exchange": names.DEAD})
    assert await router.may_bind(flow, names.TRIGGERS)
    assert await router.may_publish("", flow)
    assert await router.may_consume(names.DEAD)
    assert await router.may_delete(flow)


async def test_the_router_touches_nothing_that_is_not_turnouts(router: Role) -> None:
    assert not await router.may_declare_queue("other")
    assert not await router.may_publish("amq.direct")


async def test_the_router_sees_its_topology_and_the_nodes_over_the_management_api(
    broker: Broker, passwords: dict[str, str]
) -> None:
    url = URL(broker.management_url).with_user(ROUTER.name).with_password(passwords["router"])
    as_router = Broker(broker.url, str(url)).management
    listed = as_router.call("GET", f"queues/{VHOST}")
    assert FLOW_QUEUE in {queue["name"] for queue in listed}
    assert names.TRIGGERS in {each["name"] for each in as_router.call("GET", f"exchanges/{VHOST}")}
    assert as_router.call("GET", f"bindings/{VHOST}")

    def shows_alarms() -> bool:
        return all("mem_alarm" in node for node in as_router.call("GET", "nodes"))

    await eventually(shows_alarms, what="the node has reported its state, as it does every 5 s")


@pytest.mark.parametrize("user", [INGRESS, WORKER])
def test_ingress_and_workers_have_no_tag(user: broker_users.BrokerUser) -> None:
    assert user.tags == ()


def test_there_is_no_guest_and_no_password_in_the_definitions(passwords: dict[str, str]) -> None:
    document = broker_users.definitions(passwords)
    assert {user["name"] for user in document["users"]} == {u.name for u in ROLES.values()}
    assert not any(password in str(document) for password in passwords.values())
