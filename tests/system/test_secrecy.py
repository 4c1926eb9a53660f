"""What outsiders and thieves learn: nothing from time, nothing usable from a copy of the data."""

import asyncio
import random
import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import combinations
from typing import Any

import aiohttp
import pytest
import redis
from tests.support.system import Key, System, Trigger
from tests.support.waiting import eventually

from turnout.router.database import open_database
from turnout.router.registry import Registry
from turnout.shared import keys, names

#: Keys of each kind that are presented for the first time, and how often one is presented again.
COLD = 40
WARM = 200


@pytest.fixture(scope="module")
def system(bare_system: System) -> System:
    """A running system with one ingress and a flow that nobody serves."""
    bare_system.add_ingress()
    asyncio.run(bare_system.start())
    asyncio.run(bare_system.make_group("shop"))
    asyncio.run(bare_system.make_flow("shop/seen"))
    return bare_system


async def bad_keys(system: System, number: int) -> dict[str, list[str]]:
    """Make so many bad keys of each kind: unknown, with a wrong secret, expired, revoked."""
    soon = datetime.now(UTC) + timedelta(seconds=5)
    # By the registry itself: so many requests would take their time.
    async with open_database(f"sqlite+aiosqlite:///{system.directory / 'turnout.db'}") as database:
        registry = Registry(database)
        good, expired, revoked = [
            [await registry.create_key("shop", f"{kind} {each}", **more) for each in range(number)]
            for kind, more in (("good", {}), ("expired", {"expires_at": soon}), ("revoked", {}))
        ]
        for key, _ in revoked:
            await registry.revoke_key(key.id)
    await system.make_key("shop", "and have the router look at it now")
    await eventually(lambda: datetime.now(UTC) > soon, what="the keys have expired")
    return {
        "unknown": [keys.new_key().text for _ in range(number)],
        "wrong secret": [with_another_secret(text) for _, text in good],
        "expired": [text for _, text in expired],
        "revoked": [text for _, text in revoked],
    }


def with_another_secret(text: str) -> str:
    """Return a well-formed key with the id of this one."""
    body = f"{keys.prefix(text)}_{keys.new_key().text.rpartition('_')[2][:32]}"
    return body + keys._checksum(body)


async def bad_tokens(system: System, number: int) -> dict[str, list[str]]:
    """Make so many bad admin tokens of the same kinds."""
    soon = datetime.now(UTC) + timedelta(seconds=3)
    async with open_database(f"sqlite+aiosqlite:///{system.directory / 'turnout.db'}") as database:
        registry = Registry(database)
        good, expired, revoked = [
            [
                await registry.create_token(f"{kind} {each}", role="viewer", **more)
                for each in range(number)
            ]
            for kind, more in (("good", {}), ("expired", {"expires_at": soon}), ("revoked", {}))
        ]
        for token, _ in revoked:
            await registry.revoke_token(token.id)
    await eventually(lambda: datetime.now(UTC) > soon, what="the tokens have expired")
    return {
        "unknown": [keys.new_key(keys.ADMIN_TOKEN).text for _ in range(number)],
        "wrong secret": [with_another_secret(text) for _, text in good],
        "expired": [text for _, text in expired],
        "revoked": [text for _, text in revoked],
    }


async def times(url: str, kinds: dict[str, list[str]]) -> dict[str, list[float]]:
    """Present keys or tokens in turn, one of each kind, over one connection; return the seconds."""
    taken: dict[str, list[float]] = {kind: [] for kind in kinds}
    async with aiohttp.ClientSession() as session:
        for number in range(len(next(iter(kinds.values())))):
            for kind in random.sample(list(kinds), len(kinds)):
                headers = {"Authorization": f"Bearer {kinds[kind][number]}"}
                began = time.perf_counter()
                async with session.post(url, headers=headers) as response:
                    await response.read()
                    assert response.status == 401
                taken[kind].append(time.perf_counter() - began)
    return taken


def chance_of_more(first: Sequence[float], second: Sequence[float]) -> float:
    """Return how likely one of the first takes longer than one of the second: alike is 0.5."""
    pairs = [(a > b) + 0.5 * (a == b) for a in first for b in second]
    return sum(pairs) / len(pairs)


