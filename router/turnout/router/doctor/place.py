"""Where the services of a Turnout are: by the environment of the router, or by `turnout up`."""

import json
import os
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from turnout.router import broker_users, database, management
from turnout.router.database import Database, DatabaseUnavailable
from turnout.router.settings import RouterSettings
from turnout.shared import settings
from turnout.shared.errors import SettingsError

#: The variables in which the addresses of the other roles are looked for.
VARIABLES = {
    role: f"TURNOUT_{role.upper()}_AMQP_URL" for role in broker_users.ROLES if role != "router"
}


@dataclass(frozen=True, repr=False)
class Place:
    """What the checks need to reach everything."""

    settings: RouterSettings
    amqp_urls: Mapping[str, str]
    """By role; one that is not known is not there."""

    @property
    def management_url(self) -> str:
        """The management API of the broker, with user and password."""
        given = self.settings.management_url
        if given is not None:
            return given.get_secret_value()
        return management.default_url(self.settings.amqp_urls[0])

    @property
    def vhost(self) -> str:
        """The virtual host of the broker."""
        return management.vhost_of(self.settings.amqp_urls[0])

    @property
    def redis_url(self) -> str:
        """The address of Redis."""
        return self.settings.redis_url.get_secret_value()

    @property
    def database_url(self) -> str:
        """The address of the database."""
        return self.settings.database_url.get_secret_value()

    def open_database(self) -> AbstractAsyncContextManager[Database]:
        """Open the database, which is not made if it is not there.

        Raises:
            DatabaseUnavailable: it is a file that is not there.
        """
        url = database.parse_url(self.database_url)
        if url.drivername.startswith("sqlite") and not Path(str(url.database)).exists():
            raise DatabaseUnavailable(f"there is no {url.database}: the router makes it")
        return database.open_database(self.database_url)

    @classmethod
    def find(cls) -> Self:
        """Find the services: by TURNOUT_AMQP_URL and its like, else by `.turnout/up.json`.

        Raises:
            SettingsError: a setting is wrong, or the file cannot be read.
        """
        services = {} if _is_set() else _of_up()
        urls = services.pop("amqp_urls", {})
        chosen = settings.load(RouterSettings, amqp_url=urls.get("router"), **services)
        given = {role: os.environ[name] for role, name in VARIABLES.items() if name in os.environ}
        return cls(chosen, {"router": chosen.amqp_urls[0], **urls, **given})


def _is_set() -> bool:
    return any(name in os.environ for name in ("TURNOUT_AMQP_URL", "TURNOUT_SECRETS_DIR"))


def _of_up() -> dict[str, Any]:
    """Return what the nearest `turnout up` says of its services; nothing if there is none."""
    here = Path.cwd()
    for directory in (here, *here.parents):
        path = directory / ".turnout" / "up.json"
        try:
            return dict(json.loads(path.read_text(encoding="utf-8"))["services"] or {})
        except FileNotFoundError:
            continue
        except OSError as error:
            raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
        except (ValueError, KeyError, TypeError):
            raise SettingsError(f"{path} is damaged or old: start `turnout up` again") from None
    return {}
