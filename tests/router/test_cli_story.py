"""How a body is shown to people: by its content type, and never less than all of it."""

import pytest

from turnout.router.cli.story import pretty

FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("content_type", "body", "shown"),
    [
        ("application/json; charset=utf-8", '{"name":"Jürgen"}', '{\n  "name": "Jürgen"\n}'),
        ("application/cloudevents+json", "[1]", "[\n  1\n]"),
        ("application/json", '{"cut": ', '{"cut": '),
        (FORM, "name=J%C3%BCrgen&note=&stage=won", "name = Jürgen\nnote = \nstage = won"),
        (FORM, '{"a": "b=c"}', '{\n  "a": "b=c"\n}'),
        (FORM, "neither", "neither = "),
        ("text/plain", '{"as": "it is"}', '{"as": "it is"}'),
        ("", "as it is", "as it is"),
    ],
)
def test_a_body_is_laid_out_by_its_content_type(content_type: str, body: str, shown: str) -> None:
    assert pretty(content_type, body.encode()) == shown


def test_what_is_no_text_is_not_thrown_at_a_terminal() -> None:
    assert pretty("application/json", b"\xff\x00") == (
        "2 bytes that are no text: see them with --body FILE"
    )
