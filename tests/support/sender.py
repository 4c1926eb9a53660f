"""Calls at a steady rate through whatever happens, and the ledger of what became of each."""

import asyncio
import itertools
import json
import secrets
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

import aiohttp
from tests.support.flows import ledger as flow
from tests.support.system import PATIENCE, Key, System
from tests.support.waiting import eventually

from turnout.shared.envelope import Envelope

#: Each sends its next call when the last one was accepted.
_CLIENTS = 30

#: Seconds until a call that was not accepted is sent again.
_PAUSE = 0.1

#: No call may take so long, whatever is down.
HUNG = 30.0


class Sender:
    """Sends calls with numbered bodies from the beginning of its context to the end.

    A call that is not answered 202 is sent again, to the next ingress.

    Args:
        urls: of one trigger, on each ingress.
        key: accepted by the trigger.
        rate: calls in a second, when all goes well.

    Attributes:
        name: in all its bodies.
        started_at: when the first call was sent.
        sent: all bodies.
        accepted: the body of each event that was answered 202, in the order of the answers.
        failed: how often which status was answered instead; 0 when the connection broke.
        slowest: seconds that the slowest answer took.
    """

    def __init__(self, urls: Sequence[str], key: Key, *, rate: int = 300) -> None:
        self.started_at = datetime.now(UTC)
        self.sent: set[str] = set()
        self.accepted: dict[str, str] = {}
        self.failed: Counter[int] = Counter()
        self.slowest = 0.0
        self._urls = itertools.cycle(urls)
        self._key = key
        self._interval = _CLIENTS / rate
        self.name = secrets.token_hex(4)
        self._numbers = itertools.count(1)
        self._stopping = False

    async def more(self, count: int) -> None:
        """Wait until so many further calls are accepted."""
        wanted = len(self.accepted) + count
        await eventually(
            lambda: len(self.accepted) >= wanted, PATIENCE, f"{count} more calls are accepted"
        )

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=HUNG)
        self._session = aiohttp.ClientSession(headers=self._key.header, timeout=timeout)
        self._clients = [asyncio.create_task(self._run(str(each))) for each in range(_CLIENTS)]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopping = True
        ends = await asyncio.gather(*self._clients, return_exceptions=True)
        await self._session.close()
        for end in ends:
            if isinstance(end, BaseException) and error is None:
                raise end

    async def _run(self, client: str) -> None:
        while not self._stopping:
            body = json.dumps(
                {"sender": self.name, "client": client, "number": next(self._numbers)}
            )
            self.sent.add(body)
            while not (await self._is_accepted(body) or self._stopping):  # noqa: ASYNC110 - a rate
                await asyncio.sleep(_PAUSE)
            await asyncio.sleep(self._interval)

    async def _is_accepted(self, body: str) -> bool:
        """Send a call once, and tell whether it was answered 202."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with self._session.post(next(self._urls), data=body) as response:
                status = response.status
                answer = await response.json(content_type=None)
        except aiohttp.ClientError:  # a timeout is none: that call would hang
            status, answer = 0, {}
        self.slowest = max(self.slowest, loop.time() - began)
        if status != 202:
            self.failed[status] += 1
            return False
        self.accepted[answer["event_id"]] = body
        return True


class Ledger:
    """The books on what one sender sent.

    Attributes:
        attempts: of each attempt of an event, whether it was said to be redelivered, as often as a
            flow began it.
        succeeded: how often a flow ended an event well.
        dead: dead letters that the router keeps.
        unrouted: kept by the router until they have a route.
        archived: how often an event is in the archive.
        recorded: the state of each event that the history has and does not call taken back.
    """

    def __init__(self, system: System, sender: Sender) -> None:
        self._system = system
        self._sender = sender
        self._file = system.effects / flow.FILE
        self._position = 0
        self._bodies: dict[str, str] = {}
        # Where in the file an event first began, and where it first came to its end.
        self._began: dict[str, int] = {}
        self._ended: dict[str, int] = {}
        self.attempts: dict[tuple[str, int], list[bool]] = {}
        self.succeeded: Counter[str] = Counter()
        self.dead: Counter[str] = Counter()
        self.unrouted: Counter[str] = Counter()
        self.archived: Counter[str] = Counter()
        self.recorded: dict[str, str] = {}

    @property
    def cancelled(self) -> set[str]:
        """The events of which the history says so."""
        return {each for each, state in self.recorded.items() if state == "cancelled"}

    @property
    def began_again(self) -> int:
        """How many attempts began that had begun before."""
        return sum(len(flags) - 1 for flags in self.attempts.values())

    @property
    def unexplained(self) -> dict[tuple[str, int], list[bool]]:
        """The attempts that began more than once without being said to be redelivered."""
        return {each: flags for each, flags in self.attempts.items() if flags.count(False) > 1}

    async def more(self, count: int) -> None:
        """Wait until so many further runs have succeeded."""
        self.read_runs()
        wanted = len(self.succeeded) + count

        def are_there() -> bool:
            self.read_runs()
            return len(self.succeeded) >= wanted

        await eventually(are_there, PATIENCE, f"{count} more runs have succeeded")

    async def are_told(self) -> bool:
        """Tell whether the history knows how each run that has begun went on."""
        if self.read_runs():
            return False
        await self._read_history()
        begun = {event_id for event_id, _ in self.attempts}
        return all(self.recorded.get(each) not in {None, "queued", "running"} for each in begun)

    async def balance(self) -> None:
        """Wait until each accepted event has ended and is archived, print the ledger, check it.

        Raises:
            AssertionError: it does not balance.
        """
        sender = self._sender
        accepted = sender.accepted.keys()
        async with self._system.archive(sender.started_at) as archive:

            async def ended() -> bool:
                if self.read_runs():
                    return False
                self.dead = self._count(self._system.dead_letters())
                self.unrouted = self._count(self._system.unrouted())
                left = accepted - {*self.succeeded, *self.dead, *self.unrouted}
                if left:
                    await self._read_history()
                return left <= self.cancelled

            def archived() -> bool:
                self.archived = self._count(archive.events)
                return accepted <= self.archived.keys()

            try:
                await eventually(ended, 4 * PATIENCE, "every accepted event has ended")
                await eventually(archived, PATIENCE, "every accepted event is in the archive")
                await eventually(self._is_recorded, PATIENCE, "the history is right")
            finally:
                print(self)

        assert set(self._bodies.values()) <= sender.sent, "there is what was never sent"
        assert {each: self._bodies[each] for each in accepted} == sender.accepted
        assert all(flow.fails(_number(self._bodies[each]), 2) for each in self.dead)
        assert not any(flow.fails(_number(self._bodies[each]), 2) for each in self.succeeded)
        unanswered = self.recorded.keys() - accepted
        assert len(unanswered) <= sender.failed.total(), "the history has what was never accepted"
        assert set(sender.failed) <= {0, 503}, "what is uncertain is a 503 and nothing else"
        assert not self.unexplained, "what began again was not said to be redelivered"

    def assert_order(self) -> None:
        """Check that no event of a client first began before the one before it had first ended.

        Raises:
            AssertionError: one did.
        """
        last: dict[str, str] = {}
        for event_id, body in self._sender.accepted.items():
            client = json.loads(body)["client"]
            before = last.get(client)
            if before is not None:
                assert self._began[event_id] > self._ended[before], f"{event_id} overtook {before}"
            last[client] = event_id

    async def _read_history(self) -> None:
        found = await self._system.history(self._sender.started_at)
        self.recorded = {
            event_id: state
            for event_id, state in found.items()
            if state not in {"refused", "unknown"}
        }

    async def _is_recorded(self) -> bool:
        """Tell whether the history has each accepted event in the state in which it ended."""
        await self._read_history()
        expected = {
            **dict.fromkeys(self._sender.accepted, "queued"),
            **dict.fromkeys(self.cancelled, "cancelled"),
            **dict.fromkeys(self.dead, "dead"),
            **dict.fromkeys(self.succeeded, "succeeded"),
        }
        return all(self.recorded.get(each) == expected[each] for each in self._sender.accepted)

    def read_runs(self) -> bool:
        """Read what the flows have entered since the last time; tell whether that was something."""
        if not self._file.exists():
            return False
        with self._file.open("rb") as file:
            file.seek(self._position)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        position = self._position
        self._position += len(whole)
        for line in whole.decode().splitlines():
            position += 1
            event_id, body, attempt, redelivered, what = line.split("\t")
            if not self._is_ours(event_id, body):
                continue
            if what == flow.BEGAN:
                self._began.setdefault(event_id, position)
                flags = self.attempts.setdefault((event_id, int(attempt)), [])
                flags.append(redelivered == "1")
            elif what == flow.SUCCEEDED:
                self._ended.setdefault(event_id, position)
                self.succeeded[event_id] += 1
            elif flow.fails(_number(body), 2) and int(attempt) > 1:
                self._ended.setdefault(event_id, position)
        return bool(whole)

    def _count(self, events: Iterable[Envelope]) -> Counter[str]:
        return Counter(
            each.event_id for each in events if self._is_ours(each.event_id, each.body.decode())
        )

    def _is_ours(self, event_id: str, body: str) -> bool:
        """Tell whether an event is of our sender, and note its body."""
        if f'"{self._sender.name}"' not in body:
            return False
        assert self._bodies.setdefault(event_id, body) == body, "an event has two bodies"
        return True

    def __str__(self) -> str:
        sender = self._sender
        accepted = sender.accepted.keys()
        ended = {*self.succeeded, *self.dead, *self.cancelled, *self.unrouted}
        rows = {
            "accepted": len(accepted),
            "  succeeded": len(accepted & self.succeeded.keys()),
            "  dead": len(accepted & self.dead.keys()),
            "  cancelled": len(accepted & self.cancelled),
            "  unrouted": len(accepted & self.unrouted.keys() - self.succeeded.keys()),
            "  missing": len(accepted - ended),
            "  not archived": len(accepted - self.archived.keys()),
            "  not in the history": len(accepted - self.recorded.keys()),
            "  queued in the history": sum(each == "queued" for each in self.recorded.values()),
            "succeeded twice or more": sum(count > 1 for count in self.succeeded.values()),
            "attempts begun again": self.began_again,
            "  not said to be redelivered": len(self.unexplained),
            "archived twice or more": sum(count > 1 for count in self.archived.values()),
            "not accepted, and yet ended": len(ended - accepted),
            "answered 503": sender.failed[503],
            "connection broken": sender.failed[0],
            "slowest answer, ms": round(sender.slowest * 1000),
        }
        return "\n" + "\n".join(f"{name:30}{number:7}" for name, number in rows.items())


def _number(body: str) -> int:
    number: int = json.loads(body)["number"]
    return number
