import asyncio

import pytest
from redis.asyncio import Redis as Client
from tests.support.waiting import eventually

from turnout.router.nodes.redis import Redis
from turnout.shared import cache
from turnout.shared.batch import Batch, Unavailable


async def test_commands_of_one_turn_are_answered_each_with_its_own_reply(redis_url: str) -> None:
    async with cache.connect(redis_url) as client:
        batch = Batch(client)
        replies = [batch.execute("SET", f"k{n}", n) for n in range(2000)]
        replies += [batch.execute("GET", f"k{n}") for n in range(2000)]
        answers = await asyncio.gather(*replies)
    assert answers[2000:] == [str(n).encode() for n in range(2000)]


async def test_a_refused_command_fails_alone_and_set_answers_what_was_there(
    redis_url: str,
) -> None:
    async with cache.connect(redis_url) as client:
        batch = Batch(client)
        first = batch.execute("SET", "held", "a", "NX", "GET", "PX", 5000)
        second = batch.execute("SET", "held", "b", "NX", "GET", "PX", 5000)
        wrong = batch.execute("HGET", "held", "field")
        assert await first is None
        assert await second == b"a"
        with pytest.raises(Unavailable, match="WRONGTYPE"):
            await wrong


async def test_without_redis_everything_fails_soon_and_it_is_asked_again_later(
    redis_url: str, redis_node: Redis
) -> None:
    client: Client = cache.connect(redis_url, timeout=0.3)
    async with client:
        batch = Batch(client)
        assert await batch.execute("PING")
        redis_node.pause()
        try:
            async with asyncio.timeout(5):
                with pytest.raises(Unavailable, match="does not answer"):
                    await batch.execute("PING")
                with pytest.raises(Unavailable, match="a moment ago"):
                    await batch.execute("PING")
        finally:
            redis_node.resume()

        async def answers() -> bool:
            try:
                return bool(await batch.execute("PING"))
            except Unavailable:
                return False

        await eventually(answers, 10, "Redis is asked again")
