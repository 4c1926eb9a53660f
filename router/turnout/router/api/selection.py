"""Which of the counted calls a request asks for, and whose each was."""

from collections.abc import Callable, Collection
from typing import NamedTuple, Self, TypeVar

from turnout.router.api.body import Answer
from turnout.router.api.call import Call
from turnout.router.api.control import REGISTRY
from turnout.router.api.params import Text
from turnout.router.api.path import Query
from turnout.router.registry import ApiKey, Directory, Invalid, NotFound, Trigger
from turnout.shared import ids, names
from turnout.shared.errors import InvalidName

_Legal = TypeVar("_Legal")


class PartyQuery(Query):
    """Which calls are wanted; all conditions hold together."""

    group: Text | None = None
    flow: Text | None = None
    """The address: "group/flow"."""
    trigger: Text | None = None
    """Its id."""
    key: Text | None = None
    """Its id, name or prefix."""


class Party(NamedTuple):
    """Whose a call was. An id is empty, a key or trigger None, when it is not known."""

    trigger_id: str
    key_id: str
    trigger: Trigger | None
    key: ApiKey | None


class TriggerName(Answer):
    """The trigger of a call; without a description if the registry does not know it."""

    id: str
    description: str | None

    @classmethod
    def of(cls, trigger_id: str, trigger: Trigger | None) -> Self:
        """Show which trigger it was."""
        return cls(id=trigger_id, description=None if trigger is None else trigger.description)


class KeyName(Answer):
    """The key of a call; without a name if the registry does not know it."""

    id: str
    name: str | None

    @classmethod
    def of(cls, key_id: str, key: ApiKey | None) -> Self:
        """Show which key it was."""
        return cls(id=key_id, name=None if key is None else key.name)


class PartyAnswer(Answer):
    """Whose a call was, as far as that is known."""

    group: str | None
    """The key's, or else the trigger's."""
    flow: str | None
    """The address: "group/flow"."""
    trigger: TriggerName | None
    key: KeyName | None

    @classmethod
    def of(cls, party: Party, /, **more: object) -> Self:
        """Show whose a call was, and what else the answer holds."""
        trigger_id, key_id, trigger, key = party
        owner = key or trigger
        return cls.model_validate(
            {
                "group": None if owner is None else owner.group,
                "flow": None if trigger is None else trigger.address,
                "trigger": TriggerName.of(trigger_id, trigger) if trigger_id else None,
                "key": KeyName.of(key_id, key) if key_id else None,
                **more,
            }
        )


class Selection:
    """The conditions of a request over what the registry knows.

    Args:
        query: the conditions; what they name exists.
        directory: who is who.
        groups: slugs of the groups that are looked at; None: all, and what is of none.
    """

    def __init__(
        self, query: PartyQuery, directory: Directory, groups: Collection[str] | None
    ) -> None:
        self._query = query
        self._directory = directory
        self._groups = groups

    @classmethod
    async def of(cls, query: PartyQuery, call: Call) -> Self:
        """Check the conditions, for the groups that the token may see.

        Raises:
            Invalid: the group is no slug, or the flow no address.
            NotFound: something that they name does not exist.
        """
        registry = call.registry
        if query.group is not None:
            group = legal("group", names.slug, query.group)
            call.require(group, "group", group)
            await registry.group(group)
        if query.flow is not None:
            group, flow = legal("flow", names.flow_address, query.flow)
            call.require(group, "flow", query.flow)
            await registry.flow(group, flow)
        if query.trigger is not None:
            trigger = await registry.trigger(query.trigger)
            call.require(trigger.group, "trigger", query.trigger)
        snapshot = await call.app[REGISTRY].snapshot()  # which this one keeps
        if query.key is not None and not any(
            _is(query.key, key) and call.sees(key.group) for key in snapshot.keys
        ):
            raise NotFound("key", query.key)
        return cls(query, Directory(snapshot.keys, snapshot.triggers), call.groups)

    def party(self, trigger_id: str, key_id: str, *, route: str = "", prefix: str = "") -> Party:
        """Find out whose a call was."""
        trigger = self._directory.trigger(trigger_id, route)
        key = self._directory.key(key_id, prefix)
        return Party(
            trigger_id or (trigger.id if trigger else ""),
            key_id or (key.id if key else ""),
            trigger,
            key,
        )

    def takes(self, party: Party) -> bool:
        """Tell whether a call of this party is wanted."""
        query, trigger, key = self._query, party.trigger, party.key
        groups = {each.group for each in (trigger, key) if each}
        return (
            (self._groups is None or (bool(groups) and groups <= set(self._groups)))
            and (query.group is None or query.group in groups)
            and (query.flow is None or (trigger is not None and trigger.address == query.flow))
            and (query.trigger is None or party.trigger_id == query.trigger)
            and (query.key is None or (key is not None and _is(query.key, key)))
        )


async def key_called(label: str, call: Call) -> str:
    """Return the id of the key with this id, name or prefix; an id need not exist any more.

    Raises:
        NotFound: there is none that the token may see.
    """
    keys = (await call.app[REGISTRY].snapshot()).keys
    found = [key.id for key in keys if _is(label, key) and call.sees(key.group)]
    if not found and not label.startswith(f"{ids.KEY}_"):
        raise NotFound("key", label)
    return found[0] if found else label


def legal(field: str, check: Callable[[str], _Legal], value: str) -> _Legal:
    """Check a name that a query holds.

    Raises:
        Invalid: it is not legal.
    """
    try:
        return check(value)
    except InvalidName as error:
        raise Invalid(field, str(error)) from None


def _is(label: str, key: ApiKey) -> bool:
    return label in {key.id, key.name, key.prefix}
