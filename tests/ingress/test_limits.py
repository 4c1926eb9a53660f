"""Who sends too much, or too slowly, is told so, and holds up nobody else."""

import socket
from collections.abc import Iterator

import pytest
from tests.ingress.serving import HEADER_BYTES, Served, Talk

from turnout.shared import keys

CLOSE = b"Connection: close"


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, amqp_url: str, redis_url: str
) -> Iterator[Served]:
    """An ingress that has little patience."""
    settings = {"TURNOUT_READ_TIMEOUT": "2", "TURNOUT_KEEP_ALIVE": "2"}
    served = Served(tmp_path_factory.mktemp("ingress"), amqp_url, redis_url, settings)
    with served.running():
        yield served


@pytest.mark.parametrize("whose", ["key", "trigger"])
def test_calls_beyond_a_rate_are_told_when_to_come_again_before_their_body_is_read(
    served: Served, whose: str
) -> None:
    plain, paced = {
        "key": (served.key.text, served.paced_key.text),
        "trigger": (served.route, served.paced_route),
    }[whose]
    call = served.call(CLOSE, body=b"body").replace(plain.encode(), paced.encode())
    for _ in range(2):
        assert [each.status for each in served.talk(call).answers] == [202]
    (answer,) = served.talk(call.removesuffix(b"body")).answers
    assert answer.told == (429, "rate_limited")
    assert 1 <= int(answer.headers["retry-after"]) <= 10
    assert answer.headers["ratelimit-policy"] == f'"{whose}";q=2;w=20'
    assert answer.headers["ratelimit"] == f'"{whose}";r=0;t={answer.headers["retry-after"]}'


def test_a_key_has_only_so_many_calls_under_way_and_others_do_not_notice(served: Served) -> None:
    call = served.call(CLOSE, body=b"body")
    narrow = call.replace(served.key.text.encode(), served.narrow_key.text.encode())
    with socket.create_connection(("127.0.0.1", served.port)) as first:
        expecting = narrow.replace(CLOSE, CLOSE + b"\r\nExpect: 100-continue")
        first.sendall(expecting.removesuffix(b"dy"))
        assert first.recv(1024).startswith(b"HTTP/1.1 100 "), "it is under way"
        (answer,) = served.talk(narrow).answers
        assert answer.told == (429, "too_many_in_flight")
        assert int(answer.headers["retry-after"]) > 0
        assert answer.headers["ratelimit-policy"] == '"key";q=1;qu="concurrent-requests"'
        assert answer.headers["ratelimit"] == '"key";r=0'
        assert [each.status for each in served.talk(call).answers] == [202]
        first.sendall(b"dy")
        assert Talk.read(_rest(first)).answers[0].status == 202
    assert [each.status for each in served.talk(narrow).answers] == [202]


def test_a_body_that_is_too_slow_is_refused_and_the_connection_closed(served: Served) -> None:
    half = served.call(body=b"body").removesuffix(b"dy")
    (answer,) = served.talk(half).answers
    assert answer.told == (408, "body_timeout")


def test_a_trigger_may_have_less_patience_than_ingress(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.port)) as patient:
        patient.sendall(served.call(CLOSE, body=b"body").removesuffix(b"dy"))
        half = served.call(body=b"body").removesuffix(b"dy")
        hasty = half.replace(served.route.encode(), served.hasty_route.encode())
        (answer,) = served.talk(hasty).answers
        assert answer.told == (408, "body_timeout")
        patient.sendall(b"dy")
        assert Talk.read(_rest(patient)).answers[0].status == 202


def test_a_trigger_may_take_less_of_headers_than_ingress(served: Served) -> None:
    def call(size: int, *more: bytes) -> bytes:
        """Make a call whose headers have this size, one of them twice."""
        pads = (b"X-Pad: ", b"X-Pad: ")
        plain = served.call(*pads, *more, tail=b"/a/tail?that=does&not=count")
        headers = [each.split(b": ") for each in plain.split(b"\r\n")[1:-2]]
        pad = b"x" * (size - sum(len(name) + len(value) for name, value in headers))
        return plain.replace(pads[0], pads[0] + pad, 1)

    def terse(call: bytes) -> bytes:
        return call.replace(served.route.encode(), served.terse_route.encode())

    fits, large = call(HEADER_BYTES), call(HEADER_BYTES + 1)
    last = call(HEADER_BYTES + 1, CLOSE)
    talk = served.talk(terse(fits) + terse(large) + terse(fits) + last)
    assert [each.status for each in talk.answers] == [202, 431, 202, 202]
    assert talk.answers[1].told == (431, "header_too_large")
    assert f"{HEADER_BYTES} bytes" in talk.answers[1].json["detail"]

    (answer,) = served.talk(terse(last.replace(b"Length: 0", b"Length: 4"))).answers
    assert answer.told == (431, "header_too_large")  # before the body
    unknown = last.replace(served.key.text.encode(), keys.new_key().text.encode())
    (answer,) = served.talk(terse(unknown)).answers
    assert answer.told == (401, "invalid_api_key")  # after the key


def test_a_head_that_is_too_slow_ends_the_connection(served: Served) -> None:
    assert served.talk(served.call()[:40]).answers == []


def _rest(connection: socket.socket) -> bytes:
    """Read all that comes until the connection is closed."""
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)
