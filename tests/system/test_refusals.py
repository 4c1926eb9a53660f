"""A call that may not come in: what its sender is told, and what an outsider can learn from it."""

import asyncio
import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from tests.support.system import Answer, Key, System, Trigger, read_answer
from tests.support.waiting import eventually

from turnout.shared import keys

MAX_BODY = 100_000


@pytest.fixture(scope="module")
def settings() -> Mapping[str, str]:
    return {"TURNOUT_MAX_BODY_BYTES": str(MAX_BODY)}


@pytest.fixture(scope="module")
def others_trigger(system: System) -> Trigger:
    """A trigger of another group."""

    async def make() -> Trigger:
        await system.make_group("rivals")
        await system.make_flow("rivals/seen")
        return await system.make_trigger("rivals/seen", key_in_query=True)

    return asyncio.run(make())


@pytest.fixture(scope="module")
def open_trigger(system: System) -> Trigger:
    """A trigger that takes the key in the query."""
    return asyncio.run(system.make_trigger("shop/seen", key_in_query=True))


def with_key(text: str) -> dict[str, str]:
    return {"X-API-Key": text}


def basic(text: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}


def assert_refused(answer: Answer, status: int, code: str) -> None:
    assert answer.status == status, answer
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    problem = answer.json
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["title"]
    assert problem["detail"]


# -- who calls


async def test_all_bad_keys_look_alike(system: System, key: Key, trigger: Trigger) -> None:
    expires = datetime.now(UTC) + timedelta(seconds=1)
    expired = await system.make_key("shop", "summer", expires_at=expires.isoformat())
    revoked = await system.make_key("shop", "stolen")
    await system.admin("POST", f"keys/{revoked.id}/revoke", {}, status=200)

    async def both_are_refused() -> bool:
        answers = [await system.call(trigger.path, each) for each in (expired, revoked)]
        return all(answer.status == 401 for answer in answers)

    await eventually(both_are_refused, what="one key has expired and one is revoked")
    unknown = keys.new_key().text
    wrong_secret = unknown[:-38] + unknown[-6:].rjust(38, "x")
    ways: dict[str, tuple[str, dict[str, str]]] = {
        "none": ("", {}),
        "empty": ("", with_key("")),
        "unknown": ("", with_key(unknown)),
        "unknown as bearer": ("", {"Authorization": f"Bearer {unknown}"}),
        "unknown as password": ("", basic(f"user:{unknown}")),
        "wrong checksum": ("", with_key(wrong_secret)),
        "too short": ("", with_key(key.text[:-1])),
        "other case": ("", with_key(key.text.swapcase())),
        "not ASCII": ("", with_key("tk_é")),
        "very long": ("", with_key("x" * 5000)),
        "an admin token": ("", with_key(system.secrets["the admin token"])),
        "its id alone": ("", with_key(key.id)),
        "expired": ("", with_key(expired.text)),
        "revoked": ("", with_key(revoked.text)),
        "another scheme": ("", {"Authorization": f"Digest {key.text}"}),
        "no base64": ("", {"Authorization": f"Basic {key.text}"}),
        "as user of basic": ("", basic(f"{key.text}:")),
        "two that differ": ("", {**with_key(key.text), "Authorization": f"Bearer {unknown}"}),
        "in a query that may not": (f"?api_key={key.text}", {}),
        "unknown in the query": (f"?api_key={unknown}", {}),
        "in the path": (f"/{key.text}", {}),
        "in a cookie": ("", {"Cookie": f"api_key={key.text}"}),
    }
    system.secrets["an unknown key"] = unknown
    looks = {}
    for way, (more, headers) in ways.items():
        answer = await system.call(trigger.path + more, headers=headers)
        assert_refused(answer, 401, "invalid_api_key")
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="turnout"'
        looks[way] = answer.looks
    assert len(set(map(repr, looks.values()))) == 1, looks


async def test_a_bad_key_learns_nothing_of_triggers(
    system: System, trigger: Trigger, others_trigger: Trigger
) -> None:
    paths = [trigger.path, others_trigger.path, f"/t/{keys.new_routing_key()}", "/t/", "/t/a/b"]
    headers = with_key(keys.new_key().text)
    for method in ("POST", "GET"):
        answers = [await system.call(path, method=method, headers=headers) for path in paths]
        assert len({repr(answer.looks) for answer in answers}) == 1, answers


