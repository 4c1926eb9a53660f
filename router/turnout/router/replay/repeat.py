"""Repeat: what an event becomes when it runs again. Pure.

The id of a run follows from the replay and the run that it repeats, so that whoever makes it again
makes the same one. It is the run's idempotency key too, by which a worker tells a second copy.
"""

from turnout.router.replay.edit import Edit, Uneditable
from turnout.router.replay.items import Due
from turnout.router.replay.plan import Item
from turnout.router.replay.replay import Replay
from turnout.shared import envelope, ids, names
from turnout.shared.envelope import Envelope


class Repeat:
    """Makes the runs of one replay.

    Args:
        replay: its row.
    """

    def __init__(self, replay: Replay) -> None:
        self._id: str = replay.id
        self._edit = Edit.from_json(replay.edit) if replay.edit else None
        self._moment = replay.started_at // 1_000_000
        self._target = None if replay.target is None else names.flow_address(replay.target)
        self._kind = envelope.ONCE if replay.dry_run else envelope.REPLAY
        self._version: str | None = replay.version

    def run(self, due: Due) -> Envelope:
        """Return the run that repeats an event.

        Raises:
            Uneditable: its event is gone, or its body is not what the edit works on.
        """
        event = due.event
        if event is None:
            raise Uneditable(f"{due.item.event_id} is gone")
        if self._edit is not None:
            event = self._edit.apply(event)
        group, flow = self._target or (event.group, event.flow)
        run_id = self.run_id(due.number, due.item)
        return event._replace(
            run_id=run_id,
            group=group,
            flow=flow,
            attempt=1,
            kind=self._kind,
            # Not the sender's: that one has been used. This one finds copies of this very run.
            idempotency=run_id,
            traceparent=None,
            reply_to=None,
            origin=due.item.origin,
            replay=self._id,
            version=self._version,
        )

    def run_id(self, number: int, item: Item) -> str:
        """Return the id of the run that repeats an item."""
        return ids.derived(ids.RUN, self._moment, number, f"{self._id} {item.origin}")

    def queue(self, event: Envelope) -> str:
        """Name the queue that an event, or its run, goes to."""
        if self._target is not None:
            return names.flow_queue(*self._target)
        # An event of an ordered flow goes where it went before.
        queue = names.flow_queue(event.group, event.flow)
        return names.same_partition(queue, event.routing_key)
