"""Each refusal of a running ingress is counted, and in the log where an operator looks for it."""

import socket
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest
import redis
from tests.ingress.serving import PATIENCE, QUEUE, Served, Talk
from tests.support.waiting import eventually

from turnout.shared import keys, names
from turnout.shared.records import TriggerRecord

CLOSE = b"Connection: close"

#: Two bodies of this size are more than one process holds.
LARGE = 8 * 1024 * 1024


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, amqp_url: str, redis_url: str
) -> Iterator[Served]:
    settings = {"TURNOUT_MAX_BUFFERED_BYTES": str(15 * 1024 * 1024)}
    served = Served(tmp_path_factory.mktemp("ingress"), amqp_url, redis_url, settings)
    with served.running():
        yield served


@pytest.fixture(scope="module")
def cache(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


async def noted(cache: redis.Redis, code: str) -> dict[str, str]:
    """Wait until a refusal is in the log and is counted, and return what the log has of it."""

    def both() -> dict[str, str] | None:
        entries: Any = cache.xrange(names.REFUSED)
        found: list[dict[str, str]] = [each for _, each in entries if each["code"] == code]
        counts: list[Any] = [cache.hgetall(name) for name in cache.keys("turnout:refused:day:*")]
        fields = [field for each in counts for field in each]
        if not found:
            return None
        entry = found[-1]
        field = f"{entry['trigger'] or '-'} {entry['key'] or '-'} {code}"
        return entry if field in fields else None

    return await eventually(both, PATIENCE, f"{code} is in the log and counted")


async def test_what_is_no_request_is_noted(served: Served, cache: redis.Redis) -> None:
    (answer,) = served.talk(b"BREW /t/x HTTP/1.1\r\nHost: x\r\n\r\n").answers
    assert answer.told == (400, "malformed_request")
    entry = await noted(cache, "malformed_request")
    assert (entry["reason"], entry["remote"]) == ("BadHttpMethod", "127.0.0.1")


async def test_a_header_that_is_too_large_is_noted_and_told_with_what_may_be(
    served: Served, cache: redis.Redis
) -> None:
    (answer,) = served.talk(served.call(b"X-Large: " + b"x" * 9000)).answers
    assert answer.told == (431, "header_too_large")
    assert "8190 bytes" in answer.json["detail"]
    assert "128 headers" in answer.json["detail"]
    assert (await noted(cache, "header_too_large"))["reason"] == "LineTooLong"


async def test_a_path_of_no_trigger_is_noted_with_what_identifies_the_key(
    served: Served, cache: redis.Redis
) -> None:
    call = served.call(CLOSE).replace(b"/t/", b"/hooks/")
    assert [each.told for each in served.talk(call).answers] == [(404, "not_found")]
    entry = await noted(cache, "not_found")
    assert (entry["method"], entry["prefix"], entry["route"]) == ("POST", served.key.prefix, "")


async def test_a_body_that_breaks_is_noted(served: Served, cache: redis.Redis) -> None:
    head = served.call().replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    (answer,) = served.talk(head + b"4\r\nhalf\r\n", end=b"no size\r\n").answers
    assert answer.told == (400, "incomplete_body")
    entry = await noted(cache, "incomplete_body")
    assert (entry["key"], entry["trigger"]) == ("key_1", "trg_1")


async def test_bodies_beyond_what_a_process_holds_are_refused_and_noted(
    served: Served, cache: redis.Redis
) -> None:
    call = served.call(CLOSE, body=bytes(LARGE))
    with socket.create_connection(("127.0.0.1", served.port)) as first:
        first.sendall(call[:-1])

        def refused() -> Talk | None:
            talk = served.talk(call)
            return talk if talk.answers[0].status != 202 else None

        (answer,) = (await eventually(refused, PATIENCE, "the first one is held")).answers
        assert answer.told == (503, "overloaded")
        assert int(answer.headers["retry-after"]) > 0
        first.sendall(call[-1:])
        assert first.recv(12) == b"HTTP/1.1 202"
    assert (await noted(cache, "overloaded"))["trigger"] == "trg_1"
    assert [each.status for each in served.talk(call).answers] == [202], "nothing is held any more"


async def test_a_fault_of_ours_is_noted_with_whose_call_it_was(
    served: Served, cache: redis.Redis
) -> None:
    """As by a router that wrote what no ingress can use."""
    route = keys.new_routing_key()
    record = TriggerRecord("trg_9", "flw_1", "grp_1", "shop", QUEUE)._asdict()
    cache.set(names.auth_trigger(route), msgpack.packb({**record, "methods": 1}))
    call = served.call().replace(served.route.encode(), route.encode())
    (answer,) = served.talk(call).answers
    assert answer.told == (500, "internal_error")
    entry = await noted(cache, "internal_error")
    assert (entry["key"], entry["trigger"], entry["route"]) == ("key_1", "trg_9", route[:6])
