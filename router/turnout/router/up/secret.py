"""The secrets of `turnout up`: made once, kept for its owner alone in secrets.json."""

import json
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from turnout.router import broker_users
from turnout.router.nodes.errors import NodeError
from turnout.router.nodes.node import write_private
from turnout.shared import keys


@dataclass(frozen=True, repr=False)
class Secrets:
    """What the private servers and the admin API ask for."""

    broker_passwords: dict[str, str]
    """By role, see `broker_users.ROLES`."""
    redis_password: str
    database_password: str
    """Of PostgreSQL, where it runs in a container; SQLite has none."""
    admin_token: str

    @classmethod
    def of(cls, directory: Path) -> "Secrets":
        """Return the secrets of a directory; make them if there are none.

        Raises:
            NodeError: the file is there and cannot be read.
        """
        path = directory / "secrets.json"
        if not path.exists():
            made = cls(
                broker_passwords={role: secrets.token_hex(20) for role in broker_users.ROLES},
                redis_password=secrets.token_hex(20),
                database_password=secrets.token_hex(20),
                admin_token=keys.new_key(keys.ADMIN_TOKEN).text,
            )
            write_private(path, json.dumps(asdict(made), indent=2))
        try:
            return cls(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            raise NodeError(
                f"{path} cannot be read. Delete it: other secrets are made at the next start"
            ) from None
