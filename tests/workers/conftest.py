"""Workers as real processes on a real broker, and a stage from which they are fed and watched."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pamqp import commands
from pamqp.common import FieldTable
from redis.asyncio import Redis
from tests.support.brokers import Broker, quoted
from tests.support.process import Command
from tests.support.waiting import eventually
from tests.workers.making import new_envelope

from turnout.router import topology
from turnout.router.declare import declare
from turnout.router.registry import Flow, Snapshot
from turnout.router.settings import RouterSettings
from turnout.router.topology import Topology
from turnout.shared import names, outcome
from turnout.shared.amqp import Channel, Delivery, Link
from turnout.shared.envelope import Envelope
from turnout.shared.outcome import Outcome
from turnout.shared.publisher import ACCEPTED, Publisher
from turnout.shared.settings import load

#: Starts a worker with the flows of a module's text, and variables of its environment.
StartWorker = Callable[..., Command]


def topology_of(*addresses: str) -> Topology:
    """Return the topology with these flows registered."""
    flows = [
        Flow("flw", "grp", *names.flow_address(address), "", datetime.now(UTC))
        for address in addresses
    ]
    return topology.of(Snapshot(0, tuple(flows), (), ()), load(RouterSettings))


class Collector(Channel):
    """Keeps all that comes to some queues."""

    def __init__(self) -> None:
        super().__init__()
        self.deliveries: list[Delivery] = []

    def on_delivery(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)
        self.ack(delivery.tag)


class Stage:
    """What stands around a worker: queues, triggers that come in, outcomes and dead letters.

    Args:
        link: to the module's virtual host.
        publisher: to the same.
    """

    def __init__(self, link: Link, publisher: Publisher) -> None:
        self._link = link
        self._publisher = publisher
        self._outcomes = Collector()
        self._dead = Collector()

    async def declare(self, wanted: Topology) -> None:
        """Declare part of the topology."""
        await declare(self._link, wanted)

    async def watch(self) -> None:
        """Begin to collect outcomes and dead letters."""
        from_first: FieldTable = {"x-stream-offset": "first"}
        for collector, queue, arguments in (
            (self._outcomes, names.OUTCOMES, from_first),
            (self._dead, names.DEAD, None),
        ):
            await self._link.open(collector)
            await collector.call(commands.Basic.Qos(prefetch_count=100), commands.Basic.QosOk)
            await collector.call(
                commands.Basic.Consume(queue=queue, arguments=arguments), commands.Basic.ConsumeOk
            )

    async def publish(self, address: str, **fields: Any) -> Envelope:
        """Put a new event into the queue of a flow."""
        envelope = new_envelope(address, **fields)
        await self.publish_bytes(address, envelope.encode())
        return envelope

    async def publish_bytes(self, address: str, body: bytes) -> None:
        """Put any message into the queue of a flow."""
        await self.publish_to(names.flow_queue(*names.flow_address(address)), body)

    async def publish_to(self, queue: str, body: bytes) -> None:
        """Put any message into a queue."""
        assert await self._publisher.publish("", queue, body, kind="test") == ACCEPTED

    async def delete(self, address: str) -> None:
        """Delete the queue of a flow."""
        channel = Channel()
        await self._link.open(channel)
        queue = names.flow_queue(*names.flow_address(address))
        await channel.call(commands.Queue.Delete(queue=queue), commands.Queue.DeleteOk)

    async def unbind_outcomes(self) -> None:
        """Make every publish of an outcome fail."""
        channel = Channel()
        await self._link.open(channel)
        request = commands.Queue.Unbind(queue=names.OUTCOMES, exchange=names.OUTCOMES)
        await channel.call(request, commands.Queue.UnbindOk)

    async def ready(self, address: str) -> int:
        """Count the messages of a flow that no worker holds."""
        channel = Channel()
        await self._link.open(channel)
        queue = names.flow_queue(*names.flow_address(address))
        request = commands.Queue.Declare(queue=queue, passive=True)
        return (await channel.call(request, commands.Queue.DeclareOk)).message_count or 0

    def reports_of(self, envelope: Envelope) -> list[Outcome]:
        """Return the outcomes of an event so far."""
        read = [one for each in self._outcomes.deliveries for one in outcome.decode(each.body)]
        return [each for each in read if each.event_id == envelope.event_id]

    def messages_about(self, envelopes: Iterable[Envelope]) -> int:
        """Count the messages that brought the outcomes of some events so far."""
        wanted = {each.event_id for each in envelopes}
        return sum(
            any(one.event_id in wanted for one in outcome.decode(each.body))
            for each in self._outcomes.deliveries
        )

    def outcomes_of(self, envelope: Envelope) -> list[Outcome]:
        """Return those that tell how an attempt ended."""
        return [each for each in self.reports_of(envelope) if each.state != outcome.STARTED]

    async def outcomes(self, envelope: Envelope, count: int = 1) -> list[Outcome]:
        """Wait for the outcomes of an event, and return them."""

        def enough() -> list[Outcome] | None:
            found = self.outcomes_of(envelope)
            return found if len(found) >= count else None

        found: list[Outcome] = await eventually(enough, what=f"there are {count} outcomes")
        return found

    async def outcome(self, envelope: Envelope) -> Outcome:
        """Wait for the first outcome of an event."""
        return (await self.outcomes(envelope))[0]

    async def ends(self, envelope: Envelope, count: int = 1) -> list[Outcome]:
        """Wait for the outcomes of an event after which no attempt follows, and return them.

        How often it is tried until then is a matter of time.
        """

        def enough() -> list[Outcome] | None:
            found = [each for each in self.outcomes_of(envelope) if each.state != outcome.RETRYING]
            return found if len(found) >= count else None

        found: list[Outcome] = await eventually(enough, what=f"{count} runs have ended")
        return found

    def all_dead(self, address: str) -> list[Delivery]:
        """Return the dead letters of a flow so far."""
        queue = names.flow_queue(*names.flow_address(address))
        return [each for each in self._dead.deliveries if each.routing_key == queue]

    async def dead(self, address: str) -> Delivery:
        """Wait for the first dead letter of a flow."""

        def found() -> Delivery | None:
            return next(iter(self.all_dead(address)), None)

        delivery: Delivery = await eventually(found, what=f"there is a dead letter of {address}")
        return delivery


@pytest.fixture
async def bare_stage(amqp_url: str) -> AsyncIterator[Stage]:
    """A stage on which nothing is declared."""
    link = await Link.connect(amqp_url, name="stage")
    publisher = Publisher([amqp_url], name="stage publishes")
    await publisher.start()
    await publisher.ready()
    yield Stage(link, publisher)
    await publisher.close()
    await link.close()


@pytest.fixture
async def stage(bare_stage: Stage) -> Stage:
    """A stage with the fixed part of the topology, collecting."""
    await bare_stage.declare(topology_of())
    await bare_stage.watch()
    return bare_stage


@pytest.fixture
async def board(redis_url: str) -> AsyncIterator[Redis]:
    """The notice board, empty and complete."""
    async with Redis.from_url(redis_url) as client:
        await client.flushdb()
        await client.set(names.AUTH_EPOCH, "1")
        yield client
        await client.flushdb()


@pytest.fixture
def effects(tmp_path: Path) -> Callable[[], list[str]]:
    """Return the lines that flows have written to the file that EFFECTS names."""
    path = tmp_path / "effects"
    return lambda: path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def start_worker(tmp_path: Path, amqp_url: str, redis_url: str) -> Iterator[StartWorker]:
    with ExitStack() as stack:

        def start(text: str, *arguments: str, name: str = "worker", **environment: str) -> Command:
            module = tmp_path / "flows_of_this_test.py"
            module.write_text(PREAMBLE + text)
            command = Command(
                ["worker", str(module), *arguments],
                environment={
                    "TURNOUT_AMQP_URL": amqp_url,
                    "TURNOUT_REDIS_URL": redis_url,
                    "EFFECTS": str(tmp_path / "effects"),
                    # It tells no module from one of the same size that replaces it within a second.
                    "PYTHONDONTWRITEBYTECODE": "1",
                    **environment,
                },
                directory=tmp_path,
                name=name,
            )
            stack.callback(_show, command)
            return stack.enter_context(command)

        yield start


def _show(command: Command) -> None:
    """Print the log of a worker, which pytest shows where the test has failed."""
    print(f"\n{command.log}")


#: What the flows of these tests need: `effect` leaves a line that the test sees, and `released`
#: tells whether the test has let them go on.
PREAMBLE = """
import asyncio, os, time
from pathlib import Path
from turnout.workers import Event, flow

def effect(line):
    with open(os.environ["EFFECTS"], "a") as file:
        file.write(f"{line}\\n")

def released():
    return Path(os.environ["EFFECTS"] + ".release").exists()

"""


@pytest.fixture
def release(tmp_path: Path) -> Callable[[], None]:
    """Let flows go on that ask `released`."""
    return (tmp_path / "effects.release").touch


@pytest.fixture
def cut(rabbitmq: Broker, vhost: str) -> Callable[[], Awaitable[None]]:
    """Have the broker close the connection on which the worker consumes."""

    def consuming() -> str | None:
        for each in rabbitmq.management.call("GET", f"vhosts/{vhost}/connections"):
            if each.get("client_properties", {}).get("connection_name", "").endswith("consumes"):
                return str(each["name"])
        return None

    async def cut() -> None:
        name = await eventually(consuming, what="the broker lists the worker's connection")
        rabbitmq.management.call("DELETE", f"connections/{quoted(name)}")

    return cut
