"""Moments as the history, letters and replays keep them: nanoseconds since the Unix epoch."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def at(nanoseconds: int) -> datetime:
    """Return a moment in UTC, to the microsecond."""
    return _EPOCH + timedelta(microseconds=nanoseconds // 1000)


def moment(nanoseconds: int) -> datetime | None:
    """Return the same; None for 0, which is none."""
    return at(nanoseconds) if nanoseconds else None


def nanoseconds(moment: datetime) -> int:
    """Return a moment, with a time zone, as it is kept."""
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000
