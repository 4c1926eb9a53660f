"""The admin API: `/api/v1` over HTTP, for the command line and the dashboard."""

from turnout.router.api.app import make_app
from turnout.router.api.control import Control

__all__ = ["Control", "make_app"]
