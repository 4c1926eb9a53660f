"""The tables of the registry, and what several routers agree on in SQL.

Whoever writes a table of the registry moves its revision, which `Database.writing` sees to; a table
from which neither topology nor projection follows says so with `APART`.

A change here goes together with a migration under `migrations/versions/`; a test holds both
against each other.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
    true,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class UtcDateTime(TypeDecorator[datetime]):
    """A moment: aware and in UTC in Python, whatever the database makes of time zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Write it in UTC.

        Raises:
            ValueError: it has no time zone.
        """
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Read it as UTC: SQLite keeps no time zone."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


#: The `info` of a table whose rows topology and projection do not follow from.
APART = {"apart": True}


class Base(DeclarativeBase):
    """All tables. Constraints have names, so that a later migration can drop them on SQLite too."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's own form
        datetime: UtcDateTime(),
        list[str]: JSON(none_as_null=True),
        dict[str, Any]: JSON(none_as_null=True),
    }


class Group(Base):
    """Owns flows and API keys; its limits are those of each of its keys and triggers."""

    __tablename__ = "groups"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    slug: Mapped[str] = mapped_column(String(40), unique=True)
    name: Mapped[str] = mapped_column(String(100))
    created_at: Mapped[datetime]
    rate: Mapped[float | None]
    burst: Mapped[int | None]
    in_flight: Mapped[int | None]
    max_body_bytes: Mapped[int | None]
    max_header_bytes: Mapped[int | None]
    read_timeout: Mapped[float | None]


