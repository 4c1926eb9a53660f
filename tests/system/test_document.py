"""The OpenAPI document against the router that serves it: schemathesis finds what is not in it."""

import asyncio
import sys
from pathlib import Path

import pytest
from tests.support.system import PATIENCE, Key, System, Trigger
from tests.support.waiting import eventually

#: Of each endpoint: enough for every kind of wrong value, and few enough for half a minute.
EXAMPLES = 8

#: What it looks for. That valid data is accepted is not among it: a document cannot say which name
#: is taken, or in which state a replay is.
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "ignored_auth",
)

#: How what the document forbids may be refused: by its form, or by what it names.
_CONFIG = """
[checks]
negative_data_rejection.expected-statuses = [400, 401, 404, 409, 412, 413, 415, 422]
"""


@pytest.fixture
async def parts(system: System, key: Key, trigger: Trigger) -> dict[str, str]:
    """What paths are filled with: of each noun one, so that calls reach their handlers."""
    failing = await system.make_trigger("shop/failing")
    event_id = (await system.call(failing.path, key, json={"number": 1})).event_id
    letter = await system.dead(event_id)

    async def is_recorded() -> bool:
        return bool((await system.admin("GET", "events", status=200))["items"])

    await eventually(is_recorded, PATIENCE, "the event is in the history")
    token = await system.admin("POST", "tokens", {"name": "spare", "role": "viewer"}, status=201)
    selection = {"events": {"events": [event_id]}}
    replay = await system.admin("POST", "replays", selection, status=201)
    return {
        "group": "shop",
        "flow": "seen",
        "key_id": key.id,
        "trigger_id": trigger.id,
        "token_id": token["id"],
        "event_id": event_id,
        "run_id": letter.run_id,
        "letter_id": letter.run_id,
        "replay_id": replay["id"],
    }


async def test_no_call_gets_an_answer_that_is_not_in_the_document(
    system: System, parts: dict[str, str], tmp_path: Path
) -> None:
    config = tmp_path / "schemathesis.toml"
    lines = (f'"path.{name}" = "{value}"' for name, value in parts.items())
    config.write_text("\n".join(["[parameters]", *lines, _CONFIG]))
    token = system.secrets["the admin token"]
    log = tmp_path / "schemathesis.log"
    with log.open("wb") as output:
        tester = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "schemathesis.cli", f"--config-file={config}", "run"),
            *(f"{system.router.url}/api/v1/openapi.json", "--generation-deterministic"),
            *(f"--header=Authorization: Bearer {token}", f"--checks={','.join(CHECKS)}"),
            *("--phases=fuzzing", f"--max-examples={EXAMPLES}"),
            *("--no-color", "--continue-on-failure", "--warnings=off"),
            cwd=tmp_path,
            stdout=output,
            stderr=output,
        )
        await tester.wait()
    assert tester.returncode == 0, log.read_text()
