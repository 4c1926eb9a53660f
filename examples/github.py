"""GitHub's webhooks, each summarised in a line.

GitHub names the kind of event in the header X-GitHub-Event, and describes the payloads at
https://docs.github.com/en/webhooks/webhook-events-and-payloads.
"""

import json
import logging
from typing import Any

from turnout.workers import Event, flow

logger = logging.getLogger(__name__)


@flow("demo/github-events")
async def github_events(event: Event) -> str:
    """Log and return what happened, for example "octo/tracks: ada pushed 2 commits to main"."""
    kind = event.headers.get("X-GitHub-Event", "unnamed")
    payload = read(event)
    repository = payload.get("repository", {}).get("full_name", "GitHub")
    summarise = {"push": push, "pull_request": pull_request}.get(kind)
    summary = summarise(payload) if summarise else f"event {kind!r}"
    logger.info("%s: %s", repository, summary)
    return f"{repository}: {summary}"


def read(event: Event) -> Any:
    """Decode the payload: a webhook is set up to send it as JSON, or as a form with one field."""
    if event.content_type.startswith("application/x-www-form-urlencoded"):
        return json.loads(event.form().fields["payload"])
    return event.json()


def push(payload: dict[str, Any]) -> str:
    """Summarise a push: commits to a branch, or a branch or tag made or deleted."""
    who = payload["pusher"]["name"]
    _, kind, name = payload["ref"].split("/", 2)  # refs/heads/main, refs/tags/v1.0
    what = f"tag {name}" if kind == "tags" else name
    if payload["deleted"]:
        return f"{who} deleted {what}"
    commits = payload["commits"]
    if not commits:
        return f"{who} created {what}"
    count = f"{len(commits)} commit{'s' if len(commits) > 1 else ''}"
    verb = "force-pushed" if payload["forced"] else "pushed"
    subject = commits[-1]["message"].partition("\n")[0]
    return f"{who} {verb} {count} to {what}, the last one “{subject}”"


def pull_request(payload: dict[str, Any]) -> str:
    """Summarise what was done to a pull request."""
    request = payload["pull_request"]
    merged = payload["action"] == "closed" and request["merged"]
    action = "merged" if merged else payload["action"].replace("_", " ")
    branches = f"{request['head']['ref']} → {request['base']['ref']}"
    return (
        f"{payload['sender']['login']} {action} pull request #{payload['number']} "
        f"“{request['title']}” ({branches})"
    )
