import asyncio

import pytest
from redis.asyncio import Redis as Client
from tests.support.proxy import Proxy
from tests.support.waiting import eventually

from turnout.router.nodes.redis import Redis
from turnout.shared import batch as module
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

        await eventually(answers, what="Redis is asked again")


async def test_who_is_cancelled_does_not_shift_the_replies_of_others(redis_url: str) -> None:
    async with cache.connect(redis_url) as client:
        batch = Batch(client)
        replies = [batch.execute("ECHO", n) for n in range(1000)]
        for each in replies[::3]:
            each.cancel()
        await asyncio.sleep(0)  # the pipeline is on its way
        for each in replies[1::3]:
            each.cancel()
        assert await asyncio.gather(*replies[2::3]) == [str(n).encode() for n in range(2, 1000, 3)]


async def test_what_waits_is_bounded_and_who_is_too_much_is_told_at_once(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_WAITING", 10)
    async with cache.connect(redis_url) as client:
        batch = Batch(client)
        replies = [batch.execute("ECHO", n) for n in range(15)]
        assert [each.done() for each in replies] == [False] * 10 + [True] * 5
        with pytest.raises(Unavailable, match="too much waits"):
            await replies[10]
        assert await asyncio.gather(*replies[:10]) == [str(n).encode() for n in range(10)]


async def test_a_lost_reply_fails_all_that_went_out_with_it_and_the_next_have_their_own(
    redis_url: str,
) -> None:
    async with Proxy(redis_url) as proxy, cache.connect(proxy.url) as client:
        batch = Batch(client)
        assert await batch.execute("ECHO", "first") == b"first"
        heard = batch.heard
        proxy.lose_a_reply()
        ends = await asyncio.gather(
            *(batch.execute("ECHO", n) for n in range(100)), return_exceptions=True
        )
        assert [type(each) for each in ends] == [Unavailable] * 100
        assert batch.heard == heard

        async def answers() -> bool:
            try:
                return bool(await batch.execute("ECHO", "last") == b"last")
            except Unavailable:
                return False

        await eventually(answers, what="Redis is asked again")
        assert batch.heard > heard
