"""Plan: what an import would make of the registry. Nothing is read or written here.

wanted (of a file) ─┬─▶ is it here?  group: slug, flow: address, key: id, else name, trigger: id
present (of SQL) ───┘       ├── no ────────────────────▶ created, with its id
                            ├── yes, and it differs ───▶ changed
                            ├── yes, and it does not ──▶ unchanged
                            └── it cannot be ──────────▶ refused, with the reason

What is here and not in the file stays. Nothing that was revoked is good again.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal, TypeVar

from turnout.router.registry.change import changed
from turnout.router.registry.errors import (
    Conflict,
    Invalid,
    NotFound,
    RegistryError,
    WrongState,
)
from turnout.router.registry.flows import Flow
from turnout.router.registry.groups import Group, legal_slug
from turnout.router.registry.key import ApiKey, ScopedFlow
from turnout.router.registry.keys import legal_name
from turnout.router.registry.store import now
from turnout.router.registry.trigger import ChosenKey, Trigger
from turnout.router.registry.triggers import legal_content_types, legal_methods
from turnout.shared import keys, ordering
from turnout.shared.errors import InvalidName

Item = Group | Flow | ApiKey | Trigger
Kind = Literal["group", "flow", "key", "trigger"]
Action = Literal["created", "changed", "unchanged", "refused"]

_KINDS: dict[type[Item], Kind] = {
    Group: "group",
    Flow: "flow",
    ApiKey: "key",
    Trigger: "trigger",
}

_Item = TypeVar("_Item", Group, Flow, ApiKey, Trigger)


@dataclass(frozen=True)
class Contents:
    """All that an operator configured, but for admin tokens.

    In a file without secrets, digests and routing keys are empty.
    """

    groups: Sequence[Group]
    flows: Sequence[Flow]
    keys: Sequence[ApiKey]
    triggers: Sequence[Trigger]


@dataclass(frozen=True)
class Step:
    """What becomes of one thing."""

    before: Item | None
    after: Item
    refusal: str | None = None
    """Why it cannot be; None: it can."""
    secret: str | None = field(default=None, repr=False)
    """The text of a key whose secret is new."""

    @property
    def kind(self) -> Kind:
        """Of which kind it is."""
        return _KINDS[type(self.after)]

    @cached_property
    def changes(self) -> tuple[str, ...]:
        """The names of the fields that change."""
        if self.before is None or self.before == self.after:
            return ()
        return changed(self.before, self.after)

    @property
    def action(self) -> Action:
        """What is done."""
        if self.refusal is not None:
            return "refused"
        if self.before is None:
            return "created"
        return "changed" if self.changes else "unchanged"


def plan(wanted: Contents, present: Contents) -> list[Step]:
    """Say what becomes of everything that is wanted, in the order in which it can be written."""
    planner = _Planner(present)
    planner.add(wanted.groups, planner.group)
    planner.add(wanted.flows, planner.flow)
    planner.add(wanted.keys, planner.key)
    planner.add(wanted.triggers, planner.trigger)
    return planner.steps


class _Planner:
    """Works through what is wanted; what it has planned counts as present."""

    def __init__(self, present: Contents) -> None:
        self.steps: list[Step] = []
        self._secret: str | None = None
        self._seen: set[str] = set()
        everything: list[Item] = [
            *present.groups,
            *present.flows,
            *present.keys,
            *present.triggers,
        ]
        self._by_id = {each.id: each for each in everything}
        self._groups = {each.slug: each for each in present.groups}
        self._flows = {each.address: each for each in present.flows}
        self._keys = {(each.group, each.name): each for each in present.keys}
        # Whose each digest and routing key is.
        self._claims = {claim: each for each in everything for claim in _claims(each)}

    def add(
        self, wanted: Iterable[_Item], resolve: Callable[[_Item], tuple[_Item | None, _Item]]
    ) -> None:
        """Plan what is wanted of one kind."""
        for each in wanted:
            self._secret = None
            try:
                before, after = resolve(each)
                self._take(before, after)
            except RegistryError as error:
                self.steps.append(Step(None, each, refusal=str(error)))
            else:
                self.steps.append(Step(before, after, secret=self._secret))

    def group(self, wanted: Group) -> tuple[Group | None, Group]:
        """Plan a group."""
        legal_slug(wanted.slug)
        wanted.limits.check()
        before = self._groups.get(wanted.slug)
        if before is not None:
            wanted = replace(wanted, id=before.id, created_at=before.created_at)
        self._groups[wanted.slug] = wanted
        return before, wanted

    def flow(self, wanted: Flow) -> tuple[Flow | None, Flow]:
        """Plan a flow."""
        legal_slug(wanted.slug)
        try:
            ordering.count(wanted.ordered_by, wanted.partitions)
        except InvalidName as error:
            raise Invalid("ordered_by", str(error)) from None
        before = self._flows.get(wanted.address)
        after = replace(wanted, group_id=self._group(wanted.group).id)
        if before is not None:
            order = (before.ordered_by, before.partitions)
            if order != (wanted.ordered_by, wanted.partitions):
                raise WrongState("the order of a flow never changes, and here it has another one")
            after = replace(after, id=before.id, created_at=before.created_at)
        self._flows[after.address] = after
        return before, after

    def key(self, wanted: ApiKey) -> tuple[ApiKey | None, ApiKey]:
        """Plan an API key."""
        legal_name(wanted.name)
        wanted.limits.check()
        named = self._keys.get((wanted.group, wanted.name))
        before = self._known(wanted) or named
        if before is not None and named is not None and named is not before:
            raise Conflict("another key of the group has its name here")
        group = self._group(wanted.group)
        after = replace(
            wanted,
            group_id=group.id,
            flows=None
            if wanted.flows is None
            else tuple(sorted(self._scoped(wanted.group, each.slug) for each in wanted.flows)),
        )
        if before is None:
            after = self._with_secret(replace(after, group_limits=group.limits))
        else:
            if before.revoked_at is not None and after.revoked_at is None:
                raise WrongState("it is revoked here, and no import lets it be good again")
            after = replace(after, id=before.id, group_limits=before.group_limits)
            if not wanted.digest:
                after = replace(
                    after,
                    created_at=before.created_at,
                    prefix=before.prefix,
                    digest=before.digest,
                    rotated_at=before.rotated_at,
                    old_prefix=before.old_prefix,
                    old_digest=before.old_digest,
                    old_until=before.old_until,
                )
            self._keys.pop((before.group, before.name), None)
        self._keys[after.group, after.name] = after
        return before, after

    def trigger(self, wanted: Trigger) -> tuple[Trigger | None, Trigger]:
        """Plan an HTTP trigger."""
        wanted.limits.check()
        flow = self._flow(wanted.address)
        content_types = legal_content_types(wanted.content_types)
        after = replace(
            wanted,
            flow_id=flow.id,
            group_id=flow.group_id,
            ordered_by=flow.ordered_by,
            partitions=flow.partitions,
            methods=tuple(legal_methods(wanted.methods)),
            content_types=None if content_types is None else tuple(content_types),
            keys=None
            if wanted.keys is None
            else tuple(sorted(self._chosen(wanted.group, each.name) for each in wanted.keys)),
        )
        before = self._known(wanted)
        if before is None:
            above = self._group(wanted.group).limits
            inherited = replace(above, rate=None, burst=None, in_flight=None)
            after = replace(after, group_limits=inherited)
            if not wanted.routing_key:
                after = replace(after, routing_key=keys.new_routing_key())
            return None, after
        if before.flow_id != flow.id:
            raise WrongState(
                f"it leads to flow {before.address} here: move it first "
                f"(turnout trigger move {before.id} {wanted.address})"
            )
        after = replace(
            after,
            group_limits=before.group_limits,
            created_at=before.created_at,
            moved=before.moved,
            live_since=before.live_since,
        )
        if not wanted.routing_key:
            after = replace(
                after,
                routing_key=before.routing_key,
                rotated_at=before.rotated_at,
                old_routing_key=before.old_routing_key,
                old_until=before.old_until,
            )
        elif after.routing_keys != before.routing_keys:
            after = replace(after, live_since=None)  # until these are bound, nobody calls by them
        return before, after

    def _take(self, before: Item | None, after: Item) -> None:
        """Make sure that nothing else has what a thing claims for itself.

        Raises:
            Conflict: something has.
        """
        if after.id in self._seen:
            raise Conflict("it is in the file twice")
        if before is None and (other := self._by_id.get(after.id)):
            raise Conflict(f"its id belongs to {other.label!r} here")
        for claim in _claims(after):
            owner = self._claims.get(claim)
            if owner is not None and owner.id != after.id:
                raise Conflict(f"its secret belongs to {owner.label!r}")
        self._seen.add(after.id)
        self._claims |= dict.fromkeys(_claims(after), after)

    def _known(self, wanted: _Item) -> _Item | None:
        """Return what has this id, if it is of the same kind and group."""
        found = self._by_id.get(wanted.id)
        return found if type(found) is type(wanted) and found.group == wanted.group else None

    def _with_secret(self, key: ApiKey) -> ApiKey:
        """Give a new key a secret, unless the file had one; a revoked one is told to nobody."""
        if key.digest:
            return key
        secret = keys.new_key()
        if key.revoked_at is None:
            self._secret = secret.text
        return replace(key, prefix=secret.prefix, digest=secret.digest, created_at=now())

    def _group(self, slug: str) -> Group:
        if slug not in self._groups:
            raise NotFound("group", slug)
        return self._groups[slug]

    def _flow(self, address: str) -> Flow:
        if address not in self._flows:
            raise NotFound("flow", address)
        return self._flows[address]

    def _scoped(self, group: str, slug: str) -> ScopedFlow:
        return ScopedFlow(self._flow(f"{group}/{slug}").id, slug)

    def _chosen(self, group: str, name: str) -> ChosenKey:
        if (group, name) not in self._keys:
            raise NotFound("key", name)
        return ChosenKey(self._keys[group, name].id, name)


def _claims(item: Item) -> list[str]:
    """Return what nothing else may have: digests, routing keys."""
    match item:
        case ApiKey():
            return [each for each in (item.digest, item.old_digest) if each]
        case Trigger():
            return [each for each in (item.routing_key, item.old_routing_key) if each]
        case _:
            return []
