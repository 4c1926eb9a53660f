"""`/workers`: the processes that run flows, as they announce themselves."""

from datetime import UTC, datetime
from typing import Self

from turnout.router.api.body import Answer, Items
from turnout.router.api.call import Call
from turnout.router.api.control import CACHE
from turnout.router.api.routes import Routes
from turnout.shared.announcement import Announcement

routes = Routes()


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
    def of(cls, worker: Announcement, call: Call) -> Self:
        """Show a worker, and of its flows those that the call may see."""
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
                if call.sees(each.address.partition("/")[0])
            ],
        )


@routes.get("/workers", filtered=True)
async def list_all(call: Call) -> Items[WorkerAnswer]:
    """List the workers that live, the oldest first, with the flows of the token's groups."""
    found = await Announcement.read_all(call.app[CACHE])
    found.sort(key=lambda each: (each.started_at, each.worker_id))
    shown = (WorkerAnswer.of(each, call) for each in found)
    return Items(items=[each for each in shown if each.flows or call.groups is None])
