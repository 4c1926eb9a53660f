"""The ingress as a service: connects, serves, stops in order."""

import asyncio
import contextlib
import os
import secrets

from aiohttp import web

from turnout.ingress import address, responses
from turnout.ingress.accept import Acceptor
from turnout.ingress.answer import Answer
from turnout.ingress.body import Bodies
from turnout.ingress.call import PREFIX, stranger
from turnout.ingress.connection import Server
from turnout.ingress.counts import Counts
from turnout.ingress.express import Express
from turnout.ingress.idempotency import Idempotency
from turnout.ingress.limits import Limits
from turnout.ingress.lookup import Lookup
from turnout.ingress.metrics import Metrics
from turnout.ingress.outbox import Outbox, probe
from turnout.ingress.overlap import Overlaps
from turnout.ingress.rate import Rates
from turnout.ingress.refused import Refused
from turnout.ingress.settings import IngressSettings
from turnout.ingress.waiting import Waiting
from turnout.shared import cache, log, metrics, service
from turnout.shared.batch import Batch
from turnout.shared.publisher import Publisher
from turnout.shared.replies import Replies

logger = log.get(__name__)

#: Seconds that the broker has before calls are taken, and refused, without it.
_PATIENCE = 2.0
#: Seconds that senders who keep their connection open have for another call when ingress stops.
_SILENCE = 2.0
#: Seconds for which an idempotency key is claimed beyond the time that its call may take.
_LEASE_MARGIN = 5.0
#: Seconds that calls under way have to end when the ingress stops.
_GRACE = 10.0


def main(host: str | None = None, port: int | None = None) -> None:
    """Run the ingress until a signal ends it.

    Args:
        host: comes before TURNOUT_INGRESS_HOST.
        port: comes before TURNOUT_INGRESS_PORT.
    """
    service.run(IngressSettings, serve, ingress_host=host, ingress_port=port)


async def serve(settings: IngressSettings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set. Then: no new calls, calls under way end, connections close."""
    # Random at the end: in containers, each process has the same number as the one before.
    name = f"turnout-ingress-{os.uname().nodename}-{os.getpid()}-{secrets.token_hex(4)}"
    cache_url = settings.redis_url.get_secret_value()
    client = cache.connect(cache_url, timeout=settings.cache_timeout)
    publisher = Publisher(
        settings.amqp_urls,
        name=name,
        deadline=settings.publish_deadline,
        probe=probe(name),
    )
    await publisher.start()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE):
            await publisher.ready()
    batch = Batch(client)
    lookup = Lookup(batch, cache_url, outage=settings.cache_outage)
    rates = Rates(batch)
    counts = Counts(batch, name)
    refused = Refused(batch, counts)
    limits = Limits(settings, rates)
    told = Metrics(counts, limits, lookup, publisher)
    replies = Replies(client)
    bodies = Bodies(most_bytes=settings.max_buffered_bytes)
    outbox = Outbox(publisher, name)
    accept = Acceptor(
        lookup=lookup,
        limits=limits,
        bodies=bodies,
        idempotency=Idempotency(
            batch,
            lease=2 * settings.publish_deadline + _LEASE_MARGIN,
            lifetime=settings.idempotency_lifetime,
        ),
        publisher=publisher,
        outbox=outbox,
        counts=counts,
        overlaps=Overlaps(counts),
        refused=refused,
        waiting=Waiting(replies, settings),
    )
    express = Express(
        lookup=lookup,
        limits=limits,
        bodies=bodies,
        publisher=publisher,
        outbox=outbox,
        counts=counts,
        refused=refused,
    )

    async def answer(request: web.BaseRequest) -> Answer:
        path = request.rel_url.raw_path
        if path.startswith(PREFIX):
            return await accept(request)
        if path == "/healthz":
            return responses.health({})
        if path == "/readyz":
            return responses.health(await _problems(lookup, publisher))
        refused.note(responses.NO_PAGE, stranger(request))
        return responses.NO_PAGE.answer()

    server = Server(
        answer,
        express.take,
        refused.note,
        keep_alive=settings.keep_alive,
        max_header_bytes=settings.max_header_bytes,
    )
    runner = web.ServerRunner(server, shutdown_timeout=_GRACE)
    await runner.setup()
    try:
        sites = [
            web.SockSite(runner, each, backlog=address.BACKLOG)
            for each in service.sockets() or address.bind(settings)[0]
        ]
        for site in sites:
            await site.start()
        logger.info("ingress takes calls", address=sites[0].name)
        async with metrics.serving(settings, told.read):
            service.ready()
            background = (lookup, rates, counts, refused, replies)
            await service.until(stop, *(each.run() for each in background))
        logger.info("ingress stops")
        replies.stop()
        for site in sites:
            await site.stop()
        await server.drain(_SILENCE)
    finally:
        await runner.cleanup()
        await publisher.close()
        await refused.write()
        await counts.write()
        await client.aclose()


async def _problems(lookup: Lookup, publisher: Publisher) -> dict[str, str]:
    """Say what keeps calls from being accepted."""
    problems = {}
    if publisher.trouble is not None:
        problems["broker"] = publisher.alarm or publisher.trouble.reason
    trouble = await lookup.trouble()
    if trouble is not None:
        problems["cache"] = trouble
    return problems
