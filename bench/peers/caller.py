"""What all peers share: the check of the API key, whose hash is looked up in Redis."""

import hashlib
import os
from typing import Annotated

import redis.asyncio
from fastapi import Depends, Header, HTTPException

AMQP_URL = os.environ["PEER_AMQP_URL"]
QUEUE = os.environ["PEER_QUEUE"]

cache = redis.asyncio.from_url(os.environ["PEER_REDIS_URL"], decode_responses=True)


async def caller(x_api_key: Annotated[str, Header()]) -> str:
    owner = await cache.get(hashlib.sha256(x_api_key.encode()).hexdigest())
    if owner is None:
        raise HTTPException(401)
    return str(owner)


Caller = Annotated[str, Depends(caller)]
