import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.support.topology import collecting, declare_route, ready_messages
from tests.support.waiting import eventually

from turnout.shared.amqp import properties_of
from turnout.shared.publisher import (
    ACCEPTED,
    BUSY,
    CLOSING,
    DISCONNECTED,
    LOST,
    UNROUTABLE,
    Confirm,
    Publisher,
    Verdict,
)


@pytest.fixture(scope="module")
def url(amqp_url: str) -> str:
    asyncio.run(declare_route(amqp_url, "x", "q", "k"))
    return amqp_url


@pytest.fixture
async def publisher(url: str) -> AsyncIterator[Publisher]:
    publisher = Publisher([url], name="test")
    await publisher.start()
    await publisher.ready()
    yield publisher
    await publisher.close()


@pytest.mark.parametrize("size", [0, 1, 131_000, 131_072, 8 * 1024 * 1024])
async def test_a_body_of_any_size_arrives_byte_for_byte(
    url: str, publisher: Publisher, size: int
) -> None:
    await declare_route(url, "x", f"q{size}", f"k{size}")
    body = bytes(range(256)) * (size // 256) + b"!" * (size % 256)
    confirm = await publisher.publish("x", f"k{size}", body, kind="kind", headers={"why": "test"})
    assert confirm is ACCEPTED
    async with collecting(url, f"q{size}") as collector:
        (delivery,) = await eventually(lambda: collector.deliveries)
    assert delivery.body == body
    properties = properties_of(delivery)
    assert properties.delivery_mode == 2
    assert properties.message_type == "kind"
    assert properties.headers == {"why": "test"}


async def test_what_no_queue_is_bound_for_is_refused_and_its_neighbours_are_not(
    publisher: Publisher,
) -> None:
    keys = ["k", "nowhere"] * 200
    confirms = await asyncio.gather(*(publisher.publish("x", key, b"", kind="t") for key in keys))
    expected = [ACCEPTED if key == "k" else UNROUTABLE for key in keys]
    assert confirms == expected


async def test_a_missing_exchange_makes_its_neighbours_unknown_and_service_returns(
    publisher: Publisher,
) -> None:
    first = publisher.publish("x", "k", b"", kind="t")
    missing = publisher.publish("gone", "k", b"", kind="t")
    assert (await missing).verdict is Verdict.UNKNOWN
    assert (await first).verdict in (Verdict.ACCEPTED, Verdict.UNKNOWN)
    await publisher.ready()
    assert await publisher.publish("x", "k", b"", kind="t") is ACCEPTED


async def test_a_cancelled_caller_does_not_shift_the_confirmations_of_others(
    publisher: Publisher,
) -> None:
    async def call(key: str) -> object:
        return await publisher.publish("x", key, b"", kind="t")

    tasks = [asyncio.create_task(call("k" if n % 3 else "nowhere")) for n in range(300)]
    await asyncio.sleep(0)
    for task in tasks[::5]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    for number, result in enumerate(results):
        if number % 5:
            assert result is (ACCEPTED if number % 3 else UNROUTABLE)
        else:
            assert isinstance(result, asyncio.CancelledError)


async def test_without_a_broker_everything_is_refused_at_once() -> None:
    publisher = Publisher(["amqp://127.0.0.1:1/"], name="test")
    await publisher.start()
    assert await publisher.publish("x", "k", b"", kind="t") is DISCONNECTED
    await publisher.close()


async def test_the_next_address_is_tried_when_one_fails(url: str) -> None:
    publisher = Publisher(["amqp://127.0.0.1:1/", url], name="test")
    await publisher.start()
    async with asyncio.timeout(10):
        await publisher.ready()
    assert await publisher.publish("x", "k", b"", kind="t") is ACCEPTED
    await publisher.close()


async def test_what_is_too_much_is_refused_and_not_collected_in_memory(url: str) -> None:
    publisher = Publisher([url], name="test", most=10, most_bytes=1000)
    await publisher.start()
    await publisher.ready()
    confirms = await asyncio.gather(
        *(publisher.publish("x", "k", b"x", kind="t") for _ in range(15))
    )
    assert confirms.count(ACCEPTED) == 10
    assert confirms.count(BUSY) == 5
    confirms = await asyncio.gather(
        *(publisher.publish("x", "k", b"x" * 400, kind="t") for _ in range(3))
    )
    assert confirms == [ACCEPTED, ACCEPTED, BUSY]
    await publisher.close()


async def test_there_is_room_again_as_soon_as_the_broker_has_confirmed(url: str) -> None:
    publisher = Publisher([url], name="test", most=10, patience=60)
    await publisher.start()
    await publisher.ready()

    async def publish() -> Confirm:
        assert await publisher.room(1)
        return await publisher.publish("x", "k", b"x", kind="t")

    assert set(await asyncio.gather(*(publish() for _ in range(100)))) == {ACCEPTED}
    await publisher.close()


async def test_who_waits_for_room_does_not_wait_long(url: str) -> None:
    publisher = Publisher([url], name="test", most=1, patience=0)
    await publisher.start()
    await publisher.ready()
    confirm = publisher.publish("x", "k", b"x", kind="t")
    assert not await publisher.room(1)
    await confirm
    assert await publisher.room(1)
    await publisher.close()


async def test_closing_under_load_ends_every_publish_and_loses_none_that_was_accepted(
    url: str,
) -> None:
    await declare_route(url, "x", "closing", "closing")
    publisher = Publisher([url], name="test")
    await publisher.start()
    await publisher.ready()
    futures = [publisher.publish("x", "closing", b"", kind="t") for _ in range(500)]
    closing = asyncio.create_task(publisher.close())
    await asyncio.sleep(0)
    assert await publisher.publish("x", "closing", b"", kind="t") is CLOSING
    async with asyncio.timeout(10):
        confirms = await asyncio.gather(*futures)
        await closing
    assert confirms == [ACCEPTED] * 500
    assert await ready_messages(url, "closing") == 500


async def test_a_connection_that_is_cut_makes_what_was_under_way_unknown(url: str) -> None:
    publisher = Publisher([url], name="test")
    await publisher.start()
    await publisher.ready()
    future = publisher.publish("x", "k", b"", kind="t")
    link = publisher._link
    assert link is not None
    link._transport.abort()
    assert await future is LOST
    async with asyncio.timeout(10):
        await eventually(lambda: publisher.trouble is None)
    assert await publisher.publish("x", "k", b"", kind="t") is ACCEPTED
    await publisher.close()
