"""RabbitMQ and Redis whose addresses are given: tried before anything else is started."""

import asyncio

import aiohttp
from redis.asyncio import Redis
from redis.exceptions import RedisError
from yarl import URL

from turnout.router.nodes.errors import NodeError
from turnout.shared.amqp import Link
from turnout.shared.errors import BrokerError

_SECONDS = 5.0


async def check_amqp(url: str, *, setting: str) -> None:
    """Log in to RabbitMQ.

    Raises:
        NodeError: it cannot be reached, or refuses; names the setting.
    """
    try:
        link = await Link.connect(url, name="turnout check", timeout=_SECONDS)
    except BrokerError as error:
        raise NodeError(f"{setting}: {error}") from None
    await link.close()


async def check_management(url: str, *, setting: str) -> None:
    """Log in to RabbitMQ's management API.

    Raises:
        NodeError: it cannot be reached, or refuses; names the setting.
    """
    address = URL(url)
    where = str(address.with_user(None))
    timeout = aiohttp.ClientTimeout(total=_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(address / "api/whoami") as response,
        ):
            status = response.status
    except (aiohttp.ClientError, TimeoutError) as error:
        raise NodeError(
            f"{setting}: RabbitMQ's management API at {where} cannot be reached: "
            f"{str(error) or type(error).__name__}; enable the plugin rabbitmq_management there"
        ) from None
    if status != 200:
        raise NodeError(f"{setting}: RabbitMQ's management API at {where} answers {status}")


async def check_redis(url: str, *, setting: str) -> None:
    """Log in to Redis.

    Raises:
        NodeError: it cannot be reached, or refuses; names the setting.
    """
    client = Redis.from_url(url, retry=None)
    try:
        async with asyncio.timeout(_SECONDS):
            await client.ping()
    except (RedisError, OSError) as error:
        where = URL(url).with_user(None).with_query(None)
        reason = str(error) or type(error).__name__
        raise NodeError(f"{setting}: Redis at {where} cannot be used: {reason}") from None
    finally:
        await client.aclose()
