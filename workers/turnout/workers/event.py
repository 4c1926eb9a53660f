"""The event: what a flow receives, read from the envelope when it is asked for."""

import json
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl

from multidict import CIMultiDict, CIMultiDictProxy, MultiDict, MultiDictProxy
from multipart import parse_options_header

from turnout.shared.envelope import Envelope
from turnout.shared.errors import TurnoutError
from turnout.workers.form import Form, parse

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class InvalidBody(TurnoutError):
    """The body that the sender sent is not what the flow reads it as."""


class Event:
    """One accepted call.

    Attributes:
        id: of the event, "evt_…"; the same in all attempts and redeliveries.
        body: as sent, byte for byte.
        method: of the HTTP call, for example "POST".
        path: what follows the routing key in the URL, as sent: "" or "/any/tail".
        content_type: as sent, "" if there was none.
        group: slug of the group.
        flow: slug of the flow.
        trigger_id: the HTTP trigger that took the call.
        key_id: the API key that the sender showed.
        attempt: which try this is, counted from 1.
        redelivered: whether this very attempt may have run before, in part or whole: the broker
            handed it, or the attempt before it, out twice. The worker that had it first did not
            finish it, or could not say so; it may not even have called the flow. False is no proof
            that it never ran: a broker that is killed while it takes a retry out of its delay
            bucket may deliver it twice, and marks neither copy.
    """

    def __init__(self, envelope: Envelope, *, redelivered: bool = False) -> None:
        self._envelope = envelope
        self.id = envelope.event_id
        self.body = envelope.body
        self.method = envelope.method
        self.path = envelope.path
        self.content_type = envelope.content_type
        self.group = envelope.group
        self.flow = envelope.flow
        self.trigger_id = envelope.trigger_id
        self.key_id = envelope.key_id
        self.attempt = envelope.attempt
        self.redelivered = redelivered

    def __repr__(self) -> str:
        return f"<Event {self.id} for {self.group}/{self.flow}, attempt {self.attempt}>"

    @cached_property
    def headers(self) -> CIMultiDictProxy[str]:
        """The headers as sent, without credentials; their names are matched in any case."""
        return CIMultiDictProxy(CIMultiDict(self._envelope.headers))

    @cached_property
    def query(self) -> MultiDictProxy[str]:
        """The decoded query string, without credentials."""
        pairs = parse_qsl(self._envelope.query, keep_blank_values=True)
        return MultiDictProxy(MultiDict(pairs))

    @cached_property
    def received_at(self) -> datetime:
        """When the call came in, in UTC."""
        return _EPOCH + timedelta(microseconds=self._envelope.received_at // 1000)

    def json(self) -> Any:
        """Decode the body as JSON, whatever the content type says.

        Raises:
            InvalidBody: it is not JSON.
        """
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise self._invalid("JSON", error) from None

    def text(self) -> str:
        """Decode the body with the charset of its content type, or as UTF-8.

        Raises:
            InvalidBody: it is not text of that charset, or there is no such charset.
        """
        charset = parse_options_header(self.content_type)[1].get("charset", "utf-8")
        try:
            return self.body.decode(charset)
        except (ValueError, LookupError) as error:
            raise self._invalid("text", error) from None

    def form(self) -> Form:
        """Decode the body as a form: application/x-www-form-urlencoded or multipart/form-data.

        Raises:
            InvalidBody: it is neither, or broken.
        """
        try:
            return parse(self.content_type, self.body)
        except (ValueError, LookupError) as error:
            raise self._invalid("a form", error) from None

    def _invalid(self, what: str, error: Exception) -> InvalidBody:
        reason = error.reason if isinstance(error, UnicodeDecodeError) else error
        return InvalidBody(
            f"the body of {self.id} is not {what}: {reason} "
            f"({len(self.body)} bytes, content type {self.content_type[:100]!r})"
        )
