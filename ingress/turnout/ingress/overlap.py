"""Who still calls with what was replaced: with the old secret of a key, by an old routing key."""

import ipaddress
import re

from turnout.ingress.call import Call
from turnout.ingress.counts import Counts
from turnout.shared.records import KeyRecord, TriggerRecord

#: Callers of one rotation that one process tells apart; who comes after them is "*".
_MOST = 100

#: Rotations of which callers are told apart: the latest to have any. Overlaps end, processes go on.
_MOST_ROTATIONS = 1000

#: The first product that a User-Agent names.
_PRODUCT = re.compile(r"[!-~]{1,40}")


class Overlaps:
    """Counts such calls.

    Args:
        counts: writes to the cache.
    """

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._callers: dict[tuple[str, float], set[tuple[str, str]]] = {}

    def note(self, call: Call, key: KeyRecord, trigger: TriggerRecord) -> None:
        """Count a call whose key or trigger has been rotated, for each of both that has."""
        caller = _network(call.remote), _agent(call.headers.get("User-Agent"))
        for identifier, since in (
            (key.key_id, key.old_since),
            (trigger.trigger_id, trigger.old_since),
        ):
            if since is not None:
                who = " ".join((trigger.trigger_id, *self._bounded((identifier, since), caller)))
                self._counts.overlapped(identifier, since, who)

    def _bounded(self, rotation: tuple[str, float], caller: tuple[str, str]) -> tuple[str, str]:
        callers = self._callers[rotation] = self._callers.pop(rotation, set())
        if len(self._callers) > _MOST_ROTATIONS:
            del self._callers[next(iter(self._callers))]
        if caller not in callers:
            if len(callers) >= _MOST:
                return "*", "*"
            callers.add(caller)
        return caller


def _network(remote: str) -> str:
    """Shorten an address to its network: /24, or /48 of IPv6."""
    try:
        address = ipaddress.ip_address(remote)
    except ValueError:
        return "-"
    length = 24 if address.version == 4 else 48
    return str(ipaddress.ip_network((address, length), strict=False))


def _agent(header: str | None) -> str:
    """Shorten a User-Agent to its first product, for example "python-requests/2.32"."""
    match = _PRODUCT.match(header or "")
    return match[0] if match else "-"
