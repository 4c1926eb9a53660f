import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.shared.block import Block
from turnout.shared.errors import InvalidEnvelope


@given(events=st.lists(st.binary(max_size=300)), compress=st.booleans())
def test_what_goes_in_comes_out_compressed_or_not(events: list[bytes], compress: bool) -> None:
    block = Block("ingress-1", 7, 1, 2, tuple(events), (("evt_1", "refused"),))
    assert Block.decode(block.encode(compress=compress)) == block


@pytest.mark.parametrize(
    "data", [b"", b"\x78\x01rubbish", b"rubbish", msgpack.packb([2, "p", 1, 0, 0, [], []])]
)
def test_what_is_no_block_of_this_version_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidEnvelope):
        Block.decode(data)
