"""Directory: whose a call was, from the little that ingress tells of it."""

from turnout.router.registry.key import ApiKey
from turnout.router.registry.trigger import Trigger
from turnout.shared import names


class Directory:
    """Finds keys and triggers.

    Args:
        keys: all of the registry.
        triggers: all of the registry.
    """

    def __init__(self, keys: tuple[ApiKey, ...], triggers: tuple[Trigger, ...]) -> None:
        self._keys = {
            name: key for key in keys for name in (key.id, key.prefix, key.old_prefix) if name
        }
        self._triggers: dict[str, Trigger | None] = {each.id: each for each in triggers}
        for each in triggers:
            for routing_key in filter(None, (each.routing_key, each.old_routing_key)):
                route = names.redact(routing_key)
                # Two that begin alike cannot be told apart.
                self._triggers[route] = None if route in self._triggers else each

    def key(self, key_id: str, prefix: str = "") -> ApiKey | None:
        """Find a key by its id or else by its prefix."""
        return self._keys.get(key_id or prefix)

    def trigger(self, trigger_id: str, route: str = "") -> Trigger | None:
        """Find a trigger by its id or else by the first characters of its routing key."""
        return self._triggers.get(trigger_id or names.redact(route))
