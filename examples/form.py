"""A contact form: each message becomes a directory with its text and its attachments.

It takes both content types in which a browser posts a form. The directories are made below the one
that CONTACT_DIRECTORY names, by default .turnout/contact, whose inbox.txt has a line for each.
"""

import json
import os
from pathlib import Path

from turnout.workers import Context, Event, flow


@flow("demo/contact-form")
def contact_form(event: Event, context: Context) -> str:
    """Store a message under the event's id: when the run is repeated, it writes the same again."""
    form = event.form()
    inbox = Path(os.environ.get("CONTACT_DIRECTORY", ".turnout/contact"))
    directory = inbox / event.id
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    attachments = {}
    for number, file in enumerate(form.files.values(), start=1):
        # The sender's name of a file is shown, never used: it could be "../../.bashrc".
        stored = f"attachment-{number}"
        (directory / stored).write_bytes(file.data)
        attachments[stored] = file.filename

    message = {
        "received_at": event.received_at.isoformat(),
        "fields": dict(form.fields),
        "attachments": attachments,
    }
    (directory / "message.json").write_text(json.dumps(message, indent=2, ensure_ascii=False))
    sender = form.fields.get("name", "somebody")
    # A line that is there cannot be written again without a second one beside it.
    with context.once("inbox") as is_first:
        if is_first:
            with (inbox / "inbox.txt").open("a") as lines:
                lines.write(f"{event.received_at:%Y-%m-%d %H:%M} {event.id} {sender!r}\n")
    context.logger.info("message is stored", sender=sender)
    return str(directory)
