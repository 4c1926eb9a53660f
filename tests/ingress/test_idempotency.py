"""Idempotency keys: who may publish, and what the others are told."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy
from redis.asyncio import Redis
from tests.support.proxy import Proxy
from tests.support.waiting import eventually

from turnout.ingress.idempotency import Idempotency, digest
from turnout.shared import names
from turnout.shared.batch import Batch

pytestmark = pytest.mark.usefixtures("redis")

LEASE, LIFETIME = 30.0, 600.0


@pytest.fixture
def idempotency(batch: Batch) -> Idempotency:
    return Idempotency(batch, lease=LEASE, lifetime=LIFETIME)


def headers(*pairs: tuple[str, str]) -> CIMultiDictProxy[str]:
    return CIMultiDictProxy(CIMultiDict(pairs))


# -- the hash


def test_a_call_without_a_key_has_no_hash() -> None:
    assert digest(headers(), "grp", "trg") is None
    assert digest(headers(("Idempotency-Key", "")), "grp", "trg") is None


def test_both_headers_carry_one_and_that_of_http_comes_first() -> None:
    of_http = digest(headers(("idempotency-key", "a")), "grp", "trg")
    of_webhooks = digest(headers(("Webhook-Id", "a")), "grp", "trg")
    assert of_http == of_webhooks
    both = digest(headers(("webhook-id", "b"), ("Idempotency-Key", "a")), "grp", "trg")
    assert both == of_http
    empty = digest(headers(("Idempotency-Key", ""), ("webhook-id", "a")), "grp", "trg")
    assert empty == of_http


ids = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=8)
scopes = st.tuples(ids, ids, st.text(st.characters(exclude_characters="\0"), min_size=1))


@given(one=scopes, other=scopes)
def test_only_the_same_key_of_the_same_group_and_trigger_has_the_same_hash(
    one: tuple[str, str, str], other: tuple[str, str, str]
) -> None:
    def hashed(group: str, trigger: str, key: str) -> str:
        text = key.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")
        result = digest(headers(("Idempotency-Key", text)), group, trigger)
        assert result is not None
        assert len(result) == 64
        return result

    assert (hashed(*one) == hashed(*other)) is (one == other)


# -- claims


async def test_who_claims_first_has_it_and_a_twin_is_told_to_wait(
    idempotency: Idempotency,
) -> None:
    assert await idempotency.claim("k", "evt_1") == "evt_1"
    assert await idempotency.claim("k", "evt_2") is None
    assert await idempotency.claim("other", "evt_2") == "evt_2"


async def test_of_many_at_once_exactly_one_has_it(idempotency: Idempotency) -> None:
    found = await asyncio.gather(*(idempotency.claim("k", f"evt_{n}") for n in range(100)))
    (winner,) = (each for each in found if each is not None)
    assert found[int(winner.removeprefix("evt_"))] == winner


async def test_a_claim_that_was_sent_twice_is_still_ours(idempotency: Idempotency) -> None:
    assert await idempotency.claim("k", "evt_1") == "evt_1"
    assert await idempotency.claim("k", "evt_1") == "evt_1"


async def test_what_is_finished_is_answered_with_the_first_event_for_its_lifetime(
    idempotency: Idempotency, redis: Redis
) -> None:
    await idempotency.claim("k", "evt_1")
    await idempotency.finish("k", "evt_1")
    assert await idempotency.claim("k", "evt_2") == "evt_1"
    assert await idempotency.claim("k", "evt_3") == "evt_1"
    remaining = await redis.pttl(names.idempotency("k"))
    assert (LIFETIME - 60) * 1000 < remaining <= LIFETIME * 1000


async def test_what_is_released_can_be_claimed_again(idempotency: Idempotency) -> None:
    await idempotency.claim("k", "evt_1")
    await idempotency.release("k", "evt_1")
    assert await idempotency.claim("k", "evt_2") == "evt_2"


async def test_a_claim_without_an_outcome_ends_with_its_lease(batch: Batch) -> None:
    idempotency = Idempotency(batch, lease=0.2, lifetime=LIFETIME)
    await idempotency.claim("k", "evt_1")
    assert await idempotency.claim("k", "evt_2") is None

    async def is_free() -> bool:
        return await idempotency.claim("k", "evt_2") == "evt_2"

    await eventually(is_free, what="the lease ends")


async def test_the_lease_of_a_pending_claim_is_not_prolonged_by_those_who_ask(
    idempotency: Idempotency, redis: Redis
) -> None:
    await idempotency.claim("k", "evt_1")
    await redis.pexpire(names.idempotency("k"), 20_000)
    await idempotency.claim("k", "evt_2")
    assert await redis.pttl(names.idempotency("k")) <= 20_000


async def test_a_claim_that_was_lost_changes_nothing_of_the_next_one(
    idempotency: Idempotency, redis: Redis
) -> None:
    await idempotency.claim("k", "evt_1")
    await redis.delete(names.idempotency("k"))  # its lease has ended
    assert await idempotency.claim("k", "evt_2") == "evt_2"

    await idempotency.release("k", "evt_1")
    assert await idempotency.claim("k", "evt_3") is None
    await idempotency.finish("k", "evt_1")
    assert await idempotency.claim("k", "evt_3") is None

    await idempotency.finish("k", "evt_2")
    await idempotency.release("k", "evt_1")
    await idempotency.release("k", "evt_2")
    await idempotency.finish("k", "evt_1")
    assert await idempotency.claim("k", "evt_3") == "evt_2"


async def test_what_no_version_of_ours_wrote_is_not_taken_for_an_event(
    idempotency: Idempotency, redis: Redis
) -> None:
    await redis.set(names.idempotency("k"), b"\xff\xfe")
    assert await idempotency.claim("k", "evt_1") is None


# -- without Redis


async def test_without_redis_every_call_is_published_and_nothing_fails(
    proxy: Proxy, far_batch: Batch
) -> None:
    idempotency = Idempotency(far_batch, lease=LEASE, lifetime=LIFETIME)
    proxy.down()
    assert await idempotency.claim("k", "evt_1") == "evt_1"
    assert await idempotency.claim("k", "evt_2") == "evt_2"
    await idempotency.finish("k", "evt_1")
    await idempotency.release("k", "evt_2")


async def test_a_silent_redis_does_not_hold_up_a_call(proxy: Proxy, far_batch: Batch) -> None:
    await far_batch.execute("PING")
    idempotency = Idempotency(far_batch, lease=LEASE, lifetime=LIFETIME)
    proxy.freeze()
    async with asyncio.timeout(5):
        assert await idempotency.claim("k", "evt_1") == "evt_1"


async def test_a_claim_whose_reply_is_lost_keeps_twins_away_and_is_finished(
    proxy: Proxy, far_batch: Batch, idempotency: Idempotency
) -> None:
    await far_batch.execute("PING")
    far = Idempotency(far_batch, lease=LEASE, lifetime=LIFETIME)
    proxy.lose_a_reply()
    assert await far.claim("k", "evt_1") == "evt_1"
    assert await idempotency.claim("k", "evt_2") is None

    async def is_done() -> bool:
        await far.finish("k", "evt_1")
        return await idempotency.claim("k", "evt_2") == "evt_1"

    await eventually(is_done, what="the connection is there again and the key is done")
