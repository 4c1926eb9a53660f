"""How the body of an event is changed before it runs again."""

import json

import pytest
from tests.support.history import event

from turnout.router.replay.edit import Edit, Uneditable

MERGE = Edit(merge={"stage": "won", "old": None, "deal": {"id": 7}})


def test_a_merge_patch_changes_adds_and_removes() -> None:
    body = b'{"stage": "open", "old": 1, "deal": {"owner": "ada"}}'
    edited = Edit.from_json(MERGE.to_json()).apply(event(1)._replace(body=body))
    assert json.loads(edited.body) == {"stage": "won", "deal": {"owner": "ada", "id": 7}}


@pytest.mark.parametrize(
    "body", [b"", b"\xff", b"{", b"[" * 100_000], ids=["empty", "bytes", "half", "deep"]
)
def test_what_is_no_json_is_not_edited(body: bytes) -> None:
    with pytest.raises(Uneditable, match="is no JSON"):
        MERGE.apply(event(1)._replace(body=body))


def test_one_body_takes_the_place_of_any_other() -> None:
    edit = Edit.from_json(Edit(body=b"\xff").to_json())
    assert edit.apply(event(1)._replace(body=b"[" * 100_000)).body == b"\xff"
