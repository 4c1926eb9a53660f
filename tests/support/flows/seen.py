"""A flow that writes down all that a flow can see of a call."""

import os
import pickle
from pathlib import Path

from turnout.workers import Event, flow

EFFECTS = Path(os.environ["EFFECTS"])


@flow("shop/seen")
def seen(event: Event) -> None:
    record = {
        "id": event.id,
        "body": event.body,
        "method": event.method,
        "path": event.path,
        "query": list(event.query.items()),
        "headers": list(event.headers.items()),
        "content_type": event.content_type,
        "received_at": event.received_at,
        "group": event.group,
        "flow": event.flow,
        "trigger_id": event.trigger_id,
        "key_id": event.key_id,
        "attempt": event.attempt,
        "redelivered": event.redelivered,
        "raw_query": event._envelope.query,
        # Whatever else there is, also where no flow would look.
        "envelope": event._envelope.encode(),
    }
    new = EFFECTS / f"{event.id}.new"
    new.write_bytes(pickle.dumps(record))
    new.rename(EFFECTS / event.id)
