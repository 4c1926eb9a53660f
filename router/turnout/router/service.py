"""The router as a service: opens the registry, settles broker and cache, serves the admin API."""

import asyncio
import sys
from datetime import timedelta
from functools import partial

from aiohttp import ClientSession, web

from turnout.router import api, management, sweep, tls
from turnout.router.audit import AuditRetention
from turnout.router.control import Control
from turnout.router.database import open_database
from turnout.router.depth import Depth
from turnout.router.duties import Duties
from turnout.router.history.archive import Archive
from turnout.router.history.lookup import History
from turnout.router.history.recorder import Recorder
from turnout.router.history.retention import Retention
from turnout.router.leader import lead
from turnout.router.lease import Lease
from turnout.router.link import Links
from turnout.router.management import Management
from turnout.router.metrics import Metrics
from turnout.router.monitor import Monitor
from turnout.router.operations import Operations
from turnout.router.registry import Registry
from turnout.router.settings import RouterSettings
from turnout.router.settled import Settled
from turnout.shared import cache, keys, log, metrics, service
from turnout.shared.errors import AddressTaken

logger = log.get(__name__)

#: Bytes of the longest URL, so that a parameter that is too long is refused by its name.
_MAX_LINE = 64 * 1024


def main() -> None:
    """Run the router until a signal ends it."""
    service.run(RouterSettings, serve)


async def serve(settings: RouterSettings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set.

    Raises:
        AddressTaken: the admin API cannot listen.
        SettingsError: the certificate of the admin API cannot be used.
        DatabaseUnavailable, UnknownSchema: the registry cannot be opened.
    """
    client = cache.connect(settings.redis_url.get_secret_value(), timeout=5.0)
    url = settings.amqp_urls[0]
    async with (
        open_database(settings.database_url.get_secret_value()) as database,
        ClientSession() as session,
        tls.serving(settings.admin_tls_certificate, settings.admin_tls_key) as context,
    ):
        await database.migrate()
        registry = Registry(database)
        await _admit_admin(settings, registry)
        lease = Lease(database)
        given = settings.management_url
        broker = Management(
            session,
            given.get_secret_value() if given else management.default_url(url),
            management.vhost_of(url),
        )
        control = Control(settings, registry, client, broker, lease)
        operations = Operations(settings, database, registry, client, control)
        await operations.start()
        links = Links(settings.amqp_urls, "turnout-router reads")
        past = History(database, Archive(links))
        history_age = timedelta(days=settings.history_max_days)
        sweeps = {
            "cancellations": registry.forget_cancellations,
            "retention": Retention(
                database, max_age=history_age, max_bytes=settings.history_max_bytes
            ).sweep,
            "settled": Settled(
                database, max_age=history_age, max_bytes=settings.settled_max_bytes
            ).sweep,
            "audit retention": AuditRetention(
                registry, timedelta(days=settings.audit_max_days)
            ).sweep,
        }
        duties = Duties(
            {
                "broker": control.watch_broker,
                "cache": control.watch_cache,
                "monitor": Monitor(client, registry, broker).run,
                "recorder": Recorder(database, links).run,
                **{name: partial(sweep.for_ever, name, once) for name, once in sweeps.items()},
                **operations.duties,
                **({"workers": control.watch_workers} if settings.auto_register else {}),
            }
        )
        app = api.make_app(
            registry,
            control,
            client,
            past=past,
            operations=operations,
            duties=duties,
            settings=settings,
        )
        runner = web.AppRunner(app, access_log=None, max_line_size=_MAX_LINE)
        told = Metrics(
            lease,
            duties,
            database=database,
            registry=registry,
            client=client,
            depth=Depth(links),
        )
        await runner.setup()
        try:
            site = web.TCPSite(
                runner, settings.admin_host, settings.admin_port, ssl_context=context
            )
            await site.start()
            logger.info("router serves the admin API", address=site.name)
            async with metrics.serving(settings, told.read):
                await lead(lease, stop, duties)
            logger.info("router stops")
        except OSError as error:
            raise AddressTaken(
                f"the admin API cannot listen on {settings.admin_host}:{settings.admin_port} "
                f"({error.strerror}): set TURNOUT_ADMIN_HOST or TURNOUT_ADMIN_PORT"
            ) from None
        finally:
            await runner.cleanup()
            await operations.close()
            await links.close()
            await control.close()
            await client.aclose()


async def _admit_admin(settings: RouterSettings, registry: Registry) -> None:
    """Make sure that somebody can use the admin API."""
    if settings.admin_token is not None:
        await registry.ensure_admin_token(settings.admin_token.get_secret_value())
    elif not await registry.count_admin_tokens():
        token = keys.new_key(keys.ADMIN_TOKEN)
        await registry.ensure_admin_token(token.text, name="first start")
        # Not through the log: this line is for whoever started the router, and is shown once.
        print(f"Admin token, shown once: {token.text}", file=sys.stderr)
