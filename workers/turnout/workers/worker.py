"""What the flows of one worker process share."""

from typing import NamedTuple

from turnout.shared.publisher import Publisher
from turnout.workers.answers import Answers
from turnout.workers.notices import Notices
from turnout.workers.once import Marks
from turnout.workers.reports import Reports
from turnout.workers.resources import Resources
from turnout.workers.settings import WorkerSettings
from turnout.workers.slots import Slots
from turnout.workers.twins import Twins


class Worker(NamedTuple):
    """One process, seen from its flows."""

    id: str
    """Named in the outcomes."""
    settings: WorkerSettings
    publisher: Publisher
    """For retries and dead letters."""
    reports: Reports
    """For outcomes."""
    answers: Answers
    """For those who wait for an outcome."""
    notices: Notices
    twins: Twins
    slots: Slots
    resources: Resources
    """That flows may use."""
    marks: Marks
    """Of the side effects that flows guard."""
