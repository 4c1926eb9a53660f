"""Replays: planned, started, watched and steered by an operator."""

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from turnout.router.database import Database
from turnout.router.depth import Depth
from turnout.router.history.archive import Archive
from turnout.router.lease import LeaseLost
from turnout.router.letters.dead import Wanted
from turnout.router.registry import Actor, Page, Slice, WrongState, changing
from turnout.router.replay import plan, store
from turnout.router.replay.edit import Edit
from turnout.router.replay.plan import Item, Selection
from turnout.router.replay.replay import Replay
from turnout.router.replay.runner import TEMPORARY, Runner
from turnout.router.replay.store import Store
from turnout.shared import ids, log
from turnout.shared.backoff import Backoff
from turnout.shared.publisher import Publisher

logger = log.get(__name__)

#: Events that are shown of a plan.
_SAMPLES = 5
#: Seconds over which the present rate is measured, and between two measurements.
_MEASURED = 5
_MEASURE = 0.5


class Progress(NamedTuple):
    """How a replay gets on at present."""

    position: int
    """All items before it are done."""
    rate: float
    """Runs a second, lately."""
    remaining: float | None
    """Seconds, at that rate; None: it does not move."""
    waits: str
    """Why it does not go on; "" when it does."""


class Replays:
    """The verbs of replays.

    Args:
        database: where they are.
        archive: where events are.
        publisher: of the router.
        depth: counts what waits.
    """

    def __init__(
        self, database: Database, archive: Archive, publisher: Publisher, depth: Depth
    ) -> None:
        self._database = database
        self._archive = archive
        self._publisher = publisher
        self._depth = depth
        self._store = Store(database)
        self._tasks = asyncio.Queue[Coroutine[Any, Any, None]]()
        self._ours: set[str] = set()
        """Are planned by this process; others in that state are of a router that has ended."""
        self._running: set[str] = set()
        """Have a task that runs them."""
        self._under_way: dict[str, _UnderWay] = {}

    async def plan(
        self,
        wanted: Selection | Wanted,
        *,
        target: str | None = None,
        version: str | None = None,
        dry_run: bool = False,
        edit: Edit | None = None,
        in_order: bool = False,
        rate: float,
        actor: Actor,
        start: bool = False,
    ) -> Replay:
        """Find out what is meant, in the background, and return the replay that it becomes.

        Args:
            wanted: runs of the history, or dead letters.
            target: the flow that runs instead, "group/flow".
            version: of the flow's code that alone runs it.
            dry_run: whether each run is a test.
            edit: how bodies are changed.
            in_order: whether each run waits until the one before has ended.
            rate: runs a second; 0: as fast as it goes.
            actor: who wants it.
            start: start it as soon as it is planned.
        """
        replay = Replay(
            id=ids.new(ids.REPLAY),
            group=wanted.group,
            created_at=store.now(),
            source=plan.HISTORY if isinstance(wanted, Selection) else plan.DEAD,
            selection=json.dumps(wanted.told()),
            target=target,
            version=version,
            dry_run=dry_run,
            edit=None if edit is None else edit.to_json(),
            in_order=in_order,
            rate=rate,
            state=store.PLANNING,
        )
        self._ours.add(replay.id)
        async with changing(self._database, actor) as change:
            await store.add(change.connection, replay)
            await change.record("replay.plan", before=None, after=replay)
        self._tasks.put_nowait(self._plan(replay.id, wanted, actor if start else None))
        return replay

    async def get(self, replay_id: str) -> Replay:
        """Return a replay.

        Raises:
            NotFound: there is none with this id.
        """
        return await self._store.get(replay_id)

    async def newest(self, groups: Sequence[str] | None, page: Slice) -> Page[Replay]:
        """Return a part of the replays of some groups, see `Store.newest`."""
        return await self._store.newest(groups, page)

    async def samples(self, replay_id: str) -> list[Item]:
        """Return the first items of a replay."""
        return await self._store.items(replay_id, 0, _SAMPLES)

    async def outcomes(self, replay_id: str) -> dict[str, int]:
        """Count the runs of a replay by their state."""
        return await self._store.outcomes(replay_id)

    def progress(self, replay: Replay) -> Progress:
        """Tell how a replay gets on."""
        under_way = self._under_way.get(replay.id)
        if under_way is None:
            return Progress(replay.position, 0.0, None, "")
        return under_way.progress(replay.total)

    async def start(self, replay_id: str, rate: float | None, actor: Actor) -> Replay:
        """Start a planned replay.

        Raises:
            BrokerError: the archive cannot be asked how far it goes back.
            NotFound: there is none with this id.
            WrongState: it is not planned, or has started before; or more events are gone since.
        """
        await self._tell_gone(await self.get(replay_id))
        return await self._begin(replay_id, actor, **({} if rate is None else {"rate": rate}))

    async def pause(self, replay_id: str, actor: Actor) -> Replay:
        """Let a replay wait.

        Raises:
            NotFound: there is none with this id.
            WrongState: it does not run.
        """
        return await self._change("pause", replay_id, [store.RUNNING], actor, state=store.PAUSED)

    async def resume(self, replay_id: str, actor: Actor) -> Replay:
        """Let a replay go on.

        Raises:
            NotFound: there is none with this id.
            WrongState: it is not paused.
        """
        return await self._change("resume", replay_id, [store.PAUSED], actor, state=store.RUNNING)

    async def set_rate(self, replay_id: str, rate: float, actor: Actor) -> Replay:
        """Change the rate of a replay.

        Raises:
            NotFound: there is none with this id.
            WrongState: it has ended.
        """
        return await self._change("change", replay_id, store.UNENDED, actor, rate=rate)

    async def abort(self, replay_id: str, actor: Actor) -> Replay:
        """End a replay; what it has published runs.

        Raises:
            NotFound: there is none with this id.
            WrongState: it has ended.
        """
        aborted = await self._change(
            "abort",
            replay_id,
            store.UNENDED,
            actor,
            state=store.ABORTED,
            ended_at=store.now(),
        )
        if replay_id not in self._under_way:
            await self._store.forget(replay_id)
        return aborted

    async def run(self) -> None:
        """Plan and run replays, for ever; those first that ran when the router last ended."""
        try:
            await self._take_over()
            async with asyncio.TaskGroup() as group:
                while True:
                    group.create_task(await self._tasks.get())
        finally:
            self._ours.clear()
            while not self._tasks.empty():
                self._tasks.get_nowait().close()

    async def _take_over(self) -> None:
        """End, clear away or go on with what a router has left that has ended."""
        for replay in await self._store.in_state(store.PLANNING):
            if replay.id not in self._ours:
                await self._store.change(
                    replay.id,
                    [store.PLANNING],
                    state=store.ABORTED,
                    note="the router ended while it was planned",
                    ended_at=store.now(),
                )
        for replay_id in await self._store.unforgotten():
            await self._store.forget(replay_id)
        for replay in await self._store.in_state(store.RUNNING, store.PAUSED):
            self._tasks.put_nowait(self._run(replay.id))

    async def _begin(self, replay_id: str, actor: Actor, **values: Any) -> Replay:
        started = await self._change(
            "start",
            replay_id,
            [store.PLANNED],
            actor,
            state=store.RUNNING,
            started_at=store.now(),
            **values,
        )
        self._tasks.put_nowait(self._run(replay_id))
        return started

    async def _tell_gone(self, replay: Replay) -> None:
        """Make sure that it is known how much of a planned replay is gone.

        Raises:
            BrokerError: the archive cannot be asked.
            WrongState: it is more than was known; it is written down now.
        """
        if replay.state != store.PLANNED or replay.source != plan.HISTORY:
            return
        late = await self._store.count_before(replay.id, await plan.first_kept(self._archive))
        if late > replay.gone_since:
            await self._store.change(replay.id, [store.PLANNED], gone_since=late)
            raise WrongState(
                f"{late} of its {replay.total} events have left the archive since it was planned: "
                "start it again to go on without them, or plan it anew"
            )

    async def _change(
        self, verb: str, replay_id: str, when: Sequence[str], actor: Actor, **values: Any
    ) -> Replay:
        """Change a replay that is in one of some states, and let its runner know."""
        async with changing(self._database, actor) as change:
            before = await store.find(change.connection, replay_id)
            if not await store.change(change.connection, replay_id, when, **values):
                raise WrongState(f"replay {replay_id} is {before.state}")
            after = replace(before, **values)
            await change.record(f"replay.{verb}", before=before, after=after)
        under_way = self._under_way.get(replay_id)
        if under_way is not None:
            under_way.hear(after)
        return after

    async def _plan(
        self, replay_id: str, wanted: Selection | Wanted, starter: Actor | None
    ) -> None:
        """Plan a replay, and start it if somebody wants that."""
        try:
            await plan.write(self._database, self._archive, replay_id, wanted)
            if starter is not None:
                with contextlib.suppress(WrongState):  # an operator was faster, whatever they did
                    await self._begin(replay_id, starter)
        except WrongState:  # an operator has aborted it meanwhile
            await self._store.forget(replay_id)
        except LeaseLost:
            raise
        except Exception as error:
            if isinstance(error, TEMPORARY):
                logger.warning("a replay cannot be planned", replay=replay_id, reason=str(error))
            else:
                logger.exception("a replay cannot be planned", replay=replay_id)
            with contextlib.suppress(*TEMPORARY):
                await self._store.change(
                    replay_id,
                    [store.PLANNING],
                    state=store.ABORTED,
                    note=f"it could not be planned: {error}",
                    ended_at=store.now(),
                )
                await self._store.forget(replay_id)

    async def _run(self, replay_id: str) -> None:
        if replay_id in self._running:  # it was started while those of before were looked for
            return
        self._running.add(replay_id)
        backoff = Backoff(0.2, 5.0)
        try:
            while True:
                if await self._ran(replay_id):
                    return
                await asyncio.sleep(backoff.delay())
        finally:
            self._running.discard(replay_id)
            self._under_way.pop(replay_id, None)

    async def _ran(self, replay_id: str) -> bool:
        """Run a replay to its end; tell whether that was possible."""
        try:
            replay = await self._store.get(replay_id)
            under_way = self._under_way.setdefault(replay_id, _UnderWay(replay))
            under_way.hear(replay)
            runner = under_way.runner = Runner(
                replay,
                under_way,
                store=self._store,
                archive=self._archive,
                publisher=self._publisher,
                depth=self._depth,
            )
            async with _measured(under_way):
                finished = await runner.run()
            if finished:
                await self._store.change(
                    replay_id, [store.RUNNING], state=store.DONE, ended_at=store.now()
                )
            await self._store.forget(replay_id)
        except LeaseLost:
            raise
        except Exception as error:  # which is no reason to end other replays
            if isinstance(error, TEMPORARY):
                logger.warning("a replay waits", replay=replay_id, reason=str(error))
            else:
                logger.exception("a replay failed, and is tried again", replay=replay_id)
            if (known := self._under_way.get(replay_id)) is not None:
                known.trouble = str(error) or type(error).__name__
            return False
        logger.info("replay ended", replay=replay_id, position=runner.position)
        return True


