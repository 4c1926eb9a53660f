"""What the admin API needs of the control plane, and what it is handed at the start."""

from collections.abc import Collection, Sequence
from typing import Protocol

from aiohttp import web
from redis.asyncio import Redis

from turnout.router.duties import Duties
from turnout.router.history.lookup import History
from turnout.router.operations import Operations
from turnout.router.overlaps import Overlaps
from turnout.router.refusals import Refusals
from turnout.router.registry import Registry
from turnout.router.topology import Binding, Missing
from turnout.router.usage import Usage
from turnout.shared import cache, log

_log = log.get(__name__)

#: Seconds that an answer waits for broker and cache to follow a change.
SETTLE_TIMEOUT = 5.0


class Control(Protocol):
    """Keeps broker and cache in line with the registry."""

    @property
    def active(self) -> bool:
        """Whether this router is the active one of several."""

    @property
    def settled(self) -> bool:
        """Whether they have been in line once since the start."""

    async def settle(self, timeout: float) -> None:
        """Bring them in line now, within `timeout` seconds."""

    async def withdraw(self, records: Collection[str]) -> None:
        """Remove records from the cache at once."""

    def admit(self, records: Collection[str]) -> None:
        """Let records that were withdrawn be written again, where the registry has them."""

    async def declare(self, bindings: Collection[Binding]) -> None:
        """Make sure that bindings exist at the broker."""

    def is_live(self, trigger_id: str) -> bool:
        """Tell whether the trigger's queue and binding exist at the broker."""

    async def check(self) -> Sequence[Missing]:
        """Return what the broker lacks."""

    async def apply(self) -> Sequence[Missing]:
        """Declare what the broker lacks and return what that was."""


REGISTRY = web.AppKey("registry", Registry)
CONTROL = web.AppKey("control", Control)
USAGE = web.AppKey("usage", Usage)
OVERLAPS = web.AppKey("overlaps", Overlaps)
REFUSALS = web.AppKey("refusals", Refusals)
HISTORY = web.AppKey("history", History)
CACHE = web.AppKey("cache", Redis)
DUTIES = web.AppKey("duties", Duties)
OPERATIONS = web.AppKey("operations", Operations)
PUBLIC_URL = web.AppKey("public_url", str)


async def settle(request: web.Request) -> None:
    """Let broker and cache follow what was just registered, as far as they can within seconds.

    A failure is only logged: what was created has to be answered, above all the text of a key,
    and the control plane tries again by itself.
    """
    try:
        await request.app[CONTROL].settle(SETTLE_TIMEOUT)
    except Exception as error:  # noqa: BLE001 - see above
        _log.warning("broker and cache do not follow yet", reason=str(error) or repr(error))


async def withdraw(request: web.Request, records: Collection[str]) -> None:
    """Let no process of ingress accept what these records stand for, from this moment on.

    While the cache does not answer, ingress goes by what it knows, for a bounded time; the control
    plane withdraws them as soon as it does.
    """
    try:
        await request.app[CONTROL].withdraw(records)
    except cache.ERRORS as error:
        _log.warning("the cache does not follow yet", reason=str(error) or repr(error))
