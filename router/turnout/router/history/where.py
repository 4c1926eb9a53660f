"""Where: conditions on the payload of an event, which only the archive knows."""

import json
from dataclasses import dataclass
from typing import Any, Self

from turnout.router.registry import Invalid
from turnout.shared.envelope import Envelope


@dataclass(frozen=True)
class Where:
    """Which payloads; all conditions hold together."""

    header: tuple[str, str | None] | None = None
    """A header's name, in lower case, and its value; None: any."""
    json: tuple[tuple[str, ...], str] | None = None
    """Keys that lead from the body to a value, and this as text."""
    text: bytes | None = None
    """What occurs in the body."""

    @classmethod
    def parse(cls, *, header: str | None, json: str | None, text: str | None) -> Self:
        """Read conditions as people write them.

        Args:
            header: `Name` or `Name: value`.
            json: `order.lines.0.id=17`; numbers, true, false and null are as in JSON.
            text: any.

        Raises:
            Invalid: one has not its form.
        """
        return cls(
            header=None if header is None else _header(header),
            json=None if json is None else _value(json),
            text=text.encode() if text else None,
        )

    def __bool__(self) -> bool:
        return self != Where()

    def told(self) -> dict[str, str]:
        """Return the conditions as people write them."""
        told = {}
        if self.header is not None:
            told["header"] = ": ".join(each for each in self.header if each is not None)
        if self.json is not None:
            told["json"] = ".".join(self.json[0]) + f"={self.json[1]}"
        if self.text is not None:
            told["text"] = self.text.decode()
        return told

    def matches(self, envelope: Envelope) -> bool:
        """Tell whether all conditions hold for an event."""
        return (
            (self.text is None or self.text in envelope.body)
            and (self.header is None or self._has_header(envelope, *self.header))
            and (self.json is None or self._has_value(envelope.body, *self.json))
        )

    @staticmethod
    def _has_header(envelope: Envelope, wanted: str, value: str | None) -> bool:
        return any(
            name.lower() == wanted and value in {None, given} for name, given in envelope.headers
        )

    @staticmethod
    def _has_value(body: bytes, path: tuple[str, ...], value: str) -> bool:
        try:
            found: Any = json.loads(body)
            for step in path:
                found = found[int(step)] if isinstance(found, list) else found[step]
        except (ValueError, LookupError, TypeError, RecursionError):
            return False
        return value == (found if isinstance(found, str) else json.dumps(found))


def _header(text: str) -> tuple[str, str | None]:
    name, colon, value = text.partition(":")
    if not name.strip():
        raise Invalid("header", "write it as 'Name' or 'Name: value'")
    return name.strip().lower(), value.strip() if colon else None


def _value(text: str) -> tuple[tuple[str, ...], str]:
    path, equals, value = text.partition("=")
    if not path or not equals:
        raise Invalid("json", "write it as 'path.to.field=value'")
    return tuple(path.split(".")), value
