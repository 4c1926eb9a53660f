"""How commands tell the story of an event: in order, a line for each thing that happened."""

import json
from contextlib import suppress

import typer

from turnout.router.cli.client import AdminApi, AdminApiError
from turnout.router.cli.output import Document, show_fields

#: Bytes of a body that are shown, and read for it.
_MOST_SHOWN = 10_000

_GONE = 410


def show_story(story: Document) -> None:
    """Print who called what and when, and then what happened."""
    event, runs = story["event"], story["runs"]
    first = runs[0] if runs else None
    show_fields(
        {
            "event": event["id"],
            **({} if first is None else _whose(first)),
            "received": _when(event["received_at"]),
            "call": f"{event['method']} {event['path']}".strip() if event["method"] else "unknown",
            "from": event["remote"] or "unknown",
        }
    )
    if story["erased"]:
        typer.echo(f"\nErased at {_when(story['erased']['at'])}: {story['erased']['reason']}")
    for run in runs:
        typer.echo()
        _show_run(run)


def show_body(api: AdminApi, event_id: str) -> None:
    """Print the headers and the body of an event, or why they cannot be had."""
    typer.echo()
    try:
        payload = api.get("events", event_id, "payload")
    except AdminApiError as error:
        if error.status != _GONE:
            raise
        typer.echo(f"No payload: {error}", err=True)
        return
    if payload["query"]:
        typer.echo(f"?{payload['query']}")
    for name, value in payload["headers"]:
        typer.echo(f"{name}: {value}")
    typer.echo()
    if payload["size"] > _MOST_SHOWN:
        typer.echo(f"A body of {payload['size']} bytes: see it with --body FILE.", err=True)
    elif payload["size"]:
        typer.echo(pretty(payload["content_type"], api.read("events", event_id, "body")))


def pretty(content_type: str, body: bytes) -> str:
    """Return a body as people read it: JSON and forms laid out, other text as it is."""
    try:
        text = body.decode()
    except ValueError:
        return f"{len(body)} bytes that are no text: see them with --body FILE"
    kind = content_type.partition(";")[0].strip().lower()
    is_form = kind == "application/x-www-form-urlencoded"
    if is_form or kind.endswith("json"):  # much JSON is called a form: curl does so by itself
        with suppress(ValueError):
            return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    if is_form:
        from urllib.parse import parse_qsl  # noqa: PLC0415 - so that help is instant

        fields = parse_qsl(text, keep_blank_values=True)
        return "\n".join(f"{name} = {value}" for name, value in fields)
    return text


def _whose(run: Document) -> dict[str, str]:
    trigger, key = run["trigger"], run["key"]
    return {
        "flow": run["flow"],
        "trigger": f"{trigger['description'] or ''} ({trigger['id']})".strip()
        if trigger
        else "unknown",
        "key": f"{key['name'] or ''} ({key['id']})".strip() if key else "unknown",
        **({"kind": "a test: run once"} if run["kind"] == "once" else {}),
    }


def _show_run(run: Document) -> None:
    name = (
        f"Replay {run['id']} of {run['origin']} ({run['replay']})" if run["replay"] else run["id"]
    )
    typer.echo(f"{name}: {run['state']}")
    for attempt in run["attempts"]:
        version = f", version {attempt['version']}" if attempt["version"] else ""
        again = ", handed out again" if attempt["redelivered"] else ""
        typer.echo(
            f"  {_when(attempt['started_at'])}  attempt {attempt['number']}: {_end(attempt)}"
            f"  on {attempt['worker_id']}{version}{again}"
        )
        if attempt["error"]:
            typer.echo(f"    {attempt['error']}")
        for line in (attempt["traceback"] or "").splitlines():
            typer.echo(f"    | {line}")
        if attempt["result"] is not None:
            typer.echo(f"    returned {json.dumps(attempt['result'], ensure_ascii=False)}")
    if not run["attempts"]:
        typer.echo("  not started")


def _end(attempt: Document) -> str:
    if attempt["ended_at"] is None:
        return "running"
    state = attempt["state"]
    if state == "retrying":
        state = f"failed, next in {attempt['delay']} s"
    return f"{state} after {_milliseconds(attempt)} ms"


def _milliseconds(attempt: Document) -> str:
    from datetime import datetime  # noqa: PLC0415 - so that help is instant

    begin, end = (datetime.fromisoformat(attempt[name]) for name in ("started_at", "ended_at"))
    return f"{(end - begin).total_seconds() * 1000:.1f}"


def _when(text: str | None) -> str:
    """Show a moment to the millisecond."""
    return "unknown" if text is None else f"{text[:23].rstrip('Z').replace('T', ' ')} UTC"
