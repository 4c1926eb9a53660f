"""`/workers`: the processes that run flows, as they announce themselves."""

from datetime import UTC, datetime
from typing import Self

from aiohttp import web

from turnout.router.api.body import Answer, Items, answer
from turnout.router.api.control import CACHE
from turnout.shared.announcement import Announcement

routes = web.RouteTableDef()


class ServedFlow(Answer):
    """A flow that a worker serves."""

    flow: str
    """The address: "group/flow"."""
    version: str
    concurrency: int
    """How many runs it may have at once."""
    busy: int
    """How many it has."""


class WorkerAnswer(Answer):
    """A live worker process."""

    id: str
    host: str
    pid: int
    supervisor: int
    """The process that started it as one of several; 0: none."""
    started_at: datetime
    busy: int
    """Runs in progress."""
    flows: list[ServedFlow]

    @classmethod
    def of(cls, worker: Announcement) -> Self:
        """Show a worker."""
        return cls(
            id=worker.worker_id,
            host=worker.host,
            pid=worker.pid,
            supervisor=worker.supervisor,
            started_at=datetime.fromtimestamp(worker.started_at, UTC),
            busy=worker.busy,
            flows=[
                ServedFlow(
                    flow=each.address,
                    version=each.version,
                    concurrency=each.concurrency,
                    busy=each.busy,
                )
                for each in worker.served
            ],
        )


@routes.get("/api/v1/workers")
async def list_all(request: web.Request) -> web.Response:
    """List the workers that live, the oldest first."""
    found = await Announcement.read_all(request.app[CACHE])
    found.sort(key=lambda each: (each.started_at, each.worker_id))
    return answer(Items(items=[WorkerAnswer.of(each) for each in found]))
