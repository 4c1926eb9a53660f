"""`python -m turnout.router.cli`."""

from turnout.router.cli import main

main()
