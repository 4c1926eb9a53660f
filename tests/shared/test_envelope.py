from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.shared.envelope import Envelope, Template
from turnout.shared.errors import InvalidEnvelope

texts = st.text(max_size=50)


def an_envelope(**changes: Any) -> Envelope:
    return Envelope(
        event_id="evt_1",
        run_id="run_1",
        routing_key="r" * 24,
        trigger_id="trg_1",
        key_id="key_1",
        flow_id="flw_1",
        group_id="grp_1",
        group="crm",
        flow="leads",
        received_at=1_700_000_000_000_000_000,
        method="POST",
        path="/tail",
        query="a=1&a=2",
        headers=(("X-One", "1"), ("X-One", "2")),
        content_type="application/json",
        remote="127.0.0.1",
        body=b"{}",
    )._replace(**changes)


@given(body=st.binary(), path=texts, query=texts, headers=st.lists(st.tuples(texts, texts)))
def test_what_goes_in_comes_out(
    body: bytes, path: str, query: str, headers: list[tuple[str, str]]
) -> None:
    envelope = an_envelope(body=body, path=path, query=query, headers=tuple(headers))
    assert Envelope.decode(envelope.encode()) == envelope


@given(body=st.binary(), content_type=texts, headers=st.lists(st.tuples(texts, texts)))
def test_what_a_template_encodes_is_what_the_envelope_would(
    body: bytes, content_type: str, headers: list[tuple[str, str]]
) -> None:
    varying: dict[str, Any] = {
        "event_id": "evt_2",
        "run_id": "run_2",
        "routing_key": "other",
        "received_at": 1_800_000_000_000_000_000,
        "headers": tuple(headers),
        "content_type": content_type,
        "body": body,
    }
    encoded = Template(an_envelope(reply_to="replies")).encode(**varying)
    assert Envelope.decode(encoded) == an_envelope(reply_to="replies", **varying)


def test_a_template_takes_what_is_not_utf8_everywhere() -> None:
    odd = "caf\udce9"
    template = Template(an_envelope(path=odd, query=odd))
    encoded = template.encode(
        event_id="evt_1",
        run_id="run_1",
        routing_key="r" * 24,
        received_at=1,
        headers=((odd, odd),),
        content_type=odd,
        body=b"",
    )
    read = Envelope.decode(encoded)
    assert (read.path, read.query, read.headers, read.content_type) == (
        *(odd, odd, ((odd, odd),), odd),
    )


def test_a_replay_names_its_origin() -> None:
    envelope = an_envelope(kind="replay", origin="run_0", replay="rpl_1")
    assert Envelope.decode(envelope.encode()) == envelope


def test_an_attempt_that_may_come_twice_says_so_and_all_others_say_nothing() -> None:
    envelope = an_envelope(repeated=True)
    assert Envelope.decode(envelope.encode()) == envelope
    assert "repeated" not in msgpack.unpackb(an_envelope().encode())


def test_header_bytes_that_are_not_utf8_survive() -> None:
    envelope = an_envelope(headers=(("X-Name", "caf\udce9"),))
    assert Envelope.decode(envelope.encode()) == envelope


def test_fields_of_a_newer_minor_version_are_kept_on_a_retry() -> None:
    fields = msgpack.unpackb(an_envelope().encode()) | {"priority": 7}
    read = Envelope.decode(msgpack.packb(fields))
    again = msgpack.unpackb(read._replace(attempt=2).encode())
    assert again == fields | {"attempt": 2}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not msgpack"),
        (b"\xc1", "not msgpack"),
        (msgpack.packb([1, 2]), "tuple instead of a map"),
        (msgpack.packb({"v": 2}), "version 2 instead of 1"),
        (msgpack.packb({}), "version None"),
        (msgpack.packb({"v": 1}), "field 'event' is missing"),
        (an_envelope().encode() + b"tail", "not msgpack"),
        (msgpack.packb(msgpack.unpackb(an_envelope().encode()) | {"headers": 3}), "wrong type"),
        (msgpack.packb(msgpack.unpackb(an_envelope().encode()) | {"attempt": "x"}), "attempt"),
    ],
)
def test_what_is_no_envelope_is_refused_with_the_reason(data: bytes, says: str) -> None:
    with pytest.raises(InvalidEnvelope, match=says):
        Envelope.decode(data)
