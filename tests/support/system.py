"""The whole system as real processes: router, ingress and workers, on one broker and one cache."""

import asyncio
import contextlib
import json
import pickle
import sqlite3
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import urlencode

import aiohttp
from multidict import CIMultiDict, CIMultiDictProxy
from pamqp import commands
from tests.support import brokers
from tests.support.brokers import Broker
from tests.support.process import Command
from tests.support.topology import Collector, linked
from tests.support.waiting import PATIENCE, eventually
from yarl import URL

from turnout.router.nodes import ports
from turnout.router.nodes.redis import Redis
from turnout.shared import keys, names
from turnout.shared.amqp import Delivery
from turnout.shared.block import Block
from turnout.shared.envelope import Envelope

FLOWS = Path(__file__).parent / "flows"


class Key(NamedTuple):
    """An API key."""

    id: str
    text: str

    @property
    def header(self) -> dict[str, str]:
        """The header that presents it."""
        return {"X-API-Key": self.text}


class Trigger(NamedTuple):
    """An HTTP trigger."""

    id: str
    routing_key: str

    @property
    def path(self) -> str:
        """The path of its URL."""
        return f"/t/{self.routing_key}"


class Answer(NamedTuple):
    """What ingress answered."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    @classmethod
    async def read(cls, response: aiohttp.ClientResponse) -> Self:
        """Read it whole."""
        return cls(response.status, response.headers, await response.read())

    @property
    def json(self) -> Any:
        """The decoded body."""
        return json.loads(self.body)

    @property
    def event_id(self) -> str:
        """The event that was accepted."""
        assert self.status == 202, self
        return str(self.json["event_id"])

    @property
    def looks(self) -> tuple[int, list[tuple[str, str]], bytes]:
        """All that an outsider can see of it, but the time of day."""
        headers = [(name, value) for name, value in self.headers.items() if name != "Date"]
        return self.status, headers, self.body


class Service:
    """A process that serves HTTP: the router, or an ingress.

    Attributes:
        url: http://host:port.
        command: the process.
    """

    def __init__(self, url: str, command: Command) -> None:
        self.url = url
        self.command = command

    async def start(self) -> None:
        """Start it, or start it again, and wait until it says that it is ready."""
        self.command.start()
        await self.ready()

    async def ready(self) -> None:
        """Wait until it says that it is ready."""
        await self.command.wait_http(f"{self.url}/readyz", PATIENCE)

    async def get(self, path: str) -> Answer:
        """Ask it, without a key."""
        async with aiohttp.ClientSession() as session, session.get(self.url + path) as response:
            return await Answer.read(response)


class System:
    """Router, ingress and workers in a directory of their own.

    Leaving its context stops them in order, those that run.

    Args:
        directory: for logs, the registry, and what flows leave behind.
        broker: the node, for its management API.
        amqp_url: of a virtual host of its own.
        redis_url: of a database of its own.
        settings: TURNOUT_* variables of all processes.

    Attributes:
        database_url: the address of the registry and the history.
        effects: the directory in which the flows of tests leave what they did.
        secrets: what must never be in a log, by a name that can be shown.
    """

    def __init__(
        self,
        directory: Path,
        *,
        broker: Broker,
        amqp_url: str,
        redis_url: str,
        settings: Mapping[str, str],
    ) -> None:
        self.directory = directory
        self.effects = directory / "effects"
        self.effects.mkdir()
        self.amqp_url = amqp_url
        self.redis_url = redis_url
        token = keys.new_key(keys.ADMIN_TOKEN).text
        self._authorization = {"Authorization": f"Bearer {token}"}
        self.secrets = {"the admin token": token}
        addresses = {
            "the broker": amqp_url,
            "the cache": redis_url,
            "the database": settings.get("TURNOUT_DATABASE_URL", ""),
        }
        for name, address in addresses.items():
            if password := URL(address).password:
                self.secrets[f"the password of {name}"] = password
        self._common = {
            "TURNOUT_AMQP_URL": amqp_url,
            "TURNOUT_REDIS_URL": redis_url,
            "TURNOUT_LOG_LEVEL": "debug",
            **settings,
        }
        self.database_url = settings.get(
            "TURNOUT_DATABASE_URL", f"sqlite+aiosqlite:///{directory / 'turnout.db'}"
        )
        self._management_url = broker.management_url
        self._token = token
        self.routers = [self._make_router("router")]
        self.ingresses: list[Service] = []
        self.workers: list[Command] = []

    @property
    def router(self) -> Service:
        """The first router."""
        return self.routers[0]

    @property
    def ingress(self) -> Service:
        """The first ingress."""
        return self.ingresses[0]

    @property
    def worker(self) -> Command:
        """The first worker."""
        return self.workers[0]

    def add_router(self, **settings: str) -> Service:
        """Add a router over the same database, not yet started."""
        self.routers.append(self._make_router(f"router-{len(self.routers) + 1}", **settings))
        return self.routers[-1]

    def add_ingress(self, *arguments: str, **settings: str) -> Service:
        """Add an ingress with some options of its command, not yet started."""
        (port,) = ports.free_ports(1)
        environment = {"TURNOUT_INGRESS_PORT": str(port), **settings}
        name = f"ingress-{len(self.ingresses) + 1}"
        service = Service(
            f"http://127.0.0.1:{port}", self._command(["ingress", *arguments], name, environment)
        )
        self.ingresses.append(service)
        return service

    def add_worker(self, *modules: str, **environment: str) -> Command:
        """Add a worker with modules of the flows for tests, not yet started."""
        files = [str(FLOWS / f"{module}.py") for module in modules]
        command = self._command(
            ["worker", *files],
            f"worker-{len(self.workers) + 1}",
            {"EFFECTS": str(self.effects), **environment},
        )
        self.workers.append(command)
        return command

    async def start(self) -> None:
        """Start all, and wait until calls can be taken."""
        for command in self._commands:
            command.start()
        for service in (self.router, *self.ingresses):
            await service.ready()

    @property
    def pids(self) -> list[int]:
        """The processes that run: the same ones are the same numbers."""
        return [command.pid for command in self._commands if command.is_running]

    @property
    def command_line(self) -> dict[str, str]:
        """The settings of `turnout` that let it reach the router."""
        return {"TURNOUT_ADMIN_URL": self.router.url, "TURNOUT_ADMIN_TOKEN": self._token}

    # -- the registry

    async def admin(self, method: str, path: str, body: object = None, *, status: int) -> Any:
        """Call `/api/v1/<path>` of the router, expect a status, and return the answer."""
        answered, document = await self.ask(method, path, body)
        assert answered == status, document
        return document

    async def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Call `/api/v1/<path>` of the router, and return the status and the answer."""
        url = f"{self.router.url}/api/v1/{path}"
        async with (
            aiohttp.ClientSession(headers=self._authorization) as session,
            session.request(method, url, json=body) as response,
        ):
            return response.status, await response.json(content_type=None)

    async def make_group(self, slug: str) -> None:
        """Make a group."""
        await self.admin("POST", "groups", {"slug": slug}, status=201)

    async def make_flow(self, address: str) -> None:
        """Make a flow that no worker has announced."""
        group, _, slug = address.partition("/")
        await self.admin("POST", f"groups/{group}/flows", {"slug": slug}, status=201)

    async def registered(self, address: str) -> None:
        """Wait until a flow that a worker announces is registered."""

        async def there() -> bool:
            flows = await self.admin("GET", "flows", status=200)
            return address in {f"{each['group']}/{each['slug']}" for each in flows["items"]}

        await eventually(there, PATIENCE, f"{address} is registered")

    async def make_key(self, group: str, name: str, **options: Any) -> Key:
        """Make a key of a group."""
        made = await self.admin(
            "POST", f"groups/{group}/keys", {"name": name, **options}, status=201
        )
        self.secrets[f"the key {name} of {group}"] = made["key"]
        return Key(made["id"], made["key"])

    async def make_trigger(self, address: str, **options: Any) -> Trigger:
        """Make a trigger of a flow, and wait until it is live."""
        body = {"description": "a test", **options}
        made = await self.admin("POST", f"flows/{address}/triggers", body, status=201)
        self.secrets[f"a routing key of {address}"] = made["routing_key"]

        async def is_live() -> bool:
            shown = await self.admin("GET", f"triggers/{made['id']}", status=200)
            return bool(shown["live"])

        await eventually(is_live, PATIENCE, f"the trigger of {address} is live")
        return Trigger(made["id"], made["routing_key"])

    # -- calls, and what came of them

    async def call(
        self, path: str, key: Key | None = None, *, method: str = "POST", **options: Any
    ) -> Answer:
        """Call the ingress once.

        Args:
            path: with the query string, encoded.
            key: sent as X-API-Key.
            method: of HTTP.
            options: of aiohttp's request.
        """
        headers = {**(key.header if key else {}), **options.pop("headers", {})}
        url = URL(self.ingress.url + path, encoded=True)
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, url, headers=headers, **options) as response,
        ):
            return await Answer.read(response)

    async def send(self, data: bytes) -> Answer:
        """Send bytes to the ingress as they are, and read the one answer to them."""
        async with self.connected() as (reader, writer):
            writer.write(data)
            return await read_answer(reader)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """Connect to the ingress, for what no HTTP client sends."""
        url = URL(self.ingress.url)
        reader, writer = await asyncio.open_connection(url.host, url.port)
        try:
            yield reader, writer
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def seen(self, event_id: str) -> dict[str, Any]:
        """Wait until the flow `shop/seen` has run for an event, and return what it saw."""
        path = self.effects / event_id
        await eventually(path.exists, PATIENCE, f"{event_id} has run")
        record: dict[str, Any] = pickle.loads(path.read_bytes())
        return record

    def dead_letters(self) -> list[Envelope]:
        """Return all dead letters that the router has kept."""
        return self._kept("dead_letters")

    def unrouted(self) -> list[Envelope]:
        """Return all events that the router keeps until they have a route."""
        return self._kept("unrouted")

    async def dead(self, event_id: str) -> Envelope:
        """Wait until an event is a dead letter, and return it."""

        def there() -> Envelope | None:
            return next((each for each in self.dead_letters() if each.event_id == event_id), None)

        envelope: Envelope = await eventually(there, PATIENCE, f"{event_id} is a dead letter")
        return envelope

    def _kept(self, table: str) -> list[Envelope]:
        """Read the payloads from the router's own database: it may be down."""
        with contextlib.closing(sqlite3.connect(self.directory / "turnout.db")) as database:
            rows = database.execute(f"SELECT body FROM {table}").fetchall()
        return [Envelope.decode(body) for (body,) in rows]

    @asynccontextmanager
    async def archive(self, since: datetime) -> AsyncIterator["Archive"]:
        """Read the archive from some time before a moment, for the length of a context."""
        async with linked(self.amqp_url) as link:
            archive = Archive()
            await link.open(archive)
            await archive.call(commands.Basic.Qos(prefetch_count=1000), commands.Basic.QosOk)
            # RabbitMQ starts at a chunk of messages, which may be older.
            offset = since.astimezone(UTC) - timedelta(seconds=5)
            consume = commands.Basic.Consume(
                queue=names.ARCHIVE, arguments={"x-stream-offset": offset}
            )
            await archive.call(consume, commands.Basic.ConsumeOk)
            yield archive

    async def history(self, since: datetime) -> dict[str, str]:
        """Return the state of each event that is recorded since a moment."""
        found: dict[str, str] = {}
        query = urlencode({"from": since.isoformat(), "limit": 1000})
        following = ""
        while True:
            page = await self.admin("GET", f"events?{query}{following}", status=200)
            found |= {each["id"]: each["state"] for each in page["items"]}
            if page["next_cursor"] is None:
                return found
            following = f"&cursor={page['next_cursor']}"

    def told_secrets(self) -> list[str]:
        """Name the secrets that are in a log, and which log that is."""
        return [
            f"{path.name} tells {name}"
            for path in sorted(self.directory.glob("*.log"))
            for text in [path.read_text(errors="replace")]
            for name, secret in self.secrets.items()
            if secret in text
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for command in reversed(self._commands):
            if command.is_running:
                command.stop()

    @property
    def _commands(self) -> list[Command]:
        return [
            *(service.command for service in self.routers),
            *self.workers,
            *(service.command for service in self.ingresses),
        ]

    def _make_router(self, name: str, **settings: str) -> Service:
        (port,) = ports.free_ports(1)
        command = self._command(
            ["router"],
            name,
            {
                "TURNOUT_ADMIN_PORT": str(port),
                "TURNOUT_ADMIN_TOKEN": self._token,
                "TURNOUT_MANAGEMENT_URL": self._management_url,
                "TURNOUT_DATABASE_URL": self.database_url,
                "TURNOUT_AUTO_REGISTER": "true",
                **settings,
            },
        )
        return Service(f"http://127.0.0.1:{port}", command)

    def _command(self, arguments: list[str], name: str, environment: Mapping[str, str]) -> Command:
        return Command(
            arguments,
            environment={**self._common, **environment},
            directory=self.directory,
            name=name,
        )


class Archive(Collector):
    """A reader of the archive.

    Attributes:
        events: all events in the blocks so far, in order; one that is there twice is here twice.
    """

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Envelope] = []

    def on_delivery(self, delivery: Delivery) -> None:
        self.events += map(Envelope.decode, Block.decode(delivery.body).events)
        self.ack(delivery.tag)  # a stream forgets nothing; this asks for more

    async def event(self, event_id: str) -> Envelope:
        """Wait until an event is read, and return it."""

        def there() -> Envelope | None:
            return next((each for each in self.events if each.event_id == event_id), None)

        envelope: Envelope = await eventually(there, PATIENCE, f"{event_id} is in the archive")
        return envelope


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    """Read one HTTP answer from a connection."""
    async with asyncio.timeout(PATIENCE):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        headers = CIMultiDict[str]()
        for line in lines:
            name, _, value = line.partition(": ")
            headers.add(name, value)
        body = await reader.readexactly(int(headers.get("Content-Length", "0")))
    return Answer(int(first.split(" ")[1]), CIMultiDictProxy(headers), body)


@contextmanager
def stoppable_rabbitmq(broker: Broker, directory: Path) -> Iterator[Broker]:
    """Give the session's broker if it is ours to stop, or else run another one."""
    if broker.node is not None:
        yield broker
        return
    with brokers.private_rabbitmq(directory) as own:
        yield own


@contextmanager
def stoppable_redis(server: str | Redis, directory: Path) -> Iterator[Redis]:
    """Give the session's Redis if it is ours to stop, or else run another one."""
    if isinstance(server, Redis):
        yield server
        return
    with brokers.private_redis(directory) as own:
        yield own
