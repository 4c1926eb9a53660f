"""A flow of a group that nobody has registered."""

import os
from pathlib import Path

from turnout.workers import Event, flow

EFFECTS = Path(os.environ["EFFECTS"])


@flow("late/arrival")
def arrival(event: Event) -> None:
    (EFFECTS / event.id).touch()
