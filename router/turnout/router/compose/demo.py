"""`python -m turnout.router.compose.demo`: makes the demo and prints the call that runs it.

It writes the facts that `turnout up` writes, to the same file below the working directory: so the
command line finds the admin API where that directory is mounted.
"""

import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path

import aiohttp
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from turnout.router.nodes.node import write_private
from turnout.router.up.demo import DemoMaker
from turnout.shared import settings
from turnout.shared.errors import SettingsError, TurnoutError

_FACTS = Path(".turnout/up.json")


class DemoSettings(BaseSettings):
    """Where the admin API is and what opens it."""

    model_config = SettingsConfigDict(env_prefix="TURNOUT_", extra="ignore", frozen=True)

    admin_url: str = Field(description="how the router is reached")
    admin_token: SecretStr = Field(description="a token that the admin API accepts")
    public_url: str = Field(description="how senders reach ingress")


async def make(chosen: DemoSettings, facts: Path) -> str:
    """Make what is missing of the demo and write the facts; return what the user reads.

    Raises:
        NodeError: the router refuses, or it takes too long.
    """
    token = chosen.admin_token.get_secret_value()
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session:
        demo = await DemoMaker(session, chosen.admin_url).make(_known_key(facts))
    facts.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    written = {
        "ingress_url": chosen.public_url,
        "admin_url": chosen.admin_url,
        "admin_token": token,
        "demo": asdict(demo),
    }
    write_private(facts, json.dumps(written, indent=2) + "\n")
    lines = (
        "Turnout is up.",
        f"  ingress       {chosen.public_url}",
        "  command line  docker compose run --rm cli --help",
        "Call the demo flow:",
    )
    return "\n".join((*lines, "", demo.curl(), ""))


def _known_key(facts: Path) -> str | None:
    """Return the demo's key of an earlier time: the router shows it only once."""
    try:
        return str(json.loads(facts.read_text())["demo"]["api_key"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def main() -> None:
    """Make the demo; exit with 2 for wrong settings, 1 for a failure."""
    try:
        print(asyncio.run(make(settings.load(DemoSettings), _FACTS)))
    except TurnoutError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2 if isinstance(error, SettingsError) else 1) from None


if __name__ == "__main__":
    main()
