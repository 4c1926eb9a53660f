"""The RabbitMQ and the Redis of a benchmark: private nodes, with what can be counted in them."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import aiohttp
import redis.asyncio
from pamqp import commands
from yarl import URL

from turnout.router import broker_users
from turnout.router.nodes import find
from turnout.router.nodes.ports import LOOPBACK
from turnout.router.nodes.rabbitmq import RabbitMQ
from turnout.router.nodes.redis import Redis
from turnout.shared.amqp import Channel, Delivery, Link, properties_of
from turnout.shared.errors import ChannelRefused

PEERS = "peers"

_SILENCE = 1.0  # seconds without a delivery after which a stream is read to its end
_SECONDS_TO_COUNT = 60.0


@dataclass(frozen=True)
class Nodes:
    """A RabbitMQ and a Redis that run."""

    broker: RabbitMQ
    cache: Redis
    passwords: dict[str, str]

    def amqp_url(self, role: str) -> str:
        """Return the address for one of Turnout's roles."""
        return broker_users.amqp_url(role, self.passwords[role], LOOPBACK, self.broker.amqp_port)

    @property
    def peers_url(self) -> str:
        """The address for the others, who have a virtual host of their own and all rights there."""
        return f"amqp://{PEERS}:{self.passwords[PEERS]}@{self.broker.address}/{PEERS}"

    @property
    def management_url(self) -> str:
        """The address of the management API for the router."""
        router = URL(self.amqp_url("router"))
        return str(router.with_scheme("http").with_port(self.broker.management_port).with_path(""))

    async def broker_memory(self) -> int:
        """Return the bytes that the broker's runtime has in use."""
        url = URL(self.management_url) / "api/nodes"
        async with aiohttp.ClientSession() as session:
            async with session.get(url) as response:
                (node,) = await response.json()
            async with session.get(url / node["name"] / "memory") as response:
                memory = await response.json()
        return int(memory["memory"]["total"]["erlang"])

    async def versions(self) -> str:
        """Name the versions of both."""
        url = URL(self.management_url) / "api/overview"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            overview = await response.json()
        async with redis.asyncio.from_url(self.cache.url()) as client:
            server = await client.info("server")
        return (
            f"RabbitMQ {overview['rabbitmq_version']} on Erlang {overview['erlang_version']}, "
            f"Redis {server['redis_version']}"
        )


@asynccontextmanager
async def running(directory: Path) -> AsyncIterator[Nodes]:
    """Run both for the length of a context; their data goes with it."""
    passwords = {role: secrets.token_hex(20) for role in (*broker_users.ROLES, PEERS)}
    definitions = broker_users.definitions(passwords)
    definitions["vhosts"].append({"name": PEERS})
    definitions["users"].append(broker_users.user_definition(PEERS, passwords[PEERS], ()))
    definitions["permissions"].append(
        {"user": PEERS, "vhost": PEERS, "configure": ".*", "write": ".*", "read": ".*"}
    )
    broker = find.local_rabbitmq(
        directory / "rabbitmq", definitions, setting="TURNOUT_AMQP_URL", say=print
    )
    cache = find.local_redis(
        directory / "redis", secrets.token_hex(20), setting="TURNOUT_REDIS_URL", say=print
    )
    try:
        broker.start()
        cache.start()
        await asyncio.to_thread(broker.wait_ready)
        await asyncio.to_thread(cache.wait_ready)
        yield Nodes(broker, cache, passwords)
    finally:
        cache.kill()
        broker.kill()


async def empty(url: str, queue: str) -> int:
    """Remove all messages of a queue and return how many those were."""
    async with _channel(url, Channel()) as channel:
        answer = await channel.call(
            commands.Queue.Purge(queue=queue), commands.Queue.PurgeOk, timeout=_SECONDS_TO_COUNT
        )
        return answer.message_count or 0


async def exists(url: str, queue: str) -> bool:
    """Tell whether there is a queue."""
    async with _channel(url, Channel()) as channel:
        declare = commands.Queue.Declare(queue=queue, passive=True)
        try:
            await channel.call(declare, commands.Queue.DeclareOk)
        except ChannelRefused:
            return False
    return True


class StreamCounter:
    """Counts what is new in a stream.

    Args:
        url: of the broker.
        stream: its name.
        count: how much a message counts, by its body.
    """

    def __init__(self, url: str, stream: str, count: Callable[[bytes], int]) -> None:
        self._url = url
        self._stream = stream
        self._count = count
        self._next: int | str = "first"

    async def new(self, expected: int) -> int:
        """Count what came since the last time.

        Args:
            expected: this much is waited for, and whatever comes closely after.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _SECONDS_TO_COUNT
        reader = _Reader(self._count)
        async with _channel(self._url, reader):
            await reader.call(commands.Basic.Qos(prefetch_count=1000), commands.Basic.QosOk)
            await reader.call(
                commands.Basic.Consume(
                    queue=self._stream, arguments={"x-stream-offset": self._next}
                ),
                commands.Basic.ConsumeOk,
            )
            while loop.time() < deadline and (  # noqa: ASYNC110 - silence is no event
                reader.total < expected or loop.time() - reader.heard < _SILENCE
            ):
                await asyncio.sleep(0.1)
        if reader.last is not None:
            self._next = reader.last + 1
        return reader.total


class _Reader(Channel):
    """Consumes a stream."""

    def __init__(self, count: Callable[[bytes], int]) -> None:
        super().__init__()
        self._count = count
        self.total = 0
        self.last: int | None = None
        self.heard = asyncio.get_running_loop().time()

    def on_delivery(self, delivery: Delivery) -> None:
        self.heard = asyncio.get_running_loop().time()
        self.total += self._count(delivery.body)
        headers = properties_of(delivery).headers or {}
        self.last = cast("int", headers["x-stream-offset"])
        self.ack(delivery.tag)


@asynccontextmanager
async def _channel(url: str, channel: Channel) -> AsyncIterator[Channel]:
    link = await Link.connect(url, name="bench")
    try:
        await link.open(channel)
        yield channel
    finally:
        await link.close()
