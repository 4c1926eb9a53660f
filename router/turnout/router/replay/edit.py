"""Edits: how the body of an event is changed before it runs again."""

import base64
import json
from typing import Any, NamedTuple, Self

from turnout.shared.envelope import Envelope


class Uneditable(Exception):
    """The body is not what the edit works on."""


class Edit(NamedTuple):
    """A JSON merge patch (RFC 7396) for each body, or one body instead of all of them."""

    merge: Any = None
    body: bytes | None = None

    def to_json(self) -> str:
        """Return it as text."""
        if self.body is not None:
            return json.dumps({"body": base64.b64encode(self.body).decode()})
        return json.dumps({"merge": self.merge})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read that text."""
        fields = json.loads(text)
        body = fields.get("body")
        return cls(fields.get("merge"), None if body is None else base64.b64decode(body))

    def apply(self, event: Envelope) -> Envelope:
        """Return the event with another body.

        Raises:
            Uneditable: the body is no JSON, and the edit is a merge patch.
        """
        if self.body is not None:
            return event._replace(body=self.body)
        try:
            body = json.dumps(merged(json.loads(event.body), self.merge)).encode()
        except (ValueError, RecursionError) as error:
            raise Uneditable(f"the body of {event.event_id} is no JSON: {error}") from None
        return event._replace(body=body)


def merged(document: Any, patch: Any) -> Any:
    """Apply a JSON merge patch: null removes a member, an object goes deeper, all else replaces."""
    if not isinstance(patch, dict):
        return patch
    result = dict(document) if isinstance(document, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result
