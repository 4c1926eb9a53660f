"""What the author of a flow imports.

from turnout.workers import Context, Event, flow

@flow("crm/update-lead-status", retries=5, timeout=30)
async def update_lead_status(event: Event, context: Context) -> None: ...
"""

from turnout.workers.context import Context
from turnout.workers.errors import Reject, Retry
from turnout.workers.event import Event, InvalidBody
from turnout.workers.flow import flow
from turnout.workers.form import File, Form
from turnout.workers.once import OnceError
from turnout.workers.resources import lifespan

__all__ = [
    "Context",
    "Event",
    "File",
    "Form",
    "InvalidBody",
    "OnceError",
    "Reject",
    "Retry",
    "flow",
    "lifespan",
]
