"""Whatever comes in on a socket: a documented answer, one for each request, and nothing by halves.

A request is followed by a good one on the same connection. That one is answered 202 and is one
event, or the connection is closed: whatever comes first is never taken for part of the other.
"""

import asyncio
import contextlib
import gzip
import itertools
import socket
import struct
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.ingress.serving import QUEUE, Served, documented
from tests.support.topology import ready_messages

from turnout.shared import keys

MAX_BODY = 2000

ACCEPTED = (202, "accepted")
MALFORMED = (400, "malformed_request")
TOO_LONG = (431, "header_too_large")
UNKNOWN_KEY = (401, "invalid_api_key")
NO_TRIGGER = (404, "trigger_not_found")
NO_PAGE = (404, "not_found")
WRONG_METHOD = (405, "method_not_allowed")
TOO_LARGE = (413, "body_too_large")

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, amqp_url: str, redis_url: str
) -> Iterator[Served]:
    """An ingress; at the end, its log tells of no failure and no secret."""
    served = Served(
        tmp_path_factory.mktemp("ingress"),
        amqp_url,
        redis_url,
        {
            "TURNOUT_MAX_BODY_BYTES": str(MAX_BODY),
            "TURNOUT_READ_TIMEOUT": "2",
            "TURNOUT_KEEP_ALIVE": "5",
        },
    )
    with served.running():
        yield served
    assert "a call failed" not in served.command.log
    for secret in (served.key.text, served.key.digest, served.route, served.open_route):
        assert secret not in served.command.log


def filled(served: Served, template: bytes) -> bytes:
    """Put the key and the routing keys into a request; an example that is shown has none."""
    for name, value in {
        b"KEY": served.key.text,
        b"OTHER": OTHER.text,
        b"ROUTE": served.route,
        b"OPEN": served.open_route,
    }.items():
        template = template.replace(b"{%b}" % name, value.encode())
    return template


OTHER = keys.new_key()

#: The begin of a good request.
HEAD = b"POST /t/{ROUTE} HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\n"


def with_lines(*lines: bytes, body: bytes = b"") -> bytes:
    """Add lines and a body to a good request."""
    return HEAD + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


def chunked(body: bytes) -> bytes:
    """Begin a request whose body comes in chunks."""
    return with_lines(b"Transfer-Encoding: chunked", body=body)


def assert_told(served: Served, template: bytes, *told: tuple[int, str]) -> None:
    """Send a request and a good one, and compare what is answered until the connection closes."""
    good = served.call(b"Connection: close", tail=b"/good-%d" % next(_numbers))
    talk = served.talk(filled(served, template) + good)
    assert [each.told for each in talk.answers] == list(told)


@pytest.mark.parametrize(
    "template",
    [
        with_lines(b"Content-Length: 4", body=b"body"),
        with_lines(),
        with_lines(b"Content-Length: 004", body=b"body"),
        chunked(b"4\r\nbody\r\n0\r\n\r\n"),
        chunked(b"4;name=value\r\nbody\r\n0\r\nX-Trailer: t\r\n\r\n"),
        with_lines(b"transfer-encoding:\tCHUNKED  ", body=b"4\r\nbody\r\n0\r\n\r\n"),
        with_lines(b"Expect: 100-continue", b"Content-Length: 4", body=b"body"),
        with_lines(b"Expect: a-miracle", b"Content-Length: 4", body=b"body"),
        with_lines(b"Content-Encoding: gzip", b"Content-Length: 4", body=b"body"),
        b"\r\n" + with_lines(),
        with_lines().replace(b"/t/", b"http://example.org/t/"),
        with_lines().replace(b"{ROUTE}", b"{ROUTE}/a/../%zz%e2%98%83/%"),
        with_lines().replace(b"{ROUTE}", b"{ROUTE}?a=%zz&&=?/"),
        HEAD.replace(b"1.1", b"1.0") + b"Connection: keep-alive\r\n\r\n",
        with_lines().replace(b"X-API-Key: ", b"Authorization: bearer   "),
        with_lines(b"X-API-Key: {KEY}", b"Authorization: Bearer {KEY}"),
    ],
)
def test_a_good_request_is_accepted_however_it_is_written(served: Served, template: bytes) -> None:
    assert_told(served, template, ACCEPTED, ACCEPTED)