def assert_alike(taken: dict[str, list[float]]) -> None:
    """Check that no kind can be told from another one by how long it takes."""
    for one, other in combinations(taken, 2):
        chance = chance_of_more(taken[one], taken[other])
        assert 0.25 < chance < 0.75, f"{one} and {other} keys can be told apart: {chance:.2f}"


async def test_a_copy_of_sql_and_redis_lets_nobody_call_or_administer(
    system: System, trigger: Trigger, redis_url: str
) -> None:
    made = await system.make_key("shop", "in use")
    rotated = await system.make_key("shop", "rotated")
    new = await system.admin("POST", f"keys/{rotated.id}/rotate", {}, status=201)
    system.secrets["a key after its rotation"] = new["key"]
    texts = (made.text, rotated.text, new["key"])
    for text in texts:
        assert (await system.call(trigger.path, Key("", text))).status == 202

    copy = await asyncio.to_thread(copied, system, redis_url)
    assert keys.digest(made.text).encode() in copy  # it is where it is looked for
    assert trigger.routing_key.encode() in copy
    token = system.secrets["the admin token"]
    assert keys.digest(token).encode() in copy
    for text in (*texts, token):
        assert text.rpartition("_")[2].encode() not in copy

    words = {word.decode() for word in re.findall(rb"[0-9A-Za-z_]{8,}", copy)}
    digests = {word[-64:] for word in words if re.search("[0-9a-f]{64}$", word)}
    assert len(digests) >= 3
    url = system.ingress.url + trigger.path
    assert not await open_doors(url, "tk_", words, digests), "something is as good as a key"
    url = f"{system.router.url}/api/v1/groups"
    assert not await open_doors(url, "ta_", words, digests), "something is as good as a token"


async def open_doors(url: str, kind: str, words: set[str], digests: set[str]) -> list[str]:
    """Present every word, and every digest with every prefix of a kind; return what is let in."""
    prefixes = {word for word in words if word.startswith(kind)}
    assert prefixes
    candidates = words | {f"{prefix}_{digest}" for prefix in prefixes for digest in digests}
    found = []
    async with aiohttp.ClientSession() as session:
        for word in candidates:
            headers = {"Authorization": f"Bearer {word}"}
            async with session.post(url, headers=headers) as answer:
                if answer.status != 401:
                    found.append(word)
    return found


async def test_bad_keys_take_the_same_time_at_first_and_later(
    system: System, trigger: Trigger
) -> None:
    url = system.ingress.url + trigger.path
    kinds = await bad_keys(system, COLD)
    assert_alike(await times(url, kinds))
    assert_alike(await times(url, {kind: [texts[0]] * WARM for kind, texts in kinds.items()}))


async def test_bad_admin_tokens_take_the_same_time(system: System) -> None:
    url = f"{system.router.url}/api/v1/groups"
    kinds = await bad_tokens(system, COLD)
    assert_alike(await times(url, kinds))
    assert_alike(await times(url, {kind: [texts[0]] * WARM for kind, texts in kinds.items()}))


def copied(system: System, redis_url: str) -> bytes:
    """Return all bytes of the SQL database, and all names and values in Redis."""
    found = [path.read_bytes() for path in system.directory.glob("turnout.db*")]
    with redis.Redis.from_url(redis_url) as cache:
        for name in cache.scan_iter():
            found += [name, _value(cache, name)]
    assert any(names.AUTH_KEY_PREFIX.encode() in each for each in found)
    return b"\n".join(found)


def _value(cache: "redis.Redis", name: bytes) -> bytes:
    kind: Any = cache.type(name)
    reading: dict[bytes, Any] = {
        b"string": cache.get,
        b"hash": cache.hgetall,
        b"stream": cache.xrange,
        b"set": cache.smembers,
        b"list": lambda each: cache.lrange(each, 0, -1),
        b"zset": lambda each: cache.zrange(each, 0, -1, withscores=True),
    }
    value = reading[kind](name)
    return value if isinstance(value, bytes) else repr(value).encode()
