"""Settings: read from the environment once, checked as a whole before any socket is opened.

Every setting is an environment variable with the prefix `TURNOUT_`. A file named after the
variable in lower case, in the directory that `TURNOUT_SECRETS_DIR` names, does as well: that is how
Docker and Kubernetes hand out secrets.
"""

import os
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from turnout.shared.errors import SettingsError


def _split(urls: SecretStr) -> tuple[str, ...]:
    return tuple(url.strip() for url in urls.get_secret_value().split(",") if url.strip())


class Settings(BaseSettings):
    """What every service needs. Each service adds its own."""

    model_config = SettingsConfigDict(env_prefix="TURNOUT_", extra="ignore", frozen=True)

    amqp_url: SecretStr = Field(
        SecretStr("amqp://guest:guest@127.0.0.1:5672/"),
        description="RabbitMQ: amqp[s]://user:password@host:port/vhost, several with commas",
    )
    redis_url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"),
        description="Redis: redis[s]://[user:password@]host:port/database",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="the least severe lines that are logged"
    )
    log_format: Literal["console", "json"] = Field(
        "json", description="json for collectors, console for people"
    )

    metrics_host: str = Field("127.0.0.1", description="the address on which metrics are served")
    metrics_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="its port, of several processes that of the first; 0: none are served",
    )

    @property
    def amqp_urls(self) -> tuple[str, ...]:
        """The broker's addresses, in the order in which they are tried."""
        return _split(self.amqp_url)

    @field_validator("amqp_url")
    @classmethod
    def _amqp(cls, value: SecretStr) -> SecretStr:
        urls = _split(value)
        if not urls or not all(url.startswith(("amqp://", "amqps://")) for url in urls):
            raise ValueError("each address starts with amqp:// or amqps://")
        return value

    @field_validator("redis_url")
    @classmethod
    def _redis(cls, value: SecretStr) -> SecretStr:
        if not value.get_secret_value().startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("the address starts with redis://, rediss:// or unix://")
        return value


SettingsType = TypeVar("SettingsType", bound=BaseSettings)


def load(cls: type[SettingsType], **given: object) -> SettingsType:
    """Read and check the settings of a service.

    Args:
        cls: the service's settings class.
        given: values that come before the environment, for example from command-line options;
            those that are None are left to the environment.

    Raises:
        SettingsError: names every setting that is wrong, and why, without its value.
    """
    present = {name: value for name, value in given.items() if value is not None}
    directory = os.environ.get("TURNOUT_SECRETS_DIR")
    if directory and not Path(directory).is_dir():
        raise SettingsError(f"TURNOUT_SECRETS_DIR: there is no directory {directory}")
    try:
        return cls(_secrets_dir=directory, **present)  # type: ignore[arg-type]
    except ValidationError as error:
        lines = [
            f"TURNOUT_{'.'.join(map(str, each['loc'])).upper()}: {each['msg']}"
            for each in error.errors(include_input=False, include_url=False)
        ]
        raise SettingsError("\n".join(lines)) from None
