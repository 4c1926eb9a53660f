"""The users of the broker: one for each role, each with no more rights than its work needs.

    role      may
    ingress   publish calls and archive blocks; nothing else
    worker    consume the queues of flows; publish outcomes, retries and dead letters
    router    all of the virtual host's topology, and read its state in the management API

Only the router can declare, bind or delete. There is no `guest`. A write permission on the default
exchange reaches every queue, so the router alone has it: it declares the delay buckets, which
dead-letter into that exchange, and RabbitMQ checks this right when such a queue is declared
(https://www.rabbitmq.com/docs/access-control#authorisation).
"""

import base64
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from yarl import URL

VHOST = "turnout"


@dataclass(frozen=True)
class BrokerUser:
    """One role's user: its permissions are regular expressions over names."""

    name: str
    configure: str
    write: str
    read: str
    tags: tuple[str, ...] = ()


INGRESS = BrokerUser(
    "turnout-ingress",
    configure="^$",
    write=r"^turnout\.(triggers|archive)$",
    read="^$",
)
WORKER = BrokerUser(
    "turnout-worker",
    configure="^$",
    write=r"^turnout\.(delay\.[0-9]+|dead|outcomes)$",
    read=r"^turnout\.flow\..*$",
)
ROUTER = BrokerUser(
    "turnout-router",
    configure=r"^turnout\..*$",
    write=r"^(turnout\..*|amq\.default)$",
    read=r"^turnout\..*$",
    # The least tag that shows the alarms of nodes besides the user's own virtual hosts.
    tags=("monitoring",),
)

ROLES: Mapping[str, BrokerUser] = {"router": ROUTER, "ingress": INGRESS, "worker": WORKER}


def definitions(passwords: Mapping[str, str]) -> dict[str, Any]:
    """Make the document that RabbitMQ loads at boot (`load_definitions`).

    Args:
        passwords: the password of each role of `ROLES`; the document holds salted hashes of them.
    """
    return {
        "vhosts": [{"name": VHOST}],
        "users": [
            user_definition(user.name, passwords[role], user.tags) for role, user in ROLES.items()
        ],
        "permissions": [
            {
                "user": user.name,
                "vhost": VHOST,
                "configure": user.configure,
                "write": user.write,
                "read": user.read,
            }
            for user in ROLES.values()
        ],
    }


def user_definition(name: str, password: str, tags: tuple[str, ...]) -> dict[str, Any]:
    """Make the entry of one user for a definitions document."""
    return {
        "name": name,
        "password_hash": password_hash(password),
        "hashing_algorithm": "rabbit_password_hashing_sha256",
        "tags": ",".join(tags),
    }


def password_hash(password: str) -> str:
    """Hash a password as RabbitMQ stores it: base64 of salt and SHA-256 of salt and password.

    Source: https://www.rabbitmq.com/docs/passwords#computing-password-hash
    """
    salt = secrets.token_bytes(4)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def amqp_url(role: str, password: str, host: str, port: int) -> str:
    """Return the address with which one role connects."""
    return str(
        URL.build(
            scheme="amqp",
            user=ROLES[role].name,
            password=password,
            host=host,
            port=port,
            path=f"/{VHOST}",
        )
    )
