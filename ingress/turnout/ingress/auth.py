"""Who calls, and may they? A presented key and a routing key become a decision.

The order decides what an outsider can learn: nothing is said of a trigger before the key is known
to be good, and a trigger of another group looks like one that does not exist.
"""

import base64
import binascii
from typing import NamedTuple
from urllib.parse import unquote_plus

from multidict import CIMultiDictProxy

from turnout.ingress import responses
from turnout.ingress.responses import Refusal
from turnout.shared import keys
from turnout.shared.records import KeyRecord, TriggerRecord

#: Headers that may carry the key. They never reach a flow, whether they did or not.
CREDENTIAL_HEADERS = frozenset({"authorization", "x-api-key"})

QUERY_PARAMETER = "api_key"


class Presented(NamedTuple):
    """The key that a call brought."""

    prefix: str
    """What identifies it in a list: `tk_<id>`."""
    digest: str
    in_query: bool


def presented_key(headers: CIMultiDictProxy[str], query: str) -> Presented | None:
    """Find the API key of a call: Bearer, X-API-Key, the password of Basic, or the query.

    Args:
        headers: of the call.
        query: the raw query string.

    Returns:
        None when there is no key, a malformed one, or two that differ: all look alike from outside.
    """
    texts = list(headers.getall("X-API-Key", ()))
    texts += filter(None, map(_from_authorization, headers.getall("Authorization", ())))
    in_query = False
    if not texts and QUERY_PARAMETER in query:
        texts = [value for name, value in _pairs(query) if name == QUERY_PARAMETER]
        in_query = True
    if not texts or texts.count(texts[0]) != len(texts):
        return None
    text = texts[0]
    if not keys.is_well_formed(text):
        return None
    return Presented(keys.prefix(text), keys.digest(text), in_query)


def query_without_credentials(query: str) -> str:
    """Take the key out of a query string and leave everything else as it was sent."""
    if QUERY_PARAMETER not in query:
        return query
    return "&".join(
        part
        for part, (name, value) in zip(query.split("&"), _pairs(query), strict=True)
        if not (name == QUERY_PARAMETER and keys.is_well_formed(value))
    )


def headers_without_credentials(headers: CIMultiDictProxy[str]) -> tuple[tuple[str, str], ...]:
    """Take away the headers that may carry a key; leave the others, in order, as they were sent."""
    return tuple([each for each in headers.items() if each[0].lower() not in CREDENTIAL_HEADERS])


def decide(
    presented: Presented, key: KeyRecord, trigger: TriggerRecord | None, *, method: str
) -> Refusal | None:
    """Decide about a call whose key is good.

    Args:
        presented: the key that it brought.
        key: the record of that key.
        trigger: the record of the trigger that its URL names, if there is one.
        method: of HTTP.

    Returns:
        Why it is refused, or None.
    """
    refusal = None
    if trigger is None or trigger.group_id != key.group_id:
        # A key in the query is no key at all unless the trigger is known to allow it.
        refusal = responses.BAD_KEY if presented.in_query else responses.NO_TRIGGER
    elif presented.in_query and not trigger.key_in_query:
        refusal = responses.BAD_KEY
    elif (trigger.key_ids is not None and key.key_id not in trigger.key_ids) or (
        key.flow_ids is not None and trigger.flow_id not in key.flow_ids
    ):
        refusal = responses.KEY_NOT_ACCEPTED
    elif not trigger.enabled:
        refusal = responses.TRIGGER_DISABLED
    elif method not in trigger.methods:
        refusal = responses.method_not_allowed(trigger.methods)
    return refusal


def _from_authorization(header: str) -> str:
    """Return the key in an Authorization header, or "" when it has another scheme."""
    scheme, _, value = header.partition(" ")
    value = value.strip()
    match scheme.lower():
        case "bearer":
            return value
        case "basic":
            try:
                credentials = base64.b64decode(value, validate=True).decode()
            except (binascii.Error, UnicodeDecodeError):
                return ""
            return credentials.partition(":")[2]
    return ""


def _pairs(query: str) -> list[tuple[str, str]]:
    """Split a query string, one pair for each part between two "&"."""
    pairs = []
    for part in query.split("&"):
        name, _, value = part.partition("=")
        pairs.append((unquote_plus(name), unquote_plus(value)))
    return pairs
