"""A served ingress without router and workers: what the router would project is written here."""

import asyncio
import contextlib
import json
import re
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

import redis
from tests.support.process import ROOT, Command
from tests.support.topology import QUORUM, collecting, linked
from tests.support.waiting import eventually

from turnout.router.declare import declare
from turnout.router.nodes import ports
from turnout.router.topology import Binding, Exchange, Queue, Topology
from turnout.shared import keys, names
from turnout.shared.block import Block
from turnout.shared.envelope import Envelope
from turnout.shared.records import KeyRecord, TriggerRecord

QUEUE = names.flow_queue("shop", "seen")

#: Size of the headers of a call that one of the triggers takes.
HEADER_BYTES = 1024

#: Seconds in which a connection must have come to its end.
PATIENCE = 10.0

#: Seconds after which a sender that gets no answer goes on; if that is too soon, it is told less.
_MOMENT = 0.05

_ROW = re.compile(r"^\| (\d{3}) \| `(\w+)` \|", re.MULTILINE)


def documented() -> set[tuple[int, str]]:
    """Read the status and code of every refusal from docs/refusals.md."""
    rows = _ROW.findall((ROOT / "docs" / "refusals.md").read_text())
    return {(int(status), code) for status, code in rows}


class Answer(NamedTuple):
    """One answer, taken from the bytes of a connection."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    is_head: bool
    """Whether it answers HEAD: then it has no body, whatever its head says."""

    @property
    def json(self) -> Any:
        """The decoded body."""
        return json.loads(self.body)

    @property
    def told(self) -> tuple[int, str]:
        """Its status and code; that of an accepted call is "accepted", that of a HEAD "head"."""
        if self.is_head:
            return self.status, "head"
        problem = self.json
        return self.status, str(problem.get("code", problem["status"]))

    @property
    def event_id(self) -> str:
        """The event that was accepted."""
        assert self.status == 202, self
        return str(self.json["event_id"])


class Talk(NamedTuple):
    """All that came back on a connection until it was closed."""

    answers: list[Answer]
    interim: int
    """How often the sender was told to go on."""

    @classmethod
    def read(cls, data: bytes) -> Self:
        """Take answers from bytes; fail if they are not well-formed, or something is left."""
        answers, interim = [], 0
        while data:
            head, blank, data = data.partition(b"\r\n\r\n")
            assert blank, f"half an answer: {head!r}"
            line, *lines = head.decode("ascii").split("\r\n")
            matched = re.fullmatch(r"HTTP/1\.1 (\d{3}) [A-Za-z -]+", line)
            assert matched, line
            status = int(matched[1])
            if status == 100:
                interim += 1
                continue
            pairs = [each.split(": ", 1) for each in lines]
            headers = {name.lower(): value for name, value in pairs}
            assert len(headers) == len(pairs), "a header is there twice"
            size = int(headers["content-length"])
            is_head = not data.startswith(b"{")
            body, data = (b"", data) if is_head else (data[:size], data[size:])
            assert is_head or len(body) == size
            answers.append(Answer(status, headers, body, is_head))
            if headers.get("connection") == "close":
                assert not data, f"it goes on after the last answer: {data!r}"
        return cls(answers, interim)


class Sender:
    """One connection that is kept."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self._writer.write(data)

    async def head(self) -> bytes:
        """Wait for the head of the next answer."""
        async with asyncio.timeout(PATIENCE):
            return await self._reader.readuntil(b"\r\n\r\n")

    async def answer(self) -> Answer:
        """Wait for the next answer, which has a body."""
        head = await self.head()
        size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        async with asyncio.timeout(PATIENCE):
            body = await self._reader.readexactly(size)
        (answer,) = Talk.read(head + body).answers
        return answer

    async def call(self, data: bytes) -> Answer:
        """Send a call, and wait for its answer."""
        self.send(data)
        return await self.answer()

    async def rest(self) -> bytes:
        """Wait until the connection is closed, and return what still came."""
        async with asyncio.timeout(PATIENCE):
            return await self._reader.read()

    async def close(self) -> None:
        """Go away."""
        self._writer.close()
        await self._writer.wait_closed()


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Sender]:
    """Open a connection, for the length of a context."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Sender(reader, writer)
    finally:
        writer.close()


class Served:
    """An ingress with one key, and triggers of one flow.

    Args:
        directory: for its log.
        amqp_url: of a virtual host of its own.
        redis_url: of a database of its own.
        settings: TURNOUT_* variables.

    Attributes:
        key: which is accepted.
        narrow_key: which may have one call under way.
        paced_key: which may make two calls, and then one in ten seconds.
        route: the routing key of a trigger that takes POST.
        open_route: that of one that takes any method, and the key in the query.
        paced_route: that of one that takes two calls, and then one in ten seconds.
        hasty_route: that of one that waits a fifth of a second for a body.
        terse_route: that of one that takes HEADER_BYTES of headers.
        accepted: ids of the events that were answered 202, with a body.
    """

    def __init__(
        self, directory: Path, amqp_url: str, redis_url: str, settings: Mapping[str, str]
    ) -> None:
        self.key, self.narrow_key, self.paced_key = (keys.new_key() for _ in range(3))
        self.route, self.open_route = keys.new_routing_key(), keys.new_routing_key()
        self.paced_route, self.hasty_route = keys.new_routing_key(), keys.new_routing_key()
        self.terse_route = keys.new_routing_key()
        (self.port,) = ports.free_ports(1)
        self.amqp_url = amqp_url
        self.accepted: set[str] = set()
        self._redis_url = redis_url
        self.command = Command(
            ["ingress"],
            environment={
                "TURNOUT_AMQP_URL": amqp_url,
                "TURNOUT_REDIS_URL": redis_url,
                "TURNOUT_INGRESS_PORT": str(self.port),
                "TURNOUT_LOG_LEVEL": "debug",
                **settings,
            },
            directory=directory,
            name="ingress",
        )

    @contextmanager
    def running(self) -> Iterator[Self]:
        """Run it, for the length of a context."""
        asyncio.run(self._declare())
        self._project()
        with self.command:
            asyncio.run(self.command.wait_http(f"http://127.0.0.1:{self.port}/readyz"))
            yield self

    def call(self, *more: bytes, tail: bytes = b"", body: bytes = b"") -> bytes:
        """Make the bytes of a good call, with more header lines."""
        return b"\r\n".join(
            [
                b"POST /t/%b%b HTTP/1.1" % (self.route.encode(), tail),
                b"Host: example.org",
                b"X-API-Key: " + self.key.text.encode(),
                b"Content-Length: %d" % len(body),
                *more,
                b"",
                body,
            ]
        )

    def talk(self, data: bytes, end: bytes = b"") -> Talk:
        """Send bytes on a new connection, and read all that comes until it is closed.

        Args:
            data: what is sent first.
            end: what is sent when nothing more comes for a moment.
        """
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            received = []
            with contextlib.suppress(ConnectionError):  # closed before it had everything
                connection.sendall(data)
                if end:
                    with contextlib.suppress(TimeoutError):
                        connection.settimeout(_MOMENT)
                        while piece := connection.recv(65536):
                            received.append(piece)
                    connection.sendall(end)
            with contextlib.suppress(ConnectionError):  # closed with something of ours unread
                connection.settimeout(PATIENCE)
                while piece := connection.recv(65536):
                    received.append(piece)
        talk = Talk.read(b"".join(received))
        self.accepted |= {
            each.event_id for each in talk.answers if each.status == 202 and not each.is_head
        }
        return talk

    def events(self, expected: int) -> list[Envelope]:
        """Return all events in the queue, once there are so many."""

        async def read() -> list[Envelope]:
            async with collecting(self.amqp_url, QUEUE) as collector:
                found = collector.deliveries
                await eventually(lambda: len(found) >= expected, PATIENCE, f"{expected} events")
                return [Envelope.decode(each.body) for each in found]

        return asyncio.run(read())

    def archived(self, event_ids: set[str]) -> tuple[list[Envelope], dict[str, str]]:
        """Return all events in the archive, once these are, and all verdicts on them."""

        async def read() -> tuple[list[Envelope], dict[str, str]]:
            async with collecting(self.amqp_url, names.ARCHIVE, stream=True) as collector:

                def blocks() -> list[Block]:
                    return [Block.decode(each.body) for each in collector.deliveries]

                def found() -> list[Envelope]:
                    return [Envelope.decode(event) for each in blocks() for event in each.events]

                await eventually(
                    lambda: event_ids <= {each.event_id for each in found()},
                    PATIENCE,
                    "all are in the archive",
                )
                return found(), dict(verdict for each in blocks() for verdict in each.verdicts)

        return asyncio.run(read())

    async def _declare(self) -> None:
        async with linked(self.amqp_url) as link:
            await declare(
                link,
                Topology(
                    frozenset([Exchange(names.TRIGGERS, "direct"), Exchange(names.ARCHIVE)]),
                    frozenset(
                        [Queue(QUEUE, QUORUM), Queue(names.ARCHIVE, {"x-queue-type": "stream"})]
                    ),
                    frozenset(
                        [
                            Binding(names.ARCHIVE, names.ARCHIVE),
                            *(
                                Binding(names.TRIGGERS, QUEUE, route)
                                for route in (
                                    self.route,
                                    self.open_route,
                                    self.paced_route,
                                    self.hasty_route,
                                    self.terse_route,
                                )
                            ),
                        ]
                    ),
                ),
            )

    def _project(self) -> None:
        trigger = TriggerRecord("trg_1", "flw_1", "grp_1", "shop", "seen")
        any_method = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
        open_trigger = trigger._replace(trigger_id="trg_2", methods=any_method, key_in_query=True)
        paced_trigger = trigger._replace(trigger_id="trg_3", rate=0.1, burst=2)
        with redis.Redis.from_url(self._redis_url) as cache:
            key = KeyRecord("key_1", "grp_1")
            narrow_key = KeyRecord("key_2", "grp_1", in_flight=1)
            cache.set(names.auth_key(self.key.digest), key.encode())
            cache.set(names.auth_key(self.narrow_key.digest), narrow_key.encode())
            paced_key = KeyRecord("key_3", "grp_1", rate=0.1, burst=2)
            cache.set(names.auth_key(self.paced_key.digest), paced_key.encode())
            cache.set(names.auth_trigger(self.paced_route), paced_trigger.encode())
            hasty_trigger = trigger._replace(trigger_id="trg_4", read_timeout=0.2)
            cache.set(names.auth_trigger(self.hasty_route), hasty_trigger.encode())
            terse_trigger = trigger._replace(trigger_id="trg_5", max_header_bytes=HEADER_BYTES)
            cache.set(names.auth_trigger(self.terse_route), terse_trigger.encode())
            cache.set(names.auth_trigger(self.route), trigger.encode())
            cache.set(names.auth_trigger(self.open_route), open_trigger.encode())
            cache.set(names.AUTH_EPOCH, 1)
