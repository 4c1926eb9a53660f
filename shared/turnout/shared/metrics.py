"""Metrics for Prometheus, on a port of their own.

Nothing is measured for them: they are read, when somebody asks, from what a service counts anyway.
Labels are names of flows, states and codes: no key, no URL, nothing that a sender can choose.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from turnout.shared import log, parent
from turnout.shared.errors import AddressTaken
from turnout.shared.settings import Settings

logger = log.get(__name__)

#: Returns what there is to tell at this moment.
Read = Callable[[], Awaitable[Iterable[Metric]]]

#: Values by the values of their labels.
Values = Mapping[tuple[str, ...], float]


def counter(name: str, text: str, labels: tuple[str, ...], values: Values) -> Metric:
    """Tell of something that only grows; its name ends in `_total` when it is told."""
    return _filled(CounterMetricFamily(f"turnout_{name}", text, labels=labels), values)


def gauge(name: str, text: str, labels: tuple[str, ...], values: Values) -> Metric:
    """Tell of something that grows and shrinks."""
    return _filled(GaugeMetricFamily(f"turnout_{name}", text, labels=labels), values)


def one(name: str, text: str, value: float) -> Metric:
    """Tell of something that grows and shrinks and is there once."""
    return gauge(name, text, (), {(): value})


def _filled(
    family: CounterMetricFamily | GaugeMetricFamily, values: Values
) -> CounterMetricFamily | GaugeMetricFamily:
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family


@asynccontextmanager
async def serving(settings: Settings, read: Read) -> AsyncIterator[None]:
    """Answer `GET /metrics` for as long as the context lasts, if the settings say where.

    Of several processes under one supervisor, the n-th takes the n-th port from the one that is
    set. While one takes the place of another, both have the port.

    Raises:
        AddressTaken: the port cannot be listened on.
    """
    if not settings.metrics_port:
        yield
        return
    supervisor = parent.find()
    port = settings.metrics_port + (supervisor.slot - 1 if supervisor is not None else 0)

    async def answer(_: web.Request) -> web.Response:
        body = generate_latest(_Found([*_PROCESS.collect(), *await read()]))
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.router.add_get("/metrics", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.metrics_host, port, reuse_port=True).start()
        logger.info("metrics are served", host=settings.metrics_host, port=port)
    except OSError as error:
        await runner.cleanup()
        raise AddressTaken(
            f"metrics cannot be served on {settings.metrics_host}:{port} ({error.strerror}): "
            "set TURNOUT_METRICS_PORT to another, or to 0"
        ) from None
    try:
        yield
    finally:
        await runner.cleanup()


_PROCESS = ProcessCollector(registry=None)


class _Found(Collector):
    """What was read, as prometheus-client wants it."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics
