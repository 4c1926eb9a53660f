"""Settings of the ingress."""

from pydantic import Field

from turnout.shared.settings import Settings


class IngressSettings(Settings):
    """What the ingress needs besides the addresses of broker and cache."""

    ingress_host: str = Field("127.0.0.1", description="the address on which calls are taken")
    ingress_port: int = Field(8080, ge=0, le=65535, description="its port")
    max_body_bytes: int = Field(
        8 * 1024 * 1024, ge=0, le=15 * 1024 * 1024, description="the largest body of a call"
    )
    max_header_bytes: int = Field(
        8190, ge=1024, le=65536, description="the longest URL, and the longest header, of a call"
    )
    keep_alive: float = Field(
        75.0,
        gt=0,
        description="seconds after which a connection without a call is closed, and in which the "
        "head of one must have come",
    )
    read_timeout: float = Field(
        30.0, gt=0, le=600, description="seconds in which the body of a call must have come"
    )
    max_buffered_bytes: int = Field(
        256 * 1024 * 1024,
        ge=15 * 1024 * 1024,
        description="of bodies, in one process, at the same time; calls beyond are answered 503",
    )
    rate_per_key: float = Field(
        0.0, ge=0, description="calls a second of one API key; 0: any number"
    )
    rate_per_trigger: float = Field(
        0.0, ge=0, description="calls a second of one trigger; 0: any number"
    )
    in_flight_per_key: int = Field(
        1000, ge=1, description="calls of one API key under way in one process at the same time"
    )
    idempotency_lifetime: float = Field(
        86400.0, gt=0, description="seconds for which an idempotency key is remembered"
    )
    wait_limit: int = Field(
        30, ge=1, le=600, description="seconds that a caller may wait for the result of a flow"
    )
    max_waiting: int = Field(
        1000, ge=0, description="callers who wait for a result in one process at the same time"
    )
    publish_deadline: float = Field(
        5.0, gt=0, le=60, description="seconds until a call is answered 503 without a confirmation"
    )
    cache_timeout: float = Field(
        0.5, gt=0, le=10, description="seconds until a look-up in the cache is given up"
    )
    cache_outage: float = Field(
        60.0,
        ge=0,
        description="seconds without the cache in which keys that are known here still work",
    )
