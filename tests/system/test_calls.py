"""A call comes in, and its flow sees it as it was sent."""

import asyncio
import base64
import gzip
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from tests.support.system import Key, System, Trigger

BOUNDARY = b"--------------------------1f2e3d"
MULTIPART = (
    b"--" + BOUNDARY + b'\r\nContent-Disposition: form-data; name="title"\r\n\r\ncaf\xc3\xa9\r\n'
    b"--" + BOUNDARY + b'\r\nContent-Disposition: form-data; name="scan"; filename="a.bin"\r\n'
    b"Content-Type: application/octet-stream\r\n\r\n" + bytes(range(256)) + b"\r\n"
    b"--" + BOUNDARY + b"--\r\n"
)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        pytest.param("application/json", b'{ "name":"Ada",\r\n "amount": 12.50 }\n', id="json"),
        pytest.param("application/json; charset=utf-8", "{\"é\": '☃'}".encode(), id="broken-json"),
        pytest.param("application/x-www-form-urlencoded", b"a=1&a=2&b=%c3%bc+x&c", id="form"),
        pytest.param(f"multipart/form-data; boundary={BOUNDARY.decode()}", MULTIPART, id="files"),
        pytest.param("application/xml", b'<?xml version="1.0"?>\r\n<a b="c">\xe9</a>', id="xml"),
        pytest.param("text/plain; charset=iso-8859-1", b"caf\xe9\x00\x80", id="latin-1"),
        pytest.param("application/json", b"", id="empty"),
        pytest.param("application/octet-stream", os.urandom(2**20), id="random-1MB"),
    ],
)
async def test_a_body_arrives_byte_for_byte(
    system: System, key: Key, trigger: Trigger, content_type: str, body: bytes
) -> None:
    answer = await system.call(trigger.path, key, data=body, headers={"Content-Type": content_type})

    assert answer.status == 202
    assert answer.headers["Content-Type"].startswith("application/json")
    assert answer.json == {"event_id": answer.event_id, "status": "accepted"}
    assert answer.event_id.startswith("evt_")
    seen = await system.seen(answer.event_id)
    assert seen["body"] == body
    assert seen["content_type"] == content_type


async def test_a_body_without_a_content_type_arrives_without_one(
    system: System, key: Key, trigger: Trigger
) -> None:
    answer = await system.call(
        trigger.path, key, data=b"\x00\x01", skip_auto_headers=["Content-Type"]
    )
    seen = await system.seen(answer.event_id)
    assert (seen["body"], seen["content_type"]) == (b"\x00\x01", "")


async def test_a_call_without_a_body_arrives(system: System, key: Key, trigger: Trigger) -> None:
    answer = await system.call(trigger.path, key)
    assert (await system.seen(answer.event_id))["body"] == b""


async def test_a_compressed_body_arrives_as_it_was_sent(
    system: System, key: Key, trigger: Trigger
) -> None:
    body = gzip.compress(b"compressed by the sender" * 100)
    answer = await system.call(trigger.path, key, data=body, headers={"Content-Encoding": "gzip"})
    seen = await system.seen(answer.event_id)
    assert seen["body"] == body
    assert ("Content-Encoding", "gzip") in seen["headers"]


async def test_a_chunked_body_is_put_together(system: System, key: Key, trigger: Trigger) -> None:
    pieces = [os.urandom(size) for size in (1, 70_000, 3, 200_000)]

    async def send() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    answer = await system.call(trigger.path, key, data=send())
    assert (await system.seen(answer.event_id))["body"] == b"".join(pieces)


async def test_a_sender_that_asks_first_is_told_to_go_on(
    system: System, key: Key, trigger: Trigger
) -> None:
    answer = await system.call(trigger.path, key, data=b"asked first", expect100=True)
    assert (await system.seen(answer.event_id))["body"] == b"asked first"


async def test_headers_arrive_in_order_with_duplicates_and_any_bytes(
    system: System, key: Key, trigger: Trigger
) -> None:
    sent = [
        (b"Host", b"example.org"),
        (b"X-Zulu", b"1"),
        (b"x-alpha", b"a, b"),
        (b"X-Zulu", b"2"),
        (b"X-Name", "Zoë ☃".encode()),
        (b"X-Latin", b"caf\xe9"),
        (b"X-Empty", b""),
        (b"CC", b"turnout.flow.shop.failing"),
        (b"Cookie", b"a=1; b=2"),
        (b"Content-Length", b"0"),
    ]
    lines = [b"%b: %b" % each for each in (*sent, (b"X-API-Key", key.text.encode()))]
    head = b"\r\n".join([b"POST " + trigger.path.encode() + b" HTTP/1.1", *lines, b"", b""])

    seen = await system.seen((await system.send(head)).event_id)

    arrived = [
        tuple(text.encode("utf-8", "surrogateescape") for text in each) for each in seen["headers"]
    ]
    assert arrived == sent


