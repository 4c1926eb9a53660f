"""What `turnout up` tells other programs, in `.turnout/up.json`, for its owner alone."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from turnout.router.nodes.node import write_private
from turnout.router.up.demo import Demo


@dataclass(frozen=True, repr=False)
class Services:
    """The addresses of all that the services use, with their passwords."""

    amqp_urls: Mapping[str, str]
    """By role."""
    management_url: str
    redis_url: str
    database_url: str
    public_url: str
    """With which the URLs of triggers begin."""


@dataclass(frozen=True, repr=False)
class Facts:
    """How a running Turnout is used."""

    ingress_url: str
    admin_url: str
    admin_token: str
    demo: Demo | None
    services: Services | None = None
    """What `turnout doctor` goes by; None: not ours to tell."""

    FILE: ClassVar = "up.json"

    def write(self, directory: Path) -> None:
        """Write them into the directory of `turnout up`, which is made if missing."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(directory / Facts.FILE, json.dumps(asdict(self), indent=2) + "\n")


def known_demo_key(directory: Path) -> str | None:
    """Return the demo's key of an earlier time, if it was written down: it is shown only once."""
    try:
        return str(json.loads((directory / Facts.FILE).read_text())["demo"]["api_key"])
    except (OSError, ValueError, LookupError, TypeError):
        return None
