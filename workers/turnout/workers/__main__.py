"""`python -m turnout.workers`: one worker process, as its supervisor starts it."""

import argparse

from turnout.workers import service


def main() -> None:
    """Read the arguments, and serve."""
    parser = argparse.ArgumentParser(prog="turnout worker")
    parser.add_argument("modules", nargs="+")
    parser.add_argument("--concurrency", type=int)
    parser.add_argument("--flows")
    chosen = parser.parse_args()
    service.main(chosen.modules, chosen.concurrency, chosen.flows)


main()