async def test_the_query_arrives_as_it_was_sent(system: System, key: Key, trigger: Trigger) -> None:
    query = "a=1&a=2&b=%20x+y&c=&flag&%C3%BC=%e2%98%83&odd=%zz%7e&&e=a=b&api_key"
    answer = await system.call(f"{trigger.path}?{query}", key)
    seen = await system.seen(answer.event_id)
    assert seen["raw_query"] == query
    assert seen["query"] == [
        *(("a", "1"), ("a", "2"), ("b", " x y"), ("c", ""), ("flag", ""), ("ü", "☃")),
        *(("odd", "%zz~"), ("e", "a=b"), ("api_key", "")),
    ]


@pytest.mark.parametrize(
    "tail", ["", "/", "/deals/42", "/a%2Fb//c/../%e2%98%83/", "/" + "x" * 3000]
)
async def test_what_follows_the_routing_key_arrives(
    system: System, key: Key, trigger: Trigger, tail: str
) -> None:
    answer = await system.call(trigger.path + tail, key)
    assert (await system.seen(answer.event_id))["path"] == tail


async def test_the_flow_is_told_how_the_call_came(
    system: System, key: Key, trigger: Trigger
) -> None:
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    answer = await system.call(trigger.path, key)
    after = datetime.now(UTC)
    seen = await system.seen(answer.event_id)
    assert before < seen["received_at"] < after
    told = {name: seen[name] for name in ("id", "method", "group", "flow", "trigger_id", "key_id")}
    assert told == {
        "id": answer.event_id,
        "method": "POST",
        "group": "shop",
        "flow": "seen",
        "trigger_id": trigger.id,
        "key_id": key.id,
    }
    assert (seen["attempt"], seen["redelivered"]) == (1, False)


@pytest.mark.parametrize("place", ["bearer", "x-api-key", "basic", "query", "everywhere"])
async def test_the_key_does_its_work_in_each_place_and_never_reaches_the_flow(
    system: System, key: Key, place: str
) -> None:
    trigger = await system.make_trigger("shop/seen", key_in_query=True)
    encoded = base64.b64encode(f"user:{key.text}".encode()).decode()
    headers = {
        "bearer": {"Authorization": f"Bearer {key.text}"},
        "x-api-key": {"x-api-key": key.text},
        "basic": {"authorization": f"basic {encoded}"},
        "query": {},
        "everywhere": {"Authorization": f"Bearer {key.text}", "X-API-Key": key.text},
    }[place]
    query = f"a=1&api_key={key.text}&b=2" if place in ("query", "everywhere") else "a=1&b=2"

    answer = await system.call(f"{trigger.path}?{query}", headers=headers, data=b"x")

    seen = await system.seen(answer.event_id)
    assert seen["raw_query"] == "a=1&b=2"
    assert not {"authorization", "x-api-key"} & {name.lower() for name, _ in seen["headers"]}
    for secret in (key.text, encoded):
        assert secret.encode() not in seen["envelope"]


async def test_credentials_that_are_no_key_do_not_reach_the_flow_either(
    system: System, key: Key, trigger: Trigger
) -> None:
    answer = await system.call(
        trigger.path, key, headers={"Authorization": "Digest username=ada, response=5ec4e7"}
    )
    assert b"5ec4e7" not in (await system.seen(answer.event_id))["envelope"]


async def test_calls_at_the_same_time_each_have_their_own_event(
    system: System, key: Key, trigger: Trigger
) -> None:
    bodies = [f"call {number}".encode() for number in range(100)]
    answers = await asyncio.gather(*(system.call(trigger.path, key, data=body) for body in bodies))
    seen = [(await system.seen(answer.event_id))["body"] for answer in answers]
    assert seen == bodies


async def test_every_accepted_event_is_in_the_archive_as_well(
    system: System, key: Key, trigger: Trigger
) -> None:
    since = datetime.now(UTC)
    answer = await system.call(f"{trigger.path}/kept?a=1", key, data=b"kept")
    async with system.archive(since) as archive:
        event = await archive.event(answer.event_id)
    assert (event.path, event.query, event.body) == ("/kept", "a=1", b"kept")
    assert event.encode() == (await system.seen(answer.event_id))["envelope"]
