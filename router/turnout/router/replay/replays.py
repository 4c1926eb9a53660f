"""Replays: planned, started, watched and steered by an operator."""

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import AsyncIterator, Coroutine
from typing import Any, NamedTuple

from turnout.router.database import Database
from turnout.router.depth import Depth
from turnout.router.history.archive import Archive
from turnout.router.letters.dead import Wanted
from turnout.router.registry import Conflict, NotFound
from turnout.router.replay import plan, store
from turnout.router.replay.edit import Edit
from turnout.router.replay.plan import Item, Selection
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
        self._under_way: dict[str, _UnderWay] = {}

    async def plan(
        self,
        wanted: Selection | Wanted,
        *,
        target: str | None,
        dry_run: bool,
        edit: Edit | None,
        rate: float,
        start: bool = False,
    ) -> Any:
        """Find out what is meant, in the background, and return the replay that it becomes.

        Args:
            wanted: runs of the history, or dead letters.
            target: the flow that runs instead, "group/flow".
            dry_run: whether each run is a test.
            edit: how bodies are changed.
            rate: runs a second; 0: as fast as it goes.
            start: start it as soon as it is planned.
        """
        replay_id = ids.new(ids.REPLAY)
        chosen = {name: value for name, value in wanted._asdict().items() if value is not None}
        await self._store.add(
            id=replay_id,
            created_at=store.now(),
            source=plan.HISTORY if isinstance(wanted, Selection) else plan.DEAD,
            selection=json.dumps(chosen, default=str),
            target=target,
            dry_run=dry_run,
            edit=None if edit is None else edit.to_json(),
            rate=rate,
            state=store.PLANNING,
            total=0,
            gone=0,
            position=0,
            intent=0,
            skipped=0,
            note="",
            started_at=0,
            ended_at=0,
        )
        self._tasks.put_nowait(self._plan(replay_id, wanted, start=start))
        return await self.get(replay_id)

    async def get(self, replay_id: str) -> Any:
        """Return a replay.

        Raises:
            NotFound: there is none with this id.
        """
        found = await self._store.get(replay_id)
        if found is None:
            raise NotFound("replay", replay_id)
        return found

    async def newest(self, limit: int) -> Any:
        """Return the newest replays."""
        return await self._store.newest(limit)

    async def samples(self, replay_id: str) -> list[Item]:
        """Return the first items of a replay."""
        return await self._store.items(replay_id, 0, _SAMPLES)

    async def outcomes(self, replay_id: str) -> dict[str, int]:
        """Count the runs of a replay by their state."""
        return await self._store.outcomes(replay_id)

    def progress(self, replay: Any) -> Progress:
        """Tell how a replay gets on."""
        under_way = self._under_way.get(replay.id)
        if under_way is None:
            return Progress(replay.position, 0.0, None, "")
        return under_way.progress(replay.total)

    async def start(self, replay_id: str, rate: float | None) -> Any:
        """Start a planned replay.

        Raises:
            Conflict: it is not planned, or has started before.
            NotFound: there is none with this id.
        """
        values = {} if rate is None else {"rate": rate}
        await self._change(
            replay_id, [store.PLANNED], state=store.RUNNING, started_at=store.now(), **values
        )
        self._tasks.put_nowait(self._run(replay_id))
        return await self.get(replay_id)

    async def pause(self, replay_id: str) -> Any:
        """Let a replay wait.

        Raises:
            Conflict: it does not run.
            NotFound: there is none with this id.
        """
        await self._change(replay_id, [store.RUNNING], state=store.PAUSED)
        return await self._tell(replay_id)

    async def resume(self, replay_id: str) -> Any:
        """Let a replay go on.

        Raises:
            Conflict: it is not paused.
            NotFound: there is none with this id.
        """
        await self._change(replay_id, [store.PAUSED], state=store.RUNNING)
        return await self._tell(replay_id)

    async def set_rate(self, replay_id: str, rate: float) -> Any:
        """Change the rate of a replay.

        Raises:
            Conflict: it has ended.
            NotFound: there is none with this id.
        """
        await self._change(
            replay_id, [store.PLANNING, store.PLANNED, store.RUNNING, store.PAUSED], rate=rate
        )
        return await self._tell(replay_id)

    async def abort(self, replay_id: str) -> Any:
        """End a replay; what it has published runs.

        Raises:
            Conflict: it has ended.
            NotFound: there is none with this id.
        """
        await self._change(
            replay_id,
            [store.PLANNING, store.PLANNED, store.RUNNING, store.PAUSED],
            state=store.ABORTED,
            ended_at=store.now(),
        )
        under_way = self._under_way.get(replay_id)
        found = await self._tell(replay_id)
        if under_way is None:
            await self._store.forget_items(replay_id)
        return found

    async def run(self) -> None:
        """Plan and run replays, for ever; those first that ran when the router last ended."""
        self._tasks = asyncio.Queue()
        for replay in await self._store.in_state(store.PLANNING):
            await self._store.change(
                replay.id,
                [store.PLANNING],
                state=store.ABORTED,
                note="the router ended while it was planned",
                ended_at=store.now(),
            )
            await self._store.forget_items(replay.id)
        for replay in await self._store.in_state(store.RUNNING, store.PAUSED):
            self._tasks.put_nowait(self._run(replay.id))
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(await self._tasks.get())

    async def _change(self, replay_id: str, when: list[str], **values: Any) -> None:
        if not await self._store.change(replay_id, when, **values):
            found = await self.get(replay_id)
            raise Conflict(f"replay {replay_id} is {found.state}")

    async def _tell(self, replay_id: str) -> Any:
        """Let the runner know what its row says."""
        replay = await self.get(replay_id)
        under_way = self._under_way.get(replay_id)
        if under_way is not None:
            under_way.hear(replay)
        return replay

    async def _plan(self, replay_id: str, wanted: Selection | Wanted, *, start: bool) -> None:
        try:
            await plan.write(self._database, self._archive, replay_id, wanted)
            planned = await self._store.change(replay_id, [store.PLANNING], state=store.PLANNED)
        except TEMPORARY as error:
            logger.warning("a replay cannot be planned", replay=replay_id, reason=str(error))
            with contextlib.suppress(*TEMPORARY):
                await self._store.change(
                    replay_id,
                    [store.PLANNING],
                    state=store.ABORTED,
                    note=f"it could not be planned: {error}",
                    ended_at=store.now(),
                )
            return
        if not planned:  # aborted meanwhile
            await self._store.forget_items(replay_id)
        elif start:
            await self.start(replay_id, None)

    async def _run(self, replay_id: str) -> None:
        backoff = Backoff(0.2, 5.0)
        try:
            while True:
                if await self._ran(replay_id):
                    return
                await asyncio.sleep(backoff.delay())
        finally:
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
            await self._store.forget_items(replay_id)
        except TEMPORARY as error:
            logger.warning("a replay waits", replay=replay_id, reason=str(error))
            if (known := self._under_way.get(replay_id)) is not None:
                known.trouble = str(error)
            return False
        logger.info("replay ended", replay=replay_id, position=runner.position)
        return True


class _UnderWay:
    """A replay that runs: what its operator wants, and how fast it is."""

    def __init__(self, replay: Any) -> None:
        self.rate: float = replay.rate
        self.runner: Runner | None = None
        self.trouble = ""
        self._state: str = replay.state
        self._heard = asyncio.Event()
        self._positions: deque[int] = deque(maxlen=int(_MEASURED / _MEASURE) + 1)

    def hear(self, replay: Any) -> None:
        """Take note of what the operator wants."""
        self.rate, self._state = replay.rate, replay.state
        self.trouble = ""
        self._heard.set()

    async def open(self) -> bool:
        """Wait while it is paused; tell whether it is to go on."""
        while self._state == store.PAUSED:
            self._heard.clear()
            await self._heard.wait()
        self._heard.clear()
        return self._state == store.RUNNING

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
