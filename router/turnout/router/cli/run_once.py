"""`turnout run-once`: a test of a flow, with its result, logs or traceback."""

import base64
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from turnout.router.cli import client
from turnout.router.cli.arguments import examples
from turnout.router.cli.named import Trigger
from turnout.router.cli.output import Document, Json, show_json

EXAMPLES = examples(
    "run-once crm/update-lead-status --body deal.json",
    "run-once 'Deal updated' --body - --header 'X-Source: test' --timeout 60",
)

#: Seconds that the answer may take beyond the run.
_MARGIN = 15


def run_once(
    trigger: Trigger,
    *,
    body: Annotated[
        str | None, typer.Option(metavar="FILE", help="What the flow receives; - reads it here.")
    ] = None,
    header: Annotated[
        list[str] | None, typer.Option(metavar="'NAME: VALUE'", help="A header; repeatable.")
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="Of HTTP; without: the first that the trigger allows.")
    ] = None,
    event: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Take method, path, headers and body of this event."),
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, max=600, help="Seconds to wait.")] = 30.0,
    json: Json = False,
) -> None:
    """Run a flow once, as a test over the real route, and show what comes of it."""
    if event is not None and (body or header or method):
        raise typer.BadParameter("an event brings its own call", param_hint="--event")
    api = client.find()
    found = api.get("triggers", trigger)
    if not json:
        _show_readiness(found, api.get("triggers", found["id"], "run-once"))
    call = {"event": event} if event else _call(body, header or [], method)
    once = api.post(
        "triggers",
        found["id"],
        "run-once",
        body={**call, "timeout": timeout},
        patience=timeout + _MARGIN,
    )
    if json:
        show_json(once)
    else:
        _show(once, timeout)
    attempt = once["attempt"]
    raise typer.Exit(0 if attempt and attempt["state"] == "succeeded" else 1)


def _call(body: str | None, header: list[str], method: str | None) -> Document:
    content = _read(body)
    headers = [_header(each) for each in header]
    if not any(name.lower() == "content-type" for name, _ in headers) and _is_json(content):
        headers.append(("Content-Type", "application/json"))
    return {
        "method": method.upper() if method else None,
        "headers": headers,
        "body": base64.b64encode(content).decode(),
        "encoding": "base64",
    }


def _read(path: str | None) -> bytes:
    if path is None:
        return b""
    if path == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{path}: {error.strerror}", param_hint="--body") from None


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise typer.BadParameter(f"{text!r} is not 'Name: value'", param_hint="--header")
    return name.strip(), value.strip()


def _is_json(content: bytes) -> bool:
    try:
        json.loads(content)
    except ValueError:
        return False
    return True


def _show_readiness(trigger: Document, ready: Document) -> None:
    workers, waiting = ready["workers"], ready["waiting"]
    served = "1 worker serves it" if workers == 1 else f"{workers} workers serve it"
    ahead = f", {waiting} runs wait before this one" if waiting else ""
    if ready["paused"] is not None:
        ahead += f"; it is paused: {ready['paused']}"
    typer.echo(f"{trigger['group']}/{trigger['flow']}: {served}{ahead}", err=True)


def _show(once: Document, timeout: float) -> None:
    from rich.console import Console  # noqa: PLC0415 - so that help is instant
    from rich.text import Text  # noqa: PLC0415 - the same

    console = Console()
    attempt = once["attempt"]
    if attempt is None:
        console.print(Text(f"no end within {timeout:g} s; it is queued or running", "bold yellow"))
    else:
        good = attempt["state"] == "succeeded"
        version = f", version {attempt['version']}" if attempt["version"] else ""
        console.print(
            Text(attempt["state"], "bold green" if good else "bold red"),
            Text(f"in {attempt['milliseconds']:g} ms on {attempt['worker_id']}{version}"),
        )
        for line in attempt["logs"]:
            console.print(Text(line, "dim"))
        if good:
            console.print_json(data=attempt["result"])
        else:
            console.print(Text(attempt["traceback"] or attempt["error"] or ""))
    typer.echo(f"{once['event_id']} (a test)", err=True)
