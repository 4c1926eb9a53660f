"""The settings of a worker."""

from pydantic import Field

from turnout.shared.settings import Settings


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
    shutdown_grace: float = Field(
        30.0, gt=0, description="seconds that runs in progress have to finish when a worker stops"
    )
