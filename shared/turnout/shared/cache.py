"""The connection to Redis, with limits that fit somebody who waits."""

from typing import Any

import redis
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

#: What a failed command raises: redis-py's own errors and those of the socket.
from redis.exceptions import RedisError

ERRORS = (RedisError, OSError, TimeoutError)


def connect(url: str, *, timeout: float = 0.5, connections: int = 32) -> Redis:
    """Make a client; it connects when it is first used and after each loss.

    redis-py retries ten times by default, so one look-up during an outage could last for ten
    seconds. Here a command fails within `timeout` seconds, and who asked decides what that means.

    Args:
        url: redis[s]://[user:password@]host:port/database.
        timeout: seconds for connecting, and for the answer to one command.
        connections: how many are open at most; further callers wait for one.
    """
    options = _options(timeout, connections)
    return Redis.from_pool(
        BlockingConnectionPool.from_url(url, retry=Retry(NoBackoff(), 0), **options)
    )


def connect_blocking(url: str, *, timeout: float = 0.5, connections: int = 32) -> redis.Redis:
    """Make the same for threads: each call returns with the answer."""
    options = _options(timeout, connections)
    return redis.Redis.from_pool(
        redis.BlockingConnectionPool.from_url(
            url, retry=redis.retry.Retry(NoBackoff(), 0), **options
        )
    )


def _options(timeout: float, connections: int) -> dict[str, Any]:
    return {
        "max_connections": connections,
        "timeout": timeout,
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "protocol": 3,
    }
