"""The application: routes, middlewares and what they work with."""

from aiohttp import web

from turnout.router.api import flows, groups, health, keys, topology, triggers
from turnout.router.api.auth import require_token
from turnout.router.api.control import CONTROL, PUBLIC_URL, REGISTRY, Control
from turnout.router.api.problem import problems
from turnout.router.registry import Registry
from turnout.router.settings import RouterSettings

#: Bytes of the largest body that is read.
_MAX_BODY = 64 * 1024


def make_app(registry: Registry, control: Control, settings: RouterSettings) -> web.Application:
    """Build the admin API.

    Args:
        registry: what it shows and changes.
        control: what makes broker and cache follow.
        settings: where the public URL comes from.
    """
    app = web.Application(middlewares=[problems, require_token], client_max_size=_MAX_BODY)
    app[REGISTRY] = registry
    app[CONTROL] = control
    app[PUBLIC_URL] = settings.public_url
    for noun in (health, groups, flows, keys, triggers, topology):
        app.add_routes(noun.routes)
    return app
