"""The settings of a worker."""

from pydantic import Field

from turnout.shared.settings import Settings

#: The part of the broker's delivery timeout that an attempt may take. RabbitMQ counts from the
#: delivery, which may have waited for a slot before.
TIMEOUT_SHARE = 0.9


class WorkerSettings(Settings):
    """What a worker needs beyond the addresses of broker and cache."""

    concurrency: int = Field(
        100,
        ge=1,
        le=10_000,
        description="how many runs of each flow are in progress at once in one process, unless "
        "the flow says; of a plain function at most 32, in processes of its own at most one for "
        "each core",
    )
    runs: int = Field(
        1000,
        ge=1,
        le=100_000,
        description="how many runs of all flows together are in progress at once in one process",
    )
    delivery_timeout: float = Field(
        1800.0,
        gt=0,
        description="seconds after which RabbitMQ takes an unacknowledged message back: its "
        "consumer_timeout; an attempt may take nine tenths of it",
    )
    idempotency_lifetime: float = Field(
        86_400.0,
        gt=0,
        description="seconds for which it is remembered which run an idempotency key belongs to",
    )
    shutdown_grace: float = Field(
        30.0, gt=0, description="seconds that runs in progress have to finish when a worker stops"
    )
