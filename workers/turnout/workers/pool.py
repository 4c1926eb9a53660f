"""The pool: one process that runs flows, from its first connection to the last acknowledgement.

What it holds: one connection with a channel for each flow, on which messages come and are
acknowledged; one connection that publishes; one to the cache, for the notice board. It declares
nothing: a queue that does not exist is waited for.
"""

import asyncio
import contextlib
from collections.abc import Mapping

from turnout.shared import cache, ids, log, metrics, names, outcome, service
from turnout.shared.amqp import Link
from turnout.shared.backoff import Backoff
from turnout.shared.batch import Batch
from turnout.shared.errors import BrokerError, ChannelRefused, FlowError
from turnout.shared.publisher import Probe, Publisher
from turnout.workers import prefetch
from turnout.workers.answers import Answers
from turnout.workers.consumer import Consumer
from turnout.workers.flow import Flow
from turnout.workers.metrics import Metrics
from turnout.workers.notices import Notices
from turnout.workers.once import Marks
from turnout.workers.partition import GivenUp, Partition
from turnout.workers.presence import Presence
from turnout.workers.processor import Processor
from turnout.workers.reports import Reports
from turnout.workers.resources import Resources
from turnout.workers.settings import WorkerSettings
from turnout.workers.shares import Shares
from turnout.workers.slots import Slots
from turnout.workers.spread import Spread
from turnout.workers.twins import Twins
from turnout.workers.watchdog import Watchdog
from turnout.workers.worker import Worker

logger = log.get(__name__)

#: Seconds between two looks at the runs in progress and the pace of each flow.
_LOOK = 0.25


