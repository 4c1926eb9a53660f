"""The command `turnout`. Exit codes: 0 ok, 1 failed, 2 wrong usage."""

import sys

from turnout.router.cli.app import app
from turnout.shared.errors import TurnoutError


def main() -> None:
    """Run the command that the arguments name, and exit."""
    try:
        app()
    except TurnoutError as error:
        print(f"turnout: {error}", file=sys.stderr)
        sys.exit(1)
