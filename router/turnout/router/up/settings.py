"""The settings of `turnout up`: those of the services that people change on their own machine."""

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict
from yarl import URL

from turnout.router.nodes.rabbitmq import RabbitMQ


class UpSettings(BaseSettings):
    """What is not set is found, started or made."""

    model_config = SettingsConfigDict(env_prefix="TURNOUT_", extra="ignore", frozen=True)

    amqp_url: SecretStr | None = Field(
        None, description="RabbitMQ, if it is not to be started: amqp[s]://user:password@host/vhost"
    )
    management_url: SecretStr | None = Field(
        None, description="the management API of that RabbitMQ; default: its port 15672"
    )
    redis_url: SecretStr | None = Field(
        None, description="Redis, if it is not to be started: redis://:password@host:port/database"
    )
    database_url: SecretStr | None = Field(
        None, description="the registry; default: SQLite in the directory of `turnout up`"
    )
    delivery_timeout: float = Field(
        RabbitMQ.delivery_timeout,
        gt=0,
        description="seconds after which the RabbitMQ that is started takes a message back",
    )
    ingress_host: str = Field("127.0.0.1", description="where ingress listens")
    ingress_port: int = Field(8080, ge=1, le=65535, description="where ingress listens")
    admin_host: str = Field("127.0.0.1", description="where the admin API listens")
    admin_port: int = Field(8081, ge=1, le=65535, description="where the admin API listens")
    public_url: str | None = Field(
        None, description="how senders reach ingress; default: where it listens"
    )
    admin_token: SecretStr | None = Field(
        None, description="the token of the admin API; default: one that is made once"
    )

    @property
    def ingress_url(self) -> str:
        """Where this machine reaches ingress."""
        return _local_url(self.ingress_host, self.ingress_port)

    @property
    def admin_url(self) -> str:
        """Where this machine reaches the admin API."""
        return _local_url(self.admin_host, self.admin_port)


def _local_url(host: str, port: int) -> str:
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - read, not bound
    return str(URL.build(scheme="http", host=everywhere.get(host, host), port=port))
