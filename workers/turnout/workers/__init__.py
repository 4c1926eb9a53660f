"""What the author of a flow imports.

from turnout.workers import Event, flow

@flow("crm/update-lead-status", retries=5, timeout=30)
async def update_lead_status(event: Event) -> None: ...
"""

from turnout.workers.event import Event, InvalidBody
from turnout.workers.flow import flow
from turnout.workers.form import File, Form

__all__ = ["Event", "File", "Form", "InvalidBody", "flow"]
