"""The application: routes, middlewares and what they work with."""

from functools import partial

from aiohttp import web
from redis.asyncio import Redis

from turnout.router.api import (
    activity,
    audit,
    cancellations,
    dead,
    events,
    flows,
    groups,
    health,
    history,
    keys,
    openapi,
    overlaps,
    queues,
    refusals,
    replays,
    run_once,
    runs,
    stats,
    tokens,
    topology,
    transfer,
    triggers,
    unrouted,
    usage,
    workers,
)
from turnout.router.api.auth import OPEN, require_token
from turnout.router.api.control import (
    CACHE,
    CONTROL,
    DUTIES,
    HISTORY,
    OPERATIONS,
    OVERLAPS,
    PUBLIC_URL,
    REFUSALS,
    REGISTRY,
    USAGE,
    Control,
)
from turnout.router.api.openapi import DOCUMENT, document
from turnout.router.api.problem import problems
from turnout.router.api.routes import Endpoint
from turnout.router.api.serve import serve
from turnout.router.api.standby import require_active
from turnout.router.duties import Duties
from turnout.router.history.lookup import History
from turnout.router.operations import Operations
from turnout.router.overlaps import Overlaps
from turnout.router.refusals import Refusals
from turnout.router.registry import Registry
from turnout.router.settings import RouterSettings
from turnout.router.usage import Usage

#: All that there is, in the order of the document.
ENDPOINTS: tuple[Endpoint, ...] = tuple(
    endpoint
    for noun in (
        *(health, openapi, groups, flows, stats, queues, cancellations, keys, overlaps, activity),
        *(triggers, run_once, workers, usage, refusals, events, runs, history, dead, unrouted),
        *(replays, topology, transfer, tokens, audit),
    )
    for endpoint in noun.routes.endpoints
)


def make_app(
    registry: Registry,
    control: Control,
    client: Redis,
    *,
    past: History,
    operations: Operations,
    duties: Duties,
    settings: RouterSettings,
) -> web.Application:
    """Build the admin API.

    Args:
        registry: what it shows and changes.
        control: what makes broker and cache follow.
        client: the cache, where ingress counts calls.
        past: what happened to calls.
        operations: acts on runs.
        duties: what the active router does all the time.
        settings: where the public URL comes from.
    """
    app = web.Application(middlewares=[problems, require_active, require_token])
    app[REGISTRY] = registry
    app[CONTROL] = control
    app[USAGE] = Usage(client)
    app[OVERLAPS] = Overlaps(client)
    app[REFUSALS] = Refusals(client)
    app[HISTORY] = past
    app[OPERATIONS] = operations
    app[DUTIES] = duties
    app[CACHE] = client
    app[PUBLIC_URL] = settings.public_url
    app[OPEN] = frozenset(each.path for each in ENDPOINTS if each.role is None)
    app[DOCUMENT] = lambda: document(ENDPOINTS)
    for endpoint in ENDPOINTS:
        app.router.add_route(endpoint.method, endpoint.path, partial(serve, endpoint))
    return app
