"""The publisher while its connection is troubled: whatever happens, every future ends in time."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
from tests.support.brokers import Broker, memory_alarm, quoted
from tests.support.proxy import Proxy
from tests.support.topology import declare_route, ready_messages
from tests.support.waiting import PATIENCE, eventually

from turnout.shared.amqp import Link
from turnout.shared.publisher import (
    ACCEPTED,
    BLOCKED,
    CLOSING,
    DISCONNECTED,
    LATE,
    LOST,
    Confirm,
    Publisher,
)

DEADLINE = 0.5

#: Seconds by which the publisher may miss a deadline: it looks ten times in the shortest one.
LATENESS = 0.5


@pytest.fixture(scope="module")
def url(amqp_url: str) -> str:
    asyncio.run(declare_route(amqp_url, "x", "q", "k"))
    return amqp_url


@pytest.fixture
async def proxy(url: str) -> AsyncIterator[Proxy]:
    """A proxy before the broker."""
    async with Proxy(url) as proxy:
        yield proxy


@asynccontextmanager
async def publishing(url: str, **options: float) -> AsyncIterator[Publisher]:
    publisher = Publisher([url], name="test", **{"deadline": DEADLINE, **options})  # type: ignore[arg-type]
    await publisher.start()
    await publisher.ready()
    try:
        yield publisher
    finally:
        async with asyncio.timeout(PATIENCE):
            await publisher.close()


def publish(publisher: Publisher, routing_key: str = "k") -> asyncio.Future[Confirm]:
    return publisher.publish("x", routing_key, b"body", kind="test")


async def by_the_deadline(futures: list[asyncio.Future[Confirm]]) -> Counter[Confirm]:
    """Wait for the end of futures that were made just now; they end by their deadline."""
    async with asyncio.timeout(DEADLINE + 2.0):
        return Counter(await asyncio.gather(*futures))


async def more(confirms: Counter[Confirm], kind: Confirm) -> None:
    """Wait until there are more confirmations of a kind than now."""
    wanted = confirms[kind] + 20
    await eventually(lambda: confirms[kind] >= wanted, what=f"more are {kind.verdict}")


async def assert_goes_on(publisher: Publisher) -> None:
    await eventually(lambda: publisher.trouble is None, what="it is connected again")
    assert await publish(publisher) is ACCEPTED


async def test_a_reset_connection_ends_all_that_is_under_way_at_once(
    url: str, proxy: Proxy
) -> None:
    await declare_route(url, "x", "reset", "reset")
    async with publishing(proxy.url, deadline=60.0) as publisher:
        proxy.hold_replies()
        futures = [publish(publisher, "reset") for _ in range(1000)]
        await eventually(lambda: proxy.held, what="the broker has confirmed some")
        proxy.cut()
        proxy.thaw()
        assert await by_the_deadline(futures) == {LOST: 1000}
        await assert_goes_on(publisher)
    # Unknown means what it says: here they are in their queue.
    assert await ready_messages(url, "reset") > 0


async def test_a_broker_whose_heartbeat_is_lost_ends_all_that_is_under_way_before_its_deadline(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Link, "connect", partial(Link.connect, heartbeat=1))
    async with publishing(proxy.url, deadline=600.0) as publisher:
        proxy.freeze()
        futures = [publish(publisher) for _ in range(100)]
        async with asyncio.timeout(PATIENCE):
            confirms = Counter(await asyncio.gather(*futures))
        proxy.thaw()
        assert confirms == {LOST: 100}
        await assert_goes_on(publisher)


async def test_a_connection_that_the_broker_closes_is_made_again(
    rabbitmq: Broker, vhost: str, url: str
) -> None:
    def ours() -> str | None:
        for each in rabbitmq.management.call("GET", f"vhosts/{vhost}/connections"):
            if each.get("client_properties", {}).get("connection_name") == "test":
                return str(each["name"])
        return None

    async with publishing(url) as publisher:
        name = await eventually(ours, what="the broker lists our connection")
        confirms: Counter[Confirm] = Counter()

        async def call() -> None:
            while not confirms.keys() - {ACCEPTED}:
                confirms[await publish(publisher)] += 1

        calls = asyncio.gather(*(call() for _ in range(20)))
        await more(confirms, ACCEPTED)
        await asyncio.to_thread(rabbitmq.management.call, "DELETE", f"connections/{quoted(name)}")
        async with asyncio.timeout(PATIENCE):
            await calls
        assert confirms.keys() - {ACCEPTED} <= {LOST, DISCONNECTED}
        await assert_goes_on(publisher)


async def test_a_channel_that_the_broker_closes_ends_all_that_is_under_way_on_it(
    url: str,
) -> None:
    async with publishing(url, deadline=60.0) as publisher:
        futures = [publish(publisher) for _ in range(100)]
        futures.append(publisher.publish("missing", "k", b"", kind="test"))
        futures += [publish(publisher) for _ in range(100)]
        confirms = await by_the_deadline(futures)
        assert set(confirms) <= {ACCEPTED, LOST}
        assert await futures[100] is LOST
        await assert_goes_on(publisher)


async def test_a_silent_broker_makes_each_publish_late_and_its_late_answers_confuse_nothing(
    url: str, proxy: Proxy
) -> None:
    async with publishing(proxy.url) as publisher:
        assert await publish(publisher) is ACCEPTED
        proxy.freeze()
        loop = asyncio.get_running_loop()
        began = loop.time()
        confirms = await by_the_deadline([publish(publisher) for _ in range(100)])
        assert confirms == {LATE: 100}
        assert loop.time() - began >= DEADLINE
        proxy.thaw()
        # The answers to the late ones come together with those to these.
        keys = ["k", "nowhere"] * 100
        ends = await asyncio.gather(*(publish(publisher, key) for key in keys))
        assert [each is ACCEPTED for each in ends] == [key == "k" for key in keys], Counter(ends)


async def test_every_future_ends_by_its_deadline_through_any_sequence_of_troubles(
    url: str, proxy: Proxy
) -> None:
    async with publishing(proxy.url) as publisher:
        loop = asyncio.get_running_loop()
        slowest = away = 0.0
        confirms: Counter[Confirm] = Counter()
        stop = asyncio.Event()

        async def call() -> None:
            nonlocal slowest
            while not stop.is_set():
                began, was_away = loop.time(), away
                confirms[await publish(publisher)] += 1
                took = loop.time() - began
                await asyncio.sleep(0.02)  # until the watch has seen it too
                slowest = max(slowest, took - (away - was_away))

        async def watch() -> None:
            """Add up for how long the machine, busy with other things, kept this loop waiting."""
            nonlocal away
            while not stop.is_set():
                began = loop.time()
                await asyncio.sleep(0.01)
                away += loop.time() - began - 0.01

        calls = asyncio.gather(watch(), *(call() for _ in range(20)))
        for trouble in (proxy.cut, proxy.freeze, proxy.cut, proxy.down, proxy.hold_replies):
            await eventually(lambda: publisher.trouble is None)
            await more(confirms, ACCEPTED)
            trouble()
            if trouble == proxy.down:
                await eventually(lambda: confirms[DISCONNECTED])
                await proxy.up()
            elif trouble != proxy.cut:
                await more(confirms, LATE)
            proxy.thaw()
        stop.set()
        await calls
        assert slowest < DEADLINE + LATENESS
        assert set(confirms) <= {ACCEPTED, LATE, LOST, DISCONNECTED}
        await assert_goes_on(publisher)


async def test_who_waits_for_room_is_not_left_waiting_by_a_lost_connection(
    proxy: Proxy,
) -> None:
    async with publishing(proxy.url, deadline=60.0, most=1, patience=60.0) as publisher:
        proxy.freeze()
        future = publish(publisher)
        waiting = [asyncio.create_task(publisher.room(1)) for _ in range(10)]
        await asyncio.sleep(0)
        proxy.cut()
        proxy.thaw()
        async with asyncio.timeout(PATIENCE):
            assert await future is LOST
            assert await asyncio.gather(*waiting) == [True] * 10


async def test_who_is_cancelled_waiting_for_room_does_not_disturb_the_others(
    proxy: Proxy,
) -> None:
    async with publishing(proxy.url, deadline=60.0, most=1, patience=60.0) as publisher:
        proxy.freeze()
        future = publish(publisher)
        waiting = [asyncio.create_task(publisher.room(1)) for _ in range(9)]
        await asyncio.sleep(0)
        for each in waiting[::2]:
            each.cancel()
        proxy.thaw()
        assert await future is ACCEPTED
        ends = await asyncio.gather(*waiting, return_exceptions=True)
        assert ends[1::2] == [True] * 4


async def test_closing_while_the_broker_is_silent_ends_and_so_does_all_that_was_under_way(
    proxy: Proxy,
) -> None:
    publisher = Publisher([proxy.url], name="test", deadline=DEADLINE)
    await publisher.start()
    await publisher.ready()
    proxy.freeze()
    futures = [publish(publisher) for _ in range(100)]
    closing = asyncio.create_task(publisher.close())
    await asyncio.sleep(0)
    assert await publish(publisher) is CLOSING
    assert await by_the_deadline(futures) == {LATE: 100}
    async with asyncio.timeout(10):
        await closing


async def test_closing_before_there_was_a_connection_and_twice_is_no_matter(url: str) -> None:
    never_started = Publisher([url], name="test")
    await never_started.close()
    publisher = Publisher(["amqp://127.0.0.1:1/"], name="test")
    await publisher.start()
    async with asyncio.timeout(PATIENCE):
        await publisher.close()
        await publisher.close()
    assert publisher.trouble is CLOSING


# -- a broker in need


async def test_a_blocked_broker_is_a_refusal_at_once_and_then_all_goes_on(
    rabbitmq: Broker, url: str
) -> None:
    if rabbitmq.node is None:
        pytest.skip("this RabbitMQ is not ours to block")
    async with publishing(url) as publisher:
        with memory_alarm(rabbitmq.node):
            # RabbitMQ says so only to who publishes; what was published meanwhile may come through.
            first = await by_the_deadline([publish(publisher)])
            assert set(first) <= {LATE, ACCEPTED}
            await eventually(lambda: publisher.trouble is BLOCKED)
            assert publisher.state == "blocked"
            assert "memory" in str(publisher.alarm)
            for _ in range(100):
                future = publish(publisher)
                assert future.done()
                assert future.result() is BLOCKED
        await assert_goes_on(publisher)
