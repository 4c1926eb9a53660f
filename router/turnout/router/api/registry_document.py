"""The whole registry as one document: its form, and how it becomes the registry's own nouns."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Annotated, Literal, Self, TypeVar

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from turnout.router.api.body import Answer, Body, Description, Name
from turnout.router.api.limits import Count, GroupLimits, KeyLimits, TriggerLimits
from turnout.router.api.params import KeyId, Moment, TriggerId
from turnout.router.registry import (
    NONE,
    ApiKey,
    ChosenKey,
    Contents,
    Flow,
    Group,
    Method,
    ScopedFlow,
    Trigger,
)
from turnout.shared import ids

VERSION = 1

Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Prefix = Annotated[str, Field(pattern="^tk_[0-9A-Za-z]{10}$")]
RoutingKey = Annotated[str, Field(pattern="^[0-9A-Za-z]{24}$")]


def _known(version: int) -> int:
    """Refuse a document that says more than this version understands."""
    if version != VERSION:
        raise PydanticCustomError(
            "version",
            "this is a document of version {version}, and this router reads version {known}",
            {"version": version, "known": VERSION},
        )
    return version


class Part(Body, Answer):
    """A part of the document: written as it is read."""


class PausePart(Part):
    """Since when no run of a flow starts, and why."""

    since: Moment
    reason: Description


class FlowPart(Part):
    """A flow."""

    id: Annotated[str, Field(pattern=f"^{ids.FLOW}_[0-9a-f]{{32}}$")]
    slug: str
    name: Name
    created_at: Moment
    ordered_by: str | None
    partitions: int | None
    max_running: Count | None
    """Runs in progress at once, over all workers; null: any number."""
    paused: PausePart | None

    @classmethod
    def of(cls, flow: Flow) -> Self:
        """Write a flow."""
        paused = None
        if flow.paused_at is not None:
            paused = PausePart(since=flow.paused_at, reason=flow.paused_reason or "-")
        return cls(
            id=flow.id,
            slug=flow.slug,
            name=flow.name,
            created_at=flow.created_at,
            ordered_by=flow.ordered_by,
            partitions=flow.partitions,
            max_running=flow.max_running,
            paused=paused,
        )

    def value(self, group: "GroupPart") -> Flow:
        """Read it."""
        return Flow(
            id=self.id,
            group_id=group.id,
            group=group.slug,
            slug=self.slug,
            name=self.name,
            created_at=self.created_at,
            paused_at=self.paused.since if self.paused else None,
            paused_reason=self.paused.reason if self.paused else None,
            ordered_by=self.ordered_by,
            partitions=self.partitions,
            max_running=self.max_running,
        )


class SecretPart(Part):
    """What an API key is known by: no text that could be called with."""

    prefix: Prefix
    digest: Digest
    rotated_at: Moment | None


class OldSecretPart(Part):
    """The secret before, while it is good as well."""

    prefix: Prefix
    digest: Digest
    until: Moment


class KeyPart(Part):
    """An API key."""

    id: KeyId
    name: Name
    created_at: Moment
    expires_at: Moment | None
    revoked_at: Moment | None
    revoked_reason: str | None
    flows: list[str] | None
    """Slugs of the flows that it may trigger; null: any of the group."""
    limits: KeyLimits
    secret: SecretPart | None
    """null: a document without secrets. Where there is no such key, it gets a new one."""
    old_secret: OldSecretPart | None

    @classmethod
    def of(cls, key: ApiKey, *, secrets: bool) -> Self:
        """Write a key."""
        secret = old_secret = None
        if secrets:
            secret = SecretPart(prefix=key.prefix, digest=key.digest, rotated_at=key.rotated_at)
            if key.old_prefix and key.old_digest and key.old_until:
                old_secret = OldSecretPart(
                    prefix=key.old_prefix, digest=key.old_digest, until=key.old_until
                )
        return cls(
            id=key.id,
            name=key.name,
            created_at=key.created_at,
            expires_at=key.expires_at,
            revoked_at=key.revoked_at,
            revoked_reason=key.revoked_reason,
            flows=None if key.flows is None else [each.slug for each in key.flows],
            limits=KeyLimits.of(key.limits),
            secret=secret,
            old_secret=old_secret,
        )

    def value(self, group: "GroupPart") -> ApiKey:
        """Read it; what only the registry knows is filled in there."""
        secret, old = self.secret, self.old_secret
        return ApiKey(
            id=self.id,
            group_id=group.id,
            group=group.slug,
            name=self.name,
            prefix=secret.prefix if secret else "",
            digest=secret.digest if secret else "",
            created_at=self.created_at,
            expires_at=self.expires_at,
            rotated_at=secret.rotated_at if secret else None,
            old_prefix=old.prefix if old else None,
            old_digest=old.digest if old else None,
            old_until=old.until if old else None,
            revoked_at=self.revoked_at,
            revoked_reason=self.revoked_reason,
            flows=None
            if self.flows is None
            else tuple(ScopedFlow("", each) for each in self.flows),
            limits=self.limits.value(),
            group_limits=NONE,
        )


class RoutePart(Part):
    """The routing key of a trigger."""

    routing_key: RoutingKey
    rotated_at: Moment | None
    moved: bool
    """Whether it led to another flow before."""


class OldRoutePart(Part):
    """The routing key before, while it is good as well."""

    routing_key: RoutingKey
    until: Moment


class TriggerPart(Part):
    """An HTTP trigger."""

    id: TriggerId
    flow: str
    """The slug."""
    description: Description
    created_at: Moment
    keys: list[str] | None
    """Names of the keys that it accepts; null: any of the group."""
    methods: tuple[Method, ...]
    content_types: tuple[str, ...] | None
    key_in_query: bool
    wait: bool
    enabled: bool
    disabled_reason: str | None
    limits: TriggerLimits
    route: RoutePart | None
    """null: a document without secrets. Where there is no such trigger, it gets a new one."""
    old_route: OldRoutePart | None

    @classmethod
    def of(cls, trigger: Trigger, *, secrets: bool) -> Self:
        """Write a trigger."""
        route = old_route = None
        if secrets:
            route = RoutePart(
                routing_key=trigger.routing_key, rotated_at=trigger.rotated_at, moved=trigger.moved
            )
            if trigger.old_routing_key and trigger.old_until:
                old_route = OldRoutePart(
                    routing_key=trigger.old_routing_key, until=trigger.old_until
                )
        return cls(
            id=trigger.id,
            flow=trigger.flow,
            description=trigger.description,
            created_at=trigger.created_at,
            keys=None if trigger.keys is None else [each.name for each in trigger.keys],
            methods=trigger.methods,  # type: ignore[arg-type] # text in SQL
            content_types=trigger.content_types,
            key_in_query=trigger.key_in_query,
            wait=trigger.wait,
            enabled=trigger.enabled,
            disabled_reason=trigger.disabled_reason,
            limits=TriggerLimits.of(trigger.limits),
            route=route,
            old_route=old_route,
        )

    def value(self, group: "GroupPart") -> Trigger:
        """Read it; what only the registry knows is filled in there."""
        route, old = self.route, self.old_route
        return Trigger(
            id=self.id,
            flow_id="",
            group_id=group.id,
            group=group.slug,
            flow=self.flow,
            description=self.description,
            routing_key=route.routing_key if route else "",
            rotated_at=route.rotated_at if route else None,
            old_routing_key=old.routing_key if old else None,
            old_until=old.until if old else None,
            moved=route is not None and route.moved,
            enabled=self.enabled,
            disabled_reason=self.disabled_reason,
            key_in_query=self.key_in_query,
            created_at=self.created_at,
            live_since=None,
            methods=self.methods,
            wait=self.wait,
            content_types=self.content_types,
            keys=None if self.keys is None else tuple(ChosenKey("", each) for each in self.keys),
            limits=self.limits.value(),
            group_limits=NONE,
            ordered_by=None,
            partitions=None,
        )


class GroupPart(Part):
    """A group and all that belongs to it."""

    id: Annotated[str, Field(pattern=f"^{ids.GROUP}_[0-9a-f]{{32}}$")]
    slug: str
    name: Name
    created_at: Moment
    limits: GroupLimits
    flows: list[FlowPart]
    keys: list[KeyPart]
    triggers: list[TriggerPart]


class RegistryDocument(Part):
    """The whole registry, but for admin tokens."""

    format: Literal["turnout-registry"] = "turnout-registry"
    version: Annotated[int, AfterValidator(_known)] = VERSION
    secrets: bool
    """Whether the hashes of keys and the routing keys are in it: then treat it as a secret."""
    groups: list[GroupPart]

    @classmethod
    def of(cls, contents: Contents, *, secrets: bool) -> Self:
        """Write it."""
        flows, keys = _by_group(contents.flows), _by_group(contents.keys)
        triggers = _by_group(contents.triggers)
        return cls(
            secrets=secrets,
            groups=[
                GroupPart(
                    id=group.id,
                    slug=group.slug,
                    name=group.name,
                    created_at=group.created_at,
                    limits=GroupLimits.of(group.limits),
                    flows=[FlowPart.of(each) for each in flows[group.slug]],
                    keys=[KeyPart.of(each, secrets=secrets) for each in keys[group.slug]],
                    triggers=[
                        TriggerPart.of(each, secrets=secrets) for each in triggers[group.slug]
                    ],
                )
                for group in contents.groups
            ],
        )

    def contents(self) -> Contents:
        """Read it."""
        return Contents(
            groups=[
                Group(each.id, each.slug, each.name, each.created_at, each.limits.value())
                for each in self.groups
            ],
            flows=[each.value(group) for group in self.groups for each in group.flows],
            keys=[each.value(group) for group in self.groups for each in group.keys],
            triggers=[each.value(group) for group in self.groups for each in group.triggers],
        )


_Item = TypeVar("_Item", Flow, ApiKey, Trigger)


def _by_group(items: Iterable[_Item]) -> defaultdict[str, list[_Item]]:
    found: defaultdict[str, list[_Item]] = defaultdict(list)
    for each in items:
        found[each.group].append(each)
    return found
