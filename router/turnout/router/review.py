"""Review: which API keys their owner should look at, and why."""

from datetime import datetime, timedelta
from typing import Literal

from turnout.router.registry import ApiKey
from turnout.router.usage import Activity

Finding = Literal["unused", "never_rotated", "expiring", "expired"]

#: How long nobody has called with a key that is called unused, and how old a secret may become.
UNUSED_FOR = timedelta(days=30)
ROTATE_AFTER = timedelta(days=90)


def review(key: ApiKey, activity: Activity, now: datetime) -> list[Finding]:
    """Say what is to be looked at in a key.

    Args:
        key: the key.
        activity: its use; if that is not known, nothing is said of it.
        now: this moment.
    """
    state = key.state
    findings: list[Finding] = []
    if state == "revoked":
        return findings
    if state in {"expiring", "expired"}:
        findings.append(state)
    known = activity.calls_today is not None
    last = max(filter(None, (key.created_at, activity.last_used_at)))
    if known and state != "expired" and now - last > UNUSED_FOR:
        findings.append("unused")
    if state != "expired" and key.rotated_at is None and now - key.created_at > ROTATE_AFTER:
        findings.append("never_rotated")
    return findings