async def test_a_trigger_of_another_group_looks_like_none(
    system: System, key: Key, others_trigger: Trigger
) -> None:
    own = await system.make_key("rivals", "their own")
    assert (await system.call(others_trigger.path, own)).status == 202

    looks = set()
    for path in (
        others_trigger.path,
        f"{others_trigger.path}/tail",
        f"/t/{keys.new_routing_key()}",
        f"/t/{keys.new_routing_key()}/tail",
        *("/t/", "/t/short", "/t/" + "x" * 300, "/t/%C3%A9"),
    ):
        for method in ("POST", "GET"):
            answer = await system.call(path, key, method=method)
            assert_refused(answer, 404, "trigger_not_found")
            looks.add(repr(answer.looks))
    assert len(looks) == 1, looks


async def test_a_key_in_the_query_is_taken_only_where_the_trigger_allows_it(
    system: System, key: Key, trigger: Trigger, open_trigger: Trigger, others_trigger: Trigger
) -> None:
    query = f"?api_key={key.text}"
    assert (await system.call(open_trigger.path + query)).status == 202
    looks = set()
    for path in (trigger.path, others_trigger.path, f"/t/{keys.new_routing_key()}"):
        answer = await system.call(path + query)
        assert_refused(answer, 401, "invalid_api_key")
        looks.add(repr(answer.looks))
    assert len(looks) == 1, looks


async def test_only_a_key_on_the_list_of_the_trigger_is_accepted(system: System, key: Key) -> None:
    chosen = await system.make_key("shop", "chosen")
    trigger = await system.make_trigger("shop/seen", keys=["chosen"])
    assert (await system.call(trigger.path, chosen)).status == 202
    assert_refused(await system.call(trigger.path, key), 403, "key_not_accepted")


async def test_a_disabled_trigger_takes_nothing(system: System, key: Key) -> None:
    trigger = await system.make_trigger("shop/seen")
    assert (await system.call(trigger.path, key)).status == 202
    await system.admin("POST", f"triggers/{trigger.id}/disable", {}, status=200)

    async def is_refused() -> Answer | None:
        answer = await system.call(trigger.path, key)
        return answer if answer.status != 202 else None

    answer = await eventually(is_refused, what="the trigger is disabled")
    assert_refused(answer, 403, "trigger_disabled")


# -- how it calls


async def test_a_method_has_to_be_allowed_by_the_trigger(
    system: System, key: Key, trigger: Trigger
) -> None:
    for method in ("GET", "PUT", "PATCH", "DELETE", "OPTIONS"):
        answer = await system.call(trigger.path, key, method=method)
        assert_refused(answer, 405, "method_not_allowed")
        assert answer.headers["Allow"] == "POST"

    other = await system.make_trigger("shop/seen", methods=["GET", "PUT"])
    answer = await system.call(f"{other.path}?a=1", key, method="GET")
    assert (await system.seen(answer.event_id))["method"] == "GET"
    answer = await system.call(other.path, key, method="PUT", data=b"put")
    assert (await system.seen(answer.event_id))["body"] == b"put"
    answer = await system.call(other.path, key)
    assert_refused(answer, 405, "method_not_allowed")
    assert answer.headers["Allow"] == "GET, PUT"


async def test_what_is_no_trigger_is_not_found(system: System, key: Key) -> None:
    for path in ("/", "/t", "/api/v1/groups", "/metrics", "/T/x"):
        assert_refused(await system.call(path, key), 404, "not_found")


# -- what it brings


@pytest.mark.parametrize("more", [b"", b"Expect: 100-continue\r\n"])
async def test_a_body_that_is_declared_too_large_is_refused_before_it_is_sent(
    system: System, key: Key, trigger: Trigger, more: bytes
) -> None:
    answer = await system.send(
        _head(trigger, key, b"Content-Length: %d\r\n" % (MAX_BODY + 1) + more)
    )
    assert_refused(answer, 413, "body_too_large")
    assert str(MAX_BODY) in answer.json["detail"]


async def test_a_body_of_the_greatest_size_is_taken(
    system: System, key: Key, trigger: Trigger
) -> None:
    answer = await system.call(trigger.path, key, data=b"x" * MAX_BODY)
    assert len((await system.seen(answer.event_id))["body"]) == MAX_BODY
    assert_refused(
        await system.call(trigger.path, key, data=b"x" * (MAX_BODY + 1)), 413, "body_too_large"
    )


