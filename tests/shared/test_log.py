import json
import logging

import pytest

from turnout.shared import keys, log


def fail(text: str) -> None:
    raise ValueError(text)


def test_no_key_reaches_a_log_line_whoever_writes_it(capsys: pytest.CaptureFixture[str]) -> None:
    key = keys.new_key()
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        log.configure("info", "json")
        log.get("ours").info("called", header=f"Bearer {key.text}")
        logging.getLogger("library").warning("got %s", key.text)
        try:
            fail(key.text)
        except ValueError:
            logging.getLogger("library").exception("failed")
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    output = capsys.readouterr().err
    lines = output.splitlines()
    assert len(lines) == 3
    assert all(json.loads(line)["event"] for line in lines)
    assert key.text not in output
    assert key.prefix in output
