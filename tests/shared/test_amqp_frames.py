"""Our own coding of the frames of the hot path, held against pamqp's."""

from hypothesis import given
from hypothesis import strategies as st
from pamqp import body, commands, frame, header

from turnout.shared.amqp import message_frames, publish_method, table


def unmarshal(data: bytes) -> list[frame.FrameTypes]:
    frames = []
    while data:
        used, channel, value = frame.unmarshal(data)
        assert channel == 3
        frames.append(value)
        data = data[used:]
    return frames


@given(
    content=st.binary(max_size=200),
    headers=st.dictionaries(
        st.text(st.characters(codec="ascii"), min_size=1, max_size=20),
        st.text(max_size=20) | st.integers(0, 2**31),
    ),
)
def test_another_client_reads_what_we_write(content: bytes, headers: dict[str, str | int]) -> None:
    data = message_frames(
        publish_method(3, "exchange", "key"),
        3,
        50,
        content,
        message_id=b"id.1",
        timestamp=1_700_000_000,
        kind=b"kind",
        headers=table(headers) if headers else b"",
    )
    method, properties, *bodies = unmarshal(data)
    assert isinstance(method, commands.Basic.Publish)
    assert (method.exchange, method.routing_key, method.mandatory) == ("exchange", "key", True)
    assert isinstance(properties, header.ContentHeader)
    assert properties.body_size == len(content)
    assert properties.properties.delivery_mode == 2
    assert properties.properties.message_id == "id.1"
    assert properties.properties.message_type == "kind"
    assert (properties.properties.headers or {}) == headers
    parts = [each.value for each in bodies if isinstance(each, body.ContentBody)]
    assert len(parts) == len(bodies)
    assert b"".join(parts) == content
    assert all(len(part) <= 42 for part in parts)
