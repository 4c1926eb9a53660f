"""What the tasks of all peers share: where they work, and how one message of a task is sent."""

import json
import os
import sys
from collections.abc import Callable
from typing import Any

from bench.feed import TIME

AMQP_URL = os.environ["PEER_AMQP_URL"]
QUEUE = os.environ["PEER_QUEUE"]


def produce(send: Callable[..., Any]) -> Any:
    """Send the task that the command line names, once."""
    return send(sys.argv[1], TIME, json.loads(os.environ["BENCH_BODY"]))