@pytest.mark.parametrize(
    "template",
    [
        # Two ways to say where the body ends, and it is the second one's reading that does harm.
        with_lines(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
        with_lines(b"Transfer-Encoding: chunked", b"Content-Length: 5", body=b"0\r\n\r\n"),
        with_lines(b"Content-Length: 4", b"Content-Length: 5", body=b"body"),
        with_lines(b"Content-Length: 4", b"Content-Length: 4", body=b"body"),
        with_lines(b"Content-Length: 4, 4", body=b"body"),
        with_lines(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
        # No way to say it.
        *(
            with_lines(b"Content-Length: " + length, body=b"body")
            for length in (b"+4", b"-4", b"0x4", b"4 4", b"4\0", b"", b"four", b"9" * 30)
        ),
        with_lines(b"Content-Length : 4", body=b"body"),
        with_lines(b"Content-Length:\r\n 4", body=b"body"),
        *(
            with_lines(b"Transfer-Encoding: " + coding, body=b"4\r\nbody\r\n0\r\n\r\n")
            for coding in (b"xchunked", b"identity", b"chunked, identity", b"\x0bchunked", b"gzip")
        ),
        with_lines(b"Transfer-Encoding : chunked", body=b"0\r\n\r\n"),
        with_lines(b"Transfer-Encoding:\r\n chunked", body=b"0\r\n\r\n"),
        HEAD.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        *(
            chunked(size + b"\r\nbody\r\n0\r\n\r\n")
            for size in (b"", b"G", b"-4", b"+4", b"0x4", b"4 ", b" 4", b"3", b"5", b"F" * 20)
        ),
        chunked(b"4\nbody\n0\n\n"),
        chunked(b"4\r\nbody0\r\n\r\n"),
        # Lines that are none.
        with_lines().replace(b"\r\n", b"\n"),
        with_lines(b"X-One: 1\nX-Two: 2"),
        with_lines(b"X-One: 1\rX-Two: 2"),
        with_lines(b"X-Folded: one\r\n two"),
        with_lines().replace(b"Host", b" Host"),
        with_lines(b"X-Nul: a\0b"),
        with_lines(b"X Space: 1"),
        with_lines("X-Ünicode: 1".encode()),
        with_lines(b": no name"),
        with_lines(b"no colon"),
        with_lines(b"Host: another"),
        with_lines().replace(b"Host: x\r\n", b""),
        # No request of HTTP/1.1.
        *(with_lines().replace(b"HTTP/1.1", each) for each in (b"HTTP/2.0", b"HTTP/9", b"FTP/1.1")),
        with_lines().replace(b"POST", b"post"),
        with_lines().replace(b"POST", b"BREW"),
        with_lines().replace(b"{ROUTE}", b"{ROUTE} and more"),
        with_lines().replace(b"{ROUTE}", "é".encode() * 12),
        with_lines().replace(b"{ROUTE}", b"{ROUTE}/\xff\xfe"),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST /t/{ROUTE}\r\n\r\n",
        b"\0" * 100,
    ],
)
def test_what_could_be_read_in_two_ways_is_refused_and_the_connection_closed(
    served: Served, template: bytes
) -> None:
    assert_told(served, template, MALFORMED)


@pytest.mark.parametrize(
    ("template", "told"),
    [
        (with_lines().replace(b"{ROUTE}", b"%41{ROUTE}"), NO_TRIGGER),
        (with_lines().replace(b"{ROUTE}", b"{ROUTE}{ROUTE}"), NO_TRIGGER),
        (with_lines().replace(b"{ROUTE}", b"x" * 5000), NO_TRIGGER),
        (with_lines().replace(b"{ROUTE}", b"%C3%A9" * 12), NO_TRIGGER),
        (with_lines().replace(b"{ROUTE}", b"x/../{ROUTE}"), NO_TRIGGER),
        (with_lines().replace(b"{ROUTE}", b"{ROUTE}%2F"), NO_TRIGGER),
        (with_lines().replace(b"{ROUTE}", b"{ROUTE}%00"), NO_TRIGGER),
        (with_lines().replace(b"/t/", b"//t/"), NO_PAGE),
        (with_lines().replace(b"/t/", b"/%74/"), NO_PAGE),
        (with_lines().replace(b"POST /t/{ROUTE}", b"OPTIONS *"), NO_PAGE),
        (with_lines().replace(b"POST /t/{ROUTE}", b"CONNECT x:443"), NO_PAGE),
        (with_lines().replace(b"POST", b"OPTIONS"), WRONG_METHOD),
        (with_lines().replace(b"POST", b"TRACE"), WRONG_METHOD),
        (with_lines().replace(b"{KEY}", b""), UNKNOWN_KEY),
        (with_lines().replace(b"{KEY}", b"{OTHER}"), UNKNOWN_KEY),
        (with_lines().replace(b"{KEY}", b"{KEY}, {KEY}"), UNKNOWN_KEY),
        (with_lines(b"X-API-Key: {OTHER}"), UNKNOWN_KEY),
        (with_lines(b"Authorization: Bearer {OTHER}"), UNKNOWN_KEY),
        (with_lines(b"Authorization: Bearer nonsense"), UNKNOWN_KEY),
        (HEAD.replace(b"{KEY}", b"{OTHER}") + b"Content-Length: 4\r\n\r\nbody", UNKNOWN_KEY),
    ],
)
def test_what_is_refused_leaves_the_connection_to_the_next_request(
    served: Served, template: bytes, told: tuple[int, str]
) -> None:
    assert_told(served, template, told, ACCEPTED)


@pytest.mark.parametrize(
    ("template", "told"),
    [
        (with_lines().replace(b"{ROUTE}", b"{ROUTE}/" + b"x" * 9000), TOO_LONG),
        (with_lines(b"X-Long: " + b"x" * 9000), TOO_LONG),
        (with_lines(*(b"X-%d: x" % number for number in range(130))), TOO_LONG),
        (with_lines(b"Content-Length: 2001", body=b"x" * 2001), TOO_LARGE),
        (chunked(b"7d1\r\n" + b"x" * 2001 + b"\r\n0\r\n\r\n"), TOO_LARGE),
    ],
)
def test_what_is_too_large_is_refused_and_the_connection_closed(
    served: Served, template: bytes, told: tuple[int, str]
) -> None:
    assert_told(served, template, told)


def test_head_is_answered_with_a_head_alone(served: Served) -> None:
    for route, status in ((b"{ROUTE}", 405), (b"{OPEN}", 202)):
        template = with_lines().replace(b"POST", b"HEAD").replace(b"{ROUTE}", route)
        good = served.call(b"Connection: close")
        head, answer = served.talk(filled(served, template) + good).answers
        assert (head.status, int(head.headers["content-length"]) > 0) == (status, True)
        assert answer.told == ACCEPTED


def test_who_asks_before_sending_is_told_to_go_on_only_if_the_body_is_wanted(
    served: Served,
) -> None:
    lines = (b"Connection: close", b"Expect: 100-continue", b"Content-Length: 4")
    talk = served.talk(filled(served, with_lines(*lines)), end=b"body")
    assert (talk.interim, [each.told for each in talk.answers]) == (1, [ACCEPTED])
    for template, told in (
        (with_lines(*lines).replace(b"{KEY}", b"{OTHER}"), UNKNOWN_KEY),
        (with_lines(*lines[:2], b"Content-Length: 2001"), TOO_LARGE),
    ):
        talk = served.talk(filled(served, template))
        assert (talk.interim, [each.told for each in talk.answers]) == (0, [told])


def test_a_body_stays_as_it_was_sent_whatever_its_encoding_is(served: Served) -> None:
    bodies = {
        b"gzip": gzip.compress(b"compressed " * 50),
        b"gzip, br": gzip.compress(b"compressed again"),
        b"deflate": b"neither deflated nor text: \x00\xff",
        b"x-unknown": b"",
    }
    ids = {}
    for coding, body in bodies.items():
        lines = (b"Content-Encoding: " + coding, b"Connection: close")
        (answer,) = served.talk(served.call(*lines, body=body)).answers
        ids[answer.event_id] = coding
    events = [each for each in served.events(len(served.accepted)) if each.event_id in ids]
    assert {ids[each.event_id]: each.body for each in events} == bodies
    for each in events:
        assert dict(each.headers)["Content-Encoding"].encode() == ids[each.event_id]


# -- anything at all

methods = st.sampled_from([b"POST"] * 6 + [b"GET", b"HEAD", b"OPTIONS", b"PUT", b"post", b"", b"M"])
targets = st.sampled_from(
    [b"/t/{ROUTE}"] * 5
    + [b"/t/{OPEN}", b"/t/{OPEN}?api_key={KEY}", b"/t/{OPEN}?api_key={KEY}&api_key={OTHER}"]
    + [
        b"/t/{ROUTE}/tail?a=1",
        b"/t/",
        b"/t/%41",
        b"/",
        b"*",
        b"",
        b"http://x/t/{ROUTE}",
        b"//",
        b"?",
    ]
    + [b"/t/" + b"k" * 300, b"/t/{ROUTE}/" + b"x" * 9000, "/t/é".encode(), b"/t/{ROUTE}#f"]
)
versions = st.sampled_from([b"HTTP/1.1"] * 8 + [b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1.1 ", b""])
tokens = st.sampled_from(
    [b"0", b"4", b"04", b"+4", b"4,4", b"99", b"9999", b"chunked", b"gzip", b""]
)
names = st.sampled_from([b"Content-Length", b"Transfer-Encoding", b"content-length "])
noise = st.binary(max_size=12)
lines = st.one_of(
    st.sampled_from([b"X-API-Key: {KEY}"] * 3 + [b"X-API-Key: {OTHER}", b"X-API-Key:"]),
    st.sampled_from([b"Authorization: Bearer {KEY}", b"Authorization: Basic", b"Host: y"]),
    st.builds(b"%b: %b".__mod__, st.tuples(names, tokens)),
    st.sampled_from([b"Content-Length: 4"] * 3 + [b"Transfer-Encoding: chunked"] * 3),
    st.sampled_from([b"Connection: close", b"Connection: keep-alive", b"Expect: 100-continue"]),
    st.sampled_from([b"Content-Encoding: gzip", b"Idempotency-Key: same", b"Content-Type: \xff"]),
    st.sampled_from(
        [b" folded", b"\tfolded: too", b"X : 1", b": x", b"none", b"X-A: a\nB: b", b""]
    ),
    st.builds(b"X-%b: %b".__mod__, st.tuples(noise, noise)),
)
bodies = st.one_of(
    st.sampled_from([b"body", b"", b"4\r\nbody\r\n0\r\n\r\n", b"0\r\n\r\n", b"4\r\nbody\r\n"]),
    st.sampled_from([b"G\r\n", b"-1\r\n", b"4\nbody\n0\n\n", b"FFFFFFFFFF\r\n", b"\r\n\r\n", b"{"]),
    st.just(b"7d1\r\n" + b"x" * 2001 + b"\r\n0\r\n\r\n"),
    noise,
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Make something that has at least the look of a request."""
    first = b" ".join((draw(methods), draw(targets), draw(versions)))
    head = [
        first,
        *draw(st.sampled_from([[b"Host: x"]] * 4 + [[]])),
        *draw(st.lists(lines, max_size=5)),
    ]
    if draw(st.booleans()):
        head.append(b"X-API-Key: {KEY}")
    end = draw(st.sampled_from([b"\r\n"] * 9 + [b"\n"]))
    data = end.join([*head, b"", b""]) + draw(bodies)
    if draw(st.integers(0, 4)) == 0:
        place = draw(st.integers(0, len(data)))
        data = data[:place] + draw(noise) + data[place + draw(st.integers(0, 3)) :]
    return data


#: It ends whatever is still waited for, and is no request: the connection is closed after it.
JUNK = b"x" * (2 * MAX_BODY) + b"\r\n\r\n"


def test_whatever_comes_is_answered_as_documented_and_each_202_is_one_event(
    served: Served,
) -> None:
    codes = documented() | {ACCEPTED}
    statuses = {status for status, _ in codes}

    @settings(max_examples=250, suppress_health_check=list(HealthCheck))
    @given(template=requests() | st.binary(max_size=60))
    @example(template=b"")
    def check(template: bytes) -> None:
        good = served.call(b"Connection: close", tail=b"/good-%d" % next(_numbers))
        talk = served.talk(filled(served, template) + good, end=JUNK)
        assert talk.answers
        for each in talk.answers:
            assert each.told in codes or (each.is_head and each.status in statuses), each
            assert each.status < 500, each
        # One that is refused before its body has come is followed by silence, and then the end.
        if talk.answers[-1].status == ACCEPTED[0]:
            assert talk.answers[-1].headers.get("connection") == "close"

    check()
    events = [each for each in served.events(len(served.accepted)) if each.method != "HEAD"]
    assert Counter(each.event_id for each in events) == dict.fromkeys(served.accepted, 1)
    tails = Counter(each.path for each in events if each.path.startswith("/good-"))
    assert set(tails.values()) == {1}


# -- a sender that goes away


@pytest.mark.parametrize("way", ["closes", "resets"])
def test_a_sender_that_goes_before_the_answer_leaves_a_whole_event_or_none(
    served: Served, way: str
) -> None:
    path = f"/gone-{way}"
    whole = served.call(tail=path.encode(), body=b"whole body")
    lengths = [len(whole)] * 3 + [len(whole) - 1, len(whole) - 10, len(whole) - 20, 30]
    for number in range(140):
        connection = socket.create_connection(("127.0.0.1", served.port))
        if way == "resets":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sendall(whole[: lengths[number % len(lengths)]])
        if number % 2:
            connection.settimeout(0.0002 * (number % 20))
            # Some of them have the answer already.
            with contextlib.suppress(TimeoutError, BlockingIOError):
                connection.recv(1)
        connection.close()

    # All that came before is done when this one is.
    last = served.talk(served.call(b"Connection: close", tail=b"/last")).answers[0].event_id
    count = asyncio.run(ready_messages(served.amqp_url, QUEUE))
    queued = {each.event_id: each for each in served.events(count)}
    archived, verdicts = served.archived({last})
    gone = {each.event_id: each for each in queued.values() if each.path == path}
    kept = {each.event_id: each for each in archived if each.path == path}
    assert {each.body for each in gone.values()} == {b"whole body"}
    assert kept.keys() - verdicts.keys() == gone.keys()
    assert all(kept[each] == gone[each] for each in gone)
