"""`python -m turnout.ingress`."""

from turnout.ingress.service import main

main()
