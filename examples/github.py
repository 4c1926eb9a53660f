"""GitHub's webhooks, each summarised in a line, and told in a chat.

GitHub names the kind of event in the header X-GitHub-Event, and describes the payloads at
https://docs.github.com/en/webhooks/webhook-events-and-payloads. CHAT_URL is the incoming webhook of
a chat that takes {"text": …}, such as Slack or Mattermost; without one, nobody is told.
"""

import json
import os
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import ClientResponse, ClientSession, ClientTimeout

from turnout.workers import Context, Event, Reject, Retry, flow, lifespan


@lifespan
async def chat() -> AsyncIterator[ClientSession]:
    """Keep connections to the chat open, for all runs of this process."""
    async with ClientSession(timeout=ClientTimeout(total=10)) as session:
        yield session


@flow("demo/github-events", retries=5, timeout=30)
async def github_events(event: Event, context: Context) -> str:
    """Tell and return what happened, for example "octo/tracks: ada pushed 2 commits to main"."""
    kind = event.headers.get("X-GitHub-Event", "unnamed")
    payload = read(event)
    repository = payload.get("repository", {}).get("full_name", "GitHub")
    summarise = {"push": push, "pull_request": pull_request}.get(kind)
    summary = summarise(payload) if summarise else f"event {kind!r}"
    text = f"{repository}: {summary}"
    if url := os.environ.get("CHAT_URL"):
        # If this attempt is cut off after the chat took it, no other one says it again.
        async with context.once("told") as is_first:
            if is_first:
                async with context.resources[chat].post(url, json={"text": text}) as answer:
                    check(answer)
    context.logger.info("something happened", summary=text)
    return text


def check(answer: ClientResponse) -> None:
    """Decide by the answer of the chat whether another attempt is of any use."""
    if answer.status == 429:
        raise Retry(after=int(answer.headers.get("Retry-After", 60)), reason="the chat is busy")
    if 400 <= answer.status < 500:
        raise Reject(f"the chat refuses: {answer.status} {answer.reason}")
    answer.raise_for_status()


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
