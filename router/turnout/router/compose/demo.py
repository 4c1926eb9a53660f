"""`python -m turnout.router.compose.demo`: makes the demo and prints the call that runs it.

It writes the facts that `turnout up` writes, to the same file below the working directory: so the
command line finds the admin API where that directory is mounted.
"""

import asyncio
import sys
from pathlib import Path

import aiohttp
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from turnout.router.up.demo import DemoMaker
from turnout.router.up.facts import Facts, known_demo_key
from turnout.shared import settings
from turnout.shared.errors import SettingsError, TurnoutError

_DIRECTORY = Path(".turnout")


class DemoSettings(BaseSettings):
    """Where the admin API is and what opens it."""

    model_config = SettingsConfigDict(env_prefix="TURNOUT_", extra="ignore", frozen=True)

    admin_url: str = Field(description="how the router is reached")
    admin_token: SecretStr = Field(description="a token that the admin API accepts")
    public_url: str = Field(description="how senders reach ingress")


async def make(chosen: DemoSettings, directory: Path) -> str:
    """Make what is missing of the demo and write the facts; return what the user reads.

    Raises:
        NodeError: the router refuses, or it takes too long.
    """
    token = chosen.admin_token.get_secret_value()
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session:
        demo = await DemoMaker(session, chosen.admin_url).make(known_demo_key(directory))
    Facts(
        ingress_url=chosen.public_url, admin_url=chosen.admin_url, admin_token=token, demo=demo
    ).write(directory)
    lines = (
        "Turnout is up.",
        f"  ingress       {chosen.public_url}",
        "  command line  docker compose run --rm cli --help",
        "Call the demo flow:",
    )
    return "\n".join((*lines, "", demo.curl(), ""))


def main() -> None:
    """Make the demo; exit with 2 for wrong settings, 1 for a failure."""
    try:
        print(asyncio.run(make(settings.load(DemoSettings), _DIRECTORY)))
    except TurnoutError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2 if isinstance(error, SettingsError) else 1) from None


if __name__ == "__main__":
    main()
