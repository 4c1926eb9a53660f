"""`/registry`: all of it out of one router and into another, for backup and for moving."""

import asyncio
from collections import Counter
from typing import Annotated, Self

from aiohttp import web
from pydantic import Field

from turnout.router import entries
from turnout.router.api.body import Answer
from turnout.router.api.call import Call
from turnout.router.api.control import PUBLIC_URL
from turnout.router.api.params import ChangeQuery
from turnout.router.api.path import Query
from turnout.router.api.problem import Problem
from turnout.router.api.registry_document import RegistryDocument
from turnout.router.api.routes import Routes
from turnout.router.registry import Action, ApiKey, Item, Kind, Step, Trigger

routes = Routes()

#: Bytes: a hundred thousand keys and triggers, with room to spare.
_MAX_BODY = 128 * 1024 * 1024


class ExportQuery(Query):
    """What is in the document."""

    secrets: bool = False
    """The hashes of keys and the routing keys, too: then treat it as a secret."""


class ImportQuery(ChangeQuery):
    """How to import."""

    dry_run: bool = False
    """Say what would be done, and do nothing."""


class StepAnswer(Answer):
    """What becomes of one thing."""

    kind: Kind
    id: str
    label: str
    """How people call it."""
    action: Action
    changes: list[str]
    """The names of the fields that change."""
    refusal: str | None
    """Why it cannot be."""
    key: str | None
    """Of a new API key without a secret in the document: its text, this one time."""
    url: str | None
    """Of a new trigger."""

    @classmethod
    def of(cls, step: Step, app: web.Application, *, done: bool) -> Self:
        """Show a step; what it makes is shown when it is made."""
        item = step.after
        label = f"{item.group}: {item.label}" if isinstance(item, ApiKey) else item.label
        made = done and step.action == "created"
        return cls(
            kind=step.kind,
            id=item.id,
            label=label,
            action=step.action,
            changes=list(step.changes),
            refusal=step.refusal,
            key=step.secret if made else None,
            url=f"{app[PUBLIC_URL]}/t/{item.routing_key}"
            if made and isinstance(item, Trigger)
            else None,
        )


class ImportAnswer(Answer):
    """What an import has done, or would do."""

    done: bool
    counts: Annotated[dict[Action, int], Field(description="How many things there are of each.")]
    items: list[StepAnswer]
    """All but what is unchanged."""

    @classmethod
    def of(cls, steps: list[Step], app: web.Application, *, done: bool) -> Self:
        """Show the steps."""
        counts = Counter(step.action for step in steps)
        return cls(
            done=done,
            counts=counts,
            items=[
                StepAnswer.of(step, app, done=done) for step in steps if step.action != "unchanged"
            ],
        )


@routes.get("/registry/export", role="admin")
async def export(call: Call, query: ExportQuery) -> RegistryDocument:
    """Return all groups, flows, API keys and triggers; this is noted in the audit log.

    The text of a key is stored nowhere, and admin tokens are never part of it.
    """
    contents = await call.registry.export(secrets=query.secrets)
    return await asyncio.to_thread(RegistryDocument.of, contents, secrets=query.secrets)


@routes.post("/registry/import", role="admin", status=200, max_body=_MAX_BODY)
async def import_(call: Call, query: ImportQuery, body: RegistryDocument) -> ImportAnswer:
    """Bring the registry in line with a document, all or nothing; what is not in it stays.

    To import the same again changes nothing. Keys and triggers that are new here and have no secret
    in the document get a new one.
    """
    contents = await asyncio.to_thread(body.contents)
    if query.dry_run:
        steps = await call.registry.plan_import(contents)
        return await asyncio.to_thread(ImportAnswer.of, steps, call.app, done=False)
    steps = await call.registry.import_(contents)
    answer = await asyncio.to_thread(ImportAnswer.of, steps, call.app, done=True)
    if refused := [each for each in answer.items if each.action == "refused"]:
        raise Problem(
            409,
            "import_refused",
            f"nothing was imported: {len(refused)} of it cannot be, the first is {refused[0].kind} "
            f"{refused[0].label!r}: {refused[0].refusal}",
            errors=[(f"{each.kind} {each.label}", each.refusal or "") for each in refused],
        )
    await call.withdraw(_withdrawn(steps))
    call.admit([name for step in steps for name in _records(step.after)])
    await call.settle()
    return answer


def _withdrawn(steps: list[Step]) -> list[str]:
    """Return the records that ingress must not accept any more."""
    return [
        name
        for step in steps
        if step.action == "changed" and step.before is not None
        for name in _records(step.before)
        if name not in _records(step.after)
    ]


def _records(item: Item) -> list[str]:
    """Return the names of the records that a thing has, or may still have."""
    if isinstance(item, ApiKey) and item.revoked_at is not None:
        return []
    return entries.names_of(item) if isinstance(item, ApiKey | Trigger) else []