class Pool:
    """Runs flows until it is told to stop."""

    def __init__(
        self, flows: Mapping[str, Flow], settings: WorkerSettings, resources: Resources
    ) -> None:
        self._id = ids.new(ids.WORKER)
        self._settings = settings
        self._publisher = Publisher(
            settings.amqp_urls,
            name=f"{self._id} publishes",
            probe=Probe(names.OUTCOMES, outcome.TYPE, outcome.join(())),
        )
        self._board = cache.connect(settings.redis_url.get_secret_value())
        self._notices = Notices(self._board, flows)
        self._watchdog = Watchdog(flows)
        self._marks = Marks(settings.redis_url.get_secret_value())
        worker = Worker(
            id=self._id,
            settings=settings,
            publisher=self._publisher,
            reports=Reports(self._publisher),
            answers=Answers(self._board),
            notices=self._notices,
            twins=Twins(Batch(self._board), lifetime=settings.idempotency_lifetime),
            slots=Slots(settings.runs),
            resources=resources,
            marks=self._marks,
        )
        self._processors = [Processor(each, worker) for each in flows.values()]
        self._presence = Presence(
            self._board, self._id, self._notices, self._processors, settings.concurrency
        )
        self._shares = Shares(self._board, self._id, self._notices, self._processors)
        # Of ordered flows nothing may go on when the broker hands their partitions to others.
        self._patience = 1 if any(each.partitions for each in flows.values()) else 2
        self._spread = Spread(self._board, self._id, flows.values())
        self._stopping = False

    async def run(self, stop: asyncio.Event) -> bool:
        """Run flows until `stop` is set, then drain.

        Returns:
            Whether all runs and threads ended within the grace time. Runs that did not are the
            broker's again, and still going on here: the process has to end now.
        """
        logger.info(
            "worker started",
            worker=self._id,
            flows=[each.flow.address for each in self._processors],
            concurrency=self._settings.concurrency,
        )
        await self._publisher.start()
        told = Metrics(self._processors, self._publisher)
        async with metrics.serving(self._settings, told.read), asyncio.TaskGroup() as group:
            service.ready()
            tasks = [
                group.create_task(self._stay_connected(), name="consumers"),
                group.create_task(self._presence.keep(), name="announcement"),
                group.create_task(self._notices.follow(), name="notices"),
                group.create_task(self._shares.keep(), name="shares"),
                group.create_task(self._spread.follow(), name="spread"),
                group.create_task(self._watchdog.watch(), name="watchdog"),
                group.create_task(self._look_after_runs(), name="runs"),
            ]
            await stop.wait()
            drained = await self._drain()
            # Closes the connection: what was acknowledged goes out before.
            await service.cancel(tasks)
        await self._publisher.close()
        await self._board.aclose()
        await self._marks.close()
        logger.info("worker stopped", worker=self._id)
        return drained

    async def _drain(self) -> bool:
        """Take no more messages, and wait for what is in progress; tell whether all of it ended."""
        self._stopping = True
        await asyncio.gather(*(_stop(one) for each in self._processors for one in each.consumers))
        for each in self._processors:
            each.consumers.clear()
            each.give_back()
        logger.info("worker waits for its runs", running=self._busy)
        ends = [asyncio.create_task(each.finish()) for each in self._processors]
        _, left = await asyncio.wait(ends, timeout=self._settings.shutdown_grace)
        if left:
            logger.warning("grace time is over: runs will be redelivered", running=self._busy)
        return not left

    async def _look_after_runs(self) -> None:
        while True:
            for each in self._processors:
                each.look_after()
            await asyncio.sleep(_LOOK)

    async def _stay_connected(self) -> None:
        backoff = Backoff()
        told = ""
        turn = 0
        while True:
            url = self._settings.amqp_urls[turn % len(self._settings.amqp_urls)]
            turn += 1
            try:
                link = await Link.connect(url, name=f"{self._id} consumes", patience=self._patience)
                backoff.reset()
                told = ""
                await self._serve(link)
            except BrokerError as error:
                if str(error) != told:  # else each attempt of an outage would say it again
                    told = str(error)
                    logger.warning("broker lost", connection="consumers", reason=told)
            await asyncio.sleep(backoff.delay())

    async def _serve(self, link: Link) -> None:
        """Consume for all flows until the connection is gone.

        Raises:
            BrokerError: why it is gone.
        """
        logger.info("broker connected", connection="consumers")
        try:
            async with asyncio.TaskGroup() as group:
                for each in self._processors:
                    for queue in each.flow.queues:
                        group.create_task(self._consume(link, each, queue), name=queue)
            await asyncio.wait([link.closed])  # cancelled, this leaves the future as it is
            raise link.closed.result()
        finally:
            await link.close()

    async def _consume(self, link: Link, processor: Processor, queue: str) -> None:
        """Consume a queue of a flow until the connection is gone, and wait for it if need be."""
        address = processor.flow.address
        await self._shares.known.wait()
        backoff = Backoff(first=0.2)
        last, times = "", 0
        reason: BrokerError | FlowError | None = None
        while not (link.closed.done() or self._stopping):
            kind = Partition if processor.flow.partitions else Consumer
            consumer = kind(queue, processor.take, processor.lost)
            processor.consumers.add(consumer)
            try:
                if objection := self._notices.objection(processor.flow):
                    raise FlowError(objection)  # noqa: TRY301 - it is told like any other reason
                await consumer.start(link, min(1, self._wanted(processor)))
                if not isinstance(reason, GivenUp):
                    logger.info("flow is served", flow=address)
                last, times = "", 0
                backoff.reset()
                reason = await self._keep_limited(consumer, processor)
            except (BrokerError, FlowError) as error:
                reason = error
            # After the queue's deletion the channel stays: runs in progress acknowledge on it.
            processor.consumers.discard(consumer)
            if isinstance(reason, GivenUp):
                continue
            times = times + 1 if str(reason) == last else 1
            last = str(reason)
            # A new flow is registered within a second or two: that needs no warning.
            if times == (4 if _is_missing(reason) else 1) and not link.closed.done():
                logger.warning("flow is not served", flow=address, reason=_explain(reason, address))
            await asyncio.wait([link.closed], timeout=backoff.delay())

    async def _keep_limited(self, consumer: Consumer, processor: Processor) -> BrokerError:
        """Let as many messages come as the flow's pace and its pause call for.

        Returns:
            Why no further message will come.

        Raises:
            BrokerError: the connection is gone.
        """
        attention = processor.attention
        consumer.ended.add_done_callback(lambda _: attention.set())
        while not consumer.ended.done():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK):
                    await attention.wait()
            attention.clear()
            wanted = self._wanted(processor)
            if isinstance(consumer, Partition) and consumer.is_active:
                wanted = 0 if self._spread.gives_up(consumer.queue) else wanted
            if not prefetch.differs(consumer.prefetch, wanted):
                continue
            if not wanted:
                processor.give_back(consumer)
            await consumer.limit(wanted)
            if self._notices.is_paused(processor.flow.address) is not processor.is_paused:
                processor.is_paused = not processor.is_paused
                told = "flow is paused" if processor.is_paused else "flow is resumed"
                logger.info(told, flow=processor.flow.address)
        return consumer.ended.result()

    def _wanted(self, processor: Processor) -> int:
        """Tell how many messages of a flow may be here."""
        is_paused = self._notices.is_paused(processor.flow.address)
        return 0 if is_paused else processor.prefetch()

    @property
    def _busy(self) -> int:
        """How many runs are in progress."""
        return sum(each.running for each in self._processors)


async def _stop(consumer: Consumer) -> None:
    with contextlib.suppress(BrokerError):  # then the connection is gone, and no message comes
        await consumer.stop()


def _is_missing(reason: BrokerError | FlowError) -> bool:
    return isinstance(reason, ChannelRefused) and reason.code == 404


def _explain(reason: BrokerError | FlowError, address: str) -> str:
    if _is_missing(reason):
        return (
            "it is not registered yet; waiting for `turnout flow create "
            f"{address}`, or for a router with TURNOUT_AUTO_REGISTER=true"
        )
    return str(reason)
