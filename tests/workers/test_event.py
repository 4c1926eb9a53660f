from datetime import UTC, datetime

import pytest
from tests.workers.making import event

from turnout.workers import InvalidBody

MULTIPART = "multipart/form-data; boundary=line"


def multipart(*parts: bytes) -> bytes:
    return b"".join(b"--line\r\n" + part + b"\r\n" for part in parts) + b"--line--\r\n"


def test_an_event_shows_what_the_call_was() -> None:
    call = event(
        method="PUT",
        path="/orders/7",
        query="tag=a&tag=b&empty=&name=J%C3%BCrgen",
        headers=(("X-One", "1"), ("Accept", "a"), ("Accept", "b")),
        attempt=2,
        redelivered=True,
    )

    assert call.id == "evt_019a0000000070008000000000000001"
    assert (call.group, call.flow, call.trigger_id, call.key_id) == (
        *("demo", "hello"),
        *("trg_1", "key_1"),
    )
    assert (call.method, call.path, call.content_type) == ("PUT", "/orders/7", "application/json")
    assert (call.attempt, call.redelivered) == (2, True)
    assert call.headers["x-one"] == "1"
    assert call.headers.getall("ACCEPT") == ["a", "b"]
    assert call.query.getall("tag") == ["a", "b"]
    assert call.query["empty"] == ""
    assert call.query["name"] == "Jürgen"
    assert call.received_at == datetime(2026, 3, 2, 9, 30, 0, 123456, tzinfo=UTC)


def test_its_representation_holds_nothing_of_the_call() -> None:
    call = event(body=b"private", headers=(("X", "private"),), query="private=1")

    assert "private" not in repr(call)


def test_binary_bodies_arrive_byte_for_byte() -> None:
    body = bytes(range(256)) * 4

    assert event(body=body, content_type="application/octet-stream").body == body


def test_json_is_decoded_whatever_the_content_type() -> None:
    assert event(body=b'{"a": [1, null]}', content_type="text/plain").json() == {"a": [1, None]}


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe\xfd", b"[" * 100_000])
def test_what_is_not_json_is_named_without_being_shown(body: bytes) -> None:
    with pytest.raises(InvalidBody, match=r"the body of evt_\w+ is not JSON: .*bytes"):
        event(body=body).json()


def test_text_honours_the_charset() -> None:
    assert event(body="Jürgen".encode(), content_type="text/plain").text() == "Jürgen"
    latin = event(body=b"J\xfcrgen", content_type='text/plain; charset="ISO-8859-1"')
    assert latin.text() == "Jürgen"


@pytest.mark.parametrize("content_type", ["text/plain", "text/plain; charset=unheard-of"])
def test_what_is_not_text_is_refused(content_type: str) -> None:
    with pytest.raises(InvalidBody, match="is not text"):
        event(body=b"J\xfcrgen", content_type=content_type).text()


def test_a_urlencoded_form_is_decoded() -> None:
    form = event(
        body=b"name=J%C3%BCrgen+B&tag=a&tag=b&empty=",
        content_type="application/x-www-form-urlencoded; charset=UTF-8",
    ).form()

    assert list(form.fields.items()) == [
        ("name", "Jürgen B"),
        ("tag", "a"),
        ("tag", "b"),
        ("empty", ""),
    ]
    assert not form.files


def test_a_multipart_form_keeps_its_files_as_they_are() -> None:
    data = bytes(range(256)) * 1000
    form = event(
        body=multipart(
            b'Content-Disposition: form-data; name="name"\r\n\r\nJ\xc3\xbcrgen',
            b'Content-Disposition: form-data; name="scan"; filename="../a b.png"\r\n'
            b"Content-Type: image/png\r\n\r\n" + data,
            b'Content-Disposition: form-data; name="scan"; filename="second"\r\n\r\n',
            b'Content-Disposition: form-data; name="none"; filename=""\r\n\r\n',
        ),
        content_type=MULTIPART,
    ).form()

    assert list(form.fields.items()) == [("name", "Jürgen"), ("none", "")]
    first, second = form.files.getall("scan")
    assert (first.name, first.content_type, first.data) == ("scan", "image/png", data)
    assert first.filename.endswith("a b.png")
    assert (second.filename, second.content_type, second.data) == (
        *("second", "application/octet-stream"),
        b"",
    )


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"{}"),
        ("", b"a=b"),
        ("multipart/form-data", multipart(b"")),
        (MULTIPART, b"--line\r\nContent-Dispo"),
        (MULTIPART, b""),
        (MULTIPART + "; charset=unheard-of", multipart()),
        ("application/x-www-form-urlencoded", b"a=\xff"),
        ("application/x-www-form-urlencoded", b"a=b&" * 2000),
    ],
)
def test_what_is_not_a_form_is_refused(content_type: str, body: bytes) -> None:
    with pytest.raises(InvalidBody, match="is not a form"):
        event(body=body, content_type=content_type).form()
