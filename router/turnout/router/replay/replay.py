"""A replay as it is kept: what was asked for, and how far it is."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Replay:
    """A number of runs that are to be repeated; see `models.Replay`."""

    id: str
    group: str | None
    """Slug of the group that all of them are of; None: of any."""
    source: str
    selection: str
    target: str | None
    version: str | None
    dry_run: bool
    edit: str | None = field(repr=False)  # may hold a payload
    in_order: bool
    rate: float
    state: str
    created_at: int = field(compare=False)
    started_at: int = field(default=0, compare=False)
    ended_at: int = field(default=0, compare=False)
    total: int = field(default=0, compare=False)
    gone: int = field(default=0, compare=False)
    gone_since: int = field(default=0, compare=False)
    position: int = field(default=0, compare=False)
    intent: int = field(default=0, compare=False)
    skipped: int = field(default=0, compare=False)
    note: str = field(default="", compare=False)

    @property
    def label(self) -> str:
        """How people call it."""
        return self.id
