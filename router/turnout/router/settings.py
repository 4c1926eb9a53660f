"""The settings of the router."""

import ipaddress
from pathlib import Path

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from turnout.router import database
from turnout.shared import keys
from turnout.shared.settings import Settings


class RouterSettings(Settings):
    """What the control plane needs beyond the addresses of broker and cache."""

    database_url: SecretStr = Field(
        SecretStr("sqlite+aiosqlite:///turnout.db"),
        description="registry and history: sqlite+aiosqlite:///file or postgresql+asyncpg://…",
    )
    management_url: SecretStr | None = Field(
        None, description="RabbitMQ's management API: http[s]://user:password@host:port"
    )
    public_url: str = Field(
        "http://127.0.0.1:8080", description="where senders reach ingress: the start of every URL"
    )
    auto_register: bool = Field(
        False, description="register the flows that running workers announce"
    )
    archive_max_age: str = Field(
        "7D",
        pattern=r"^\d+[YMDhms]$",
        description="how long the archive keeps events: a number and Y, M, D, h, m or s",
    )
    archive_max_bytes: int = Field(
        10_000_000_000, ge=1_000_000, description="how large the archive becomes before that"
    )
    outcomes_max_bytes: int = Field(
        2_000_000_000, ge=1_000_000, description="how large the stream of outcomes becomes"
    )
    history_max_days: int = Field(
        30, ge=1, description="how many days the history keeps runs that have ended"
    )
    history_max_bytes: int = Field(
        10_000_000_000, ge=10_000_000, description="how large the history becomes before that"
    )
    settled_max_bytes: int = Field(
        1_000_000_000,
        ge=0,
        description="how large the payloads of replayed and discarded dead letters become; these "
        "and replays that have ended are kept for as many days as the history",
    )
    audit_max_days: int = Field(
        365, ge=1, description="how many days the audit log keeps what was changed"
    )
    admin_tls_certificate: Path | None = Field(
        None, description="a file: the certificate that the admin API shows, and its chain, in PEM"
    )
    admin_tls_key: Path | None = Field(
        None,
        validate_default=True,
        description="a file: the private key of that certificate, in PEM, without a password",
    )
    admin_allow_remote: bool = Field(
        False, description="let the admin API listen beyond this machine without TLS"
    )
    admin_host: str = Field("127.0.0.1", description="the address the admin API listens on")
    admin_port: int = Field(8081, ge=0, le=65535, description="0 takes a free port")
    admin_token: SecretStr | None = Field(
        None, description="a token that the admin API accepts: ta_…, as `turnout` makes it"
    )

    @field_validator("database_url")
    @classmethod
    def _database(cls, value: SecretStr) -> SecretStr:
        database.parse_url(value.get_secret_value())
        return value

    @field_validator("management_url")
    @classmethod
    def _management(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            _require_http(value.get_secret_value())
        return value

    @field_validator("public_url")
    @classmethod
    def _public(cls, value: str) -> str:
        _require_http(value)
        return value.rstrip("/")

    @field_validator("admin_host")
    @classmethod
    def _loopback_unless_allowed(cls, value: str, info: ValidationInfo) -> str:
        allowed = info.data.get("admin_allow_remote") or info.data.get("admin_tls_key")
        if not _is_loopback(value) and not allowed:
            raise ValueError(
                "to listen beyond this machine, set TURNOUT_ADMIN_TLS_CERTIFICATE and "
                "TURNOUT_ADMIN_TLS_KEY; or, behind something that does TLS, "
                "TURNOUT_ADMIN_ALLOW_REMOTE=true"
            )
        return value

    @field_validator("admin_tls_key")
    @classmethod
    def _both(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if (value is None) != (info.data.get("admin_tls_certificate") is None):
            raise ValueError("set TURNOUT_ADMIN_TLS_CERTIFICATE and TURNOUT_ADMIN_TLS_KEY, or none")
        return value

    @field_validator("admin_token")
    @classmethod
    def _well_formed(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not keys.is_well_formed(
            value.get_secret_value(), keys.ADMIN_TOKEN
        ):
            raise ValueError("an admin token has the form ta_<10 characters>_<38 characters>")
        return value


def _require_http(url: str) -> None:
    if not url.startswith(("http://", "https://")):
        raise ValueError("the address starts with http:// or https://")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
