"""What all peers share: the check of the API key, whose hash is looked up in Redis."""

import hashlib
import os
from typing import Annotated

from fastapi import Depends, Header, HTTPException
from redis.asyncio import BlockingConnectionPool, Redis

AMQP_URL = os.environ["PEER_AMQP_URL"]
QUEUE = os.environ["PEER_QUEUE"]

# Its other pool, the default, fails when more calls come at once than it has connections.
pool = BlockingConnectionPool.from_url(os.environ["PEER_REDIS_URL"], decode_responses=True)
cache = Redis(connection_pool=pool)


async def caller(x_api_key: Annotated[str, Header()]) -> str:
    owner = await cache.get(hashlib.sha256(x_api_key.encode()).hexdigest())
    if owner is None:
        raise HTTPException(401)
    return str(owner)


Caller = Annotated[str, Depends(caller)]