class Flow(Base):
    """Code that runs, addressed by group and slug."""

    __tablename__ = "flows"
    __table_args__ = (UniqueConstraint("group_id", "slug"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    group_id: Mapped[str] = mapped_column(ForeignKey("groups.id"))
    slug: Mapped[str] = mapped_column(String(40))
    name: Mapped[str] = mapped_column(String(100))
    created_at: Mapped[datetime]
    paused_at: Mapped[datetime | None]
    paused_reason: Mapped[str | None] = mapped_column(String(500))
    ordered_by: Mapped[str | None] = mapped_column(String(200))
    """Where the key stands in the body, if runs of one key go one after the other."""
    partitions: Mapped[int | None]
    """How many queues an ordered flow has."""
    max_running: Mapped[int | None]
    """How many of its runs may be in progress at once, over all workers."""


class Cancellation(Base):
    """Runs of a flow that must not start any more: one, or all that were made before it."""

    __tablename__ = "cancellations"

    flow_id: Mapped[str] = mapped_column(ForeignKey("flows.id"), primary_key=True)
    run: Mapped[str] = mapped_column(String(36), primary_key=True)
    """The id of one, or "*"."""
    reason: Mapped[str] = mapped_column(String(500))
    created_at: Mapped[datetime]


class ApiKey(Base):
    """Proves that a caller may trigger the flows of a group; only its digest is kept."""

    __tablename__ = "api_keys"
    __table_args__ = (UniqueConstraint("group_id", "name"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    group_id: Mapped[str] = mapped_column(ForeignKey("groups.id"))
    name: Mapped[str] = mapped_column(String(100))
    prefix: Mapped[str] = mapped_column(String(13))
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    rotated_at: Mapped[datetime | None]
    """When its present secret was made, if that is not its first."""
    old_prefix: Mapped[str | None] = mapped_column(String(13))
    """This and the following: of the secret before, which is good until then."""
    old_digest: Mapped[str | None] = mapped_column(String(64))
    old_until: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    revoked_reason: Mapped[str | None] = mapped_column(String(500))
    any_flow: Mapped[bool] = mapped_column(server_default=true())
    """May trigger any flow of the group; otherwise those that `key_flows` lists."""
    rate: Mapped[float | None]
    burst: Mapped[int | None]
    in_flight: Mapped[int | None]


class KeyFlow(Base):
    """One flow of the scope of one key."""

    __tablename__ = "key_flows"

    key_id: Mapped[str] = mapped_column(
        ForeignKey("api_keys.id", ondelete="CASCADE"), primary_key=True
    )
    flow_id: Mapped[str] = mapped_column(
        ForeignKey("flows.id", ondelete="CASCADE"), primary_key=True, index=True
    )


class Trigger(Base):
    """A configured entry point of one flow."""

    __tablename__ = "triggers"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    flow_id: Mapped[str] = mapped_column(ForeignKey("flows.id"), index=True)
    description: Mapped[str] = mapped_column(String(500))
    routing_key: Mapped[str] = mapped_column(String(24), unique=True)
    rotated_at: Mapped[datetime | None]
    """When its present routing key was made, if that is not its first."""
    old_routing_key: Mapped[str | None] = mapped_column(String(24))
    """The one before, which is good until the moment below."""
    old_until: Mapped[datetime | None]
    moved: Mapped[bool] = mapped_column(server_default=false())
    """Whether it led to another flow before: see `names.route`."""
    enabled: Mapped[bool]
    disabled_reason: Mapped[str | None] = mapped_column(String(500))
    methods: Mapped[list[str]]
    wait: Mapped[bool] = mapped_column(server_default=false())
    """Whether a caller may wait for the result of the flow."""
    content_types: Mapped[list[str] | None]
    """What it accepts; None: anything."""
    key_in_query: Mapped[bool]
    any_key: Mapped[bool]
    """Accepts any key of the group; otherwise those that `trigger_keys` lists."""
    created_at: Mapped[datetime]
    live_since: Mapped[datetime | None]
    """When its queue and binding were first seen at the broker."""
    rate: Mapped[float | None]
    burst: Mapped[int | None]
    max_body_bytes: Mapped[int | None]
    max_header_bytes: Mapped[int | None]
    read_timeout: Mapped[float | None]


class TriggerKey(Base):
    """One key of the chosen list of one trigger."""

    __tablename__ = "trigger_keys"

    trigger_id: Mapped[str] = mapped_column(
        ForeignKey("triggers.id", ondelete="CASCADE"), primary_key=True
    )
    key_id: Mapped[str] = mapped_column(
        ForeignKey("api_keys.id", ondelete="CASCADE"), primary_key=True, index=True
    )


class AdminToken(Base):
    """Opens the admin API, as far as its role and its groups allow; only its digest is kept."""

    __tablename__ = "admin_tokens"
    __table_args__ = ({"info": APART},)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    prefix: Mapped[str] = mapped_column(String(13))
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime]
    role: Mapped[str] = mapped_column(String(10), server_default="admin")
    groups: Mapped[list[str] | None]
    """Slugs of the groups that it is limited to; null: all."""
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class AuditEntry(Base):
    """One change that somebody made."""

    __tablename__ = "audit_log"
    __table_args__ = (
        Index(None, "group", "id"),
        Index(None, "object_id", "id"),
        {"info": APART},
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    at: Mapped[datetime]
    actor_id: Mapped[str] = mapped_column(String(36))
    """Of the admin token; "router": of itself."""
    actor_name: Mapped[str] = mapped_column(String(100))
    remote: Mapped[str | None] = mapped_column(String(100))
    reason: Mapped[str | None] = mapped_column(String(500))
    verb: Mapped[str] = mapped_column(String(40))
    """The noun's kind and the verb: "key.revoke"."""
    object_id: Mapped[str] = mapped_column(String(36))
    label: Mapped[str] = mapped_column(String(650))
    group: Mapped[str | None] = mapped_column(String(40))
    """The slug of the group that it belongs to; null: to none."""
    before: Mapped[dict[str, Any] | None]
    """What it was, as far as it is otherwise now; null: it is new."""
    after: Mapped[dict[str, Any] | None]
    """null: it is gone."""


class IdempotencyKey(Base):
    """A request to the admin API that has made something, and makes it once if it comes again."""

    __tablename__ = "idempotency_keys"
    __table_args__ = ({"info": APART},)

    token_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    """Hex SHA-256, as the following."""
    request: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(index=True)
    status: Mapped[int | None]
    """Of the answer; this and the following are null until that is known."""
    etag: Mapped[str | None] = mapped_column(String(16))
    body: Mapped[str | None] = mapped_column(Text)
    """Of the answer, without secrets."""


class Revision(Base):
    """One row: how often the registry was changed."""

    __tablename__ = "revision"
    __table_args__ = ({"info": APART},)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(BigInteger)


class Lease(Base):
    """One row: which router is the active one."""

    __tablename__ = "lease"
    __table_args__ = ({"info": APART},)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    holder: Mapped[str] = mapped_column(String(200))
    """The process; empty: nobody."""
    epoch: Mapped[int] = mapped_column(BigInteger)
    """One more with each holder: what an earlier one still writes is known by it."""
    beat: Mapped[int] = mapped_column(BigInteger)
    """One more with each sign of life."""