async def test_a_chunked_body_is_refused_as_soon_as_it_is_too_large(
    system: System, key: Key, trigger: Trigger
) -> None:
    async with system.connected() as (reader, writer):
        writer.write(_head(trigger, key, b"Transfer-Encoding: chunked\r\n"))
        chunk = b"%x\r\n%b\r\n" % (20_000, b"x" * 20_000)
        for _ in range(MAX_BODY // 20_000 + 1):
            writer.write(chunk)
        assert_refused(await read_answer(reader), 413, "body_too_large")


async def test_a_bad_key_is_refused_before_its_body_is_looked_at(
    system: System, trigger: Trigger
) -> None:
    nobody = Key("", keys.new_key().text)
    answer = await system.send(_head(trigger, nobody, b"Content-Length: 999999999\r\n"))
    assert_refused(answer, 401, "invalid_api_key")


async def test_a_slow_body_is_waited_for(system: System, key: Key, trigger: Trigger) -> None:
    async with system.connected() as (reader, writer):
        writer.write(_head(trigger, key, b"Content-Length: 10\r\n"))
        for byte in b"byte by by":
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.02)  # this is how slow the sender is
        answer = await read_answer(reader)
    assert (await system.seen(answer.event_id))["body"] == b"byte by by"


@pytest.mark.parametrize("framing", [b"Content-Length: 100\r\n", b"Transfer-Encoding: chunked\r\n"])
async def test_a_body_that_breaks_off_is_no_event(
    system: System, key: Key, trigger: Trigger, framing: bytes
) -> None:
    since = datetime.now(UTC)
    async with system.connected() as (_, writer):
        writer.write(_head(trigger, key, framing, tail=b"/broken-off"))
        writer.write(b"5\r\nhalf \r\n")
        await writer.drain()
    later = await system.call(f"{trigger.path}/later", key)

    async with system.archive(since) as archive:
        await archive.event(later.event_id)
        assert {each.path for each in archive.events} >= {"/later"}
        assert "/broken-off" not in {each.path for each in archive.events}


@pytest.mark.parametrize(
    ("line", "header"),
    [
        (b"POST %b HTTP/9.9 and more", b""),
        (b"POST /t/\xc3\xa9?%b HTTP/1.1", b""),
        (b"POST %b HTTP/1.1", b"Content-Length: -1"),
        (b"POST %b HTTP/1.1", b"Content-Length: 1\r\nTransfer-Encoding: chunked"),
        (b"POST %b HTTP/1.1", b"X-Big: " + b"x" * 100_000),
        (b"POST %b HTTP/1.1", b"Authorization: Basic %b\x01"),
        (b"POST %b HTTP/1.1", b"X-API-Key: \x01%b"),
        (b"\x16\x03\x01\x02\x00 %b", b""),
    ],
    ids=["version", "path", "negative", "smuggled", "big", "basic", "header", "tls"],
)
async def test_what_is_not_http_is_a_bad_request_and_tells_nothing(
    system: System, key: Key, trigger: Trigger, line: bytes, header: bytes
) -> None:
    """Neither in the answer nor, as is seen at the end of this module, in a log."""
    encoded = base64.b64encode(f"user:{key.text}".encode())
    system.secrets["a key in base64"] = encoded.decode()
    credential = encoded if b"Basic" in header else key.text.encode()
    parts = [line % trigger.path.encode(), header % credential if b"%b" in header else header]

    answer = await system.send(b"\r\n".join([*parts, b"", b""]))

    if b"X-Big" in header:
        assert_refused(answer, 431, "header_too_large")
    else:
        assert_refused(answer, 400, "malformed_request")
    text = (answer.body + json.dumps(list(answer.headers.items())).encode()).lower()
    told = [each for each in (b"aiohttp", b"python", b"traceback", b"/t/") if each in text]
    assert told == []


# -- whether it is there


async def test_health_needs_no_key(system: System) -> None:
    for path in ("/healthz", "/readyz"):
        answer = await system.ingress.get(path)
        assert (answer.status, answer.json) == (200, {"status": "ok"})


def _head(trigger: Trigger, key: Key, more: bytes, *, tail: bytes = b"") -> bytes:
    return (
        b"POST %b%b HTTP/1.1\r\nHost: example.org\r\n" % (trigger.path.encode(), tail)
        + b"X-API-Key: %b\r\n" % key.text.encode()
        + more
        + b"\r\n"
    )