class _UnderWay:
    """A replay that runs: what its operator wants, and how fast it is."""

    def __init__(self, replay: Replay) -> None:
        self.rate = replay.rate
        self.runner: Runner | None = None
        self.trouble = ""
        self._state = replay.state
        self._heard = asyncio.Event()
        self._positions: deque[int] = deque(maxlen=int(_MEASURED / _MEASURE) + 1)

    def hear(self, replay: Replay) -> None:
        """Take note of what the operator wants."""
        self.rate, self._state = replay.rate, replay.state
        self.trouble = ""
        self._heard.set()

    @property
    def is_open(self) -> bool:
        """Whether it is to go on, and now."""
        return self._state == store.RUNNING

    async def open(self) -> bool:
        """Wait while it is paused; tell whether it is to go on."""
        while self._state == store.PAUSED:
            self._heard.clear()
            await self._heard.wait()
        self._heard.clear()
        return self.is_open

    async def sleep(self, seconds: float) -> None:
        """Sleep, but for no longer than until the operator says something."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._heard.wait()

    async def measure(self) -> None:
        """Note the position again and again, for ever."""
        while True:
            if self.runner is not None:
                self._positions.append(self.runner.position)
            await asyncio.sleep(_MEASURE)

    def progress(self, total: int) -> Progress:
        """Tell how it gets on."""
        position = self.runner.position if self.runner is not None else 0
        rate = 0.0
        if len(self._positions) > 1:
            seconds = (len(self._positions) - 1) * _MEASURE
            rate = (self._positions[-1] - self._positions[0]) / seconds
        waits = self.trouble or (self.runner.waits if self.runner is not None else "")
        return Progress(position, rate, (total - position) / rate if rate else None, waits)


@contextlib.asynccontextmanager
async def _measured(under_way: _UnderWay) -> AsyncIterator[None]:
    task = asyncio.create_task(under_way.measure())
    try:
        yield
    finally:
        task.cancel()
