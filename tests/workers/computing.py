"""Flows that run in processes of their own; there they are imported from here."""

import os
import time
from typing import Any

from turnout.workers import Context, Event, Reject, flow


@flow("demo/computes", executor="process", timeout=20)
def computes(event: Event, context: Context) -> Any:
    match event.text():
        case "reject":
            raise Reject("no such number")
        case "stop":
            raise StopIteration
        case "crash":
            os.abort()
        case "exit":
            os._exit(3)
        case "object":
            return lambda: None
        case "log":
            context.logger.info("it computes", number=1)
        case "for ever":
            time.sleep(3600)
    return {"pid": os.getpid(), "attempt": context.attempt, "remaining": context.remaining}
