"""`python -m turnout.router.compose.volumes`: makes the secrets of compose.yaml, hands them out.

    kept/       what was made; nobody else mounts it
    rabbitmq/   rabbitmq.conf and definitions.json, with hashes of the passwords
    redis/      redis.conf, password
    postgres/   password
    router/ ingress/ worker/ demo/
                a file for each setting that is secret, see `turnout.shared.settings`

Each directory is a volume that one service mounts, read-only, at `MOUNT`. The volume keeps all
others out, so its files can be readable inside: then every image keeps its own user, and who writes
needs no right to change owners. A later run makes nothing new: it writes the same secrets again.
"""

import json
import os
from pathlib import Path

from turnout.router import broker_users, management
from turnout.router.nodes.docker import ContainerRedis
from turnout.router.nodes.node import write_private
from turnout.router.nodes.rabbitmq import RabbitMQ
from turnout.router.nodes.redis import configuration
from turnout.router.up.secret import Secrets

#: Where all the volumes are for this program.
ROOT = Path("/volumes")
#: Where its own volume is for each service.
MOUNT = "/run/turnout"

#: The user and the database that PostgreSQL makes at its first start.
DATABASE = "turnout"

_RABBITMQ_CONFIGURATION = f"""\
load_definitions = {MOUNT}/definitions.json
# The default of 50 MB does not leave enough to get out of trouble.
disk_free_limit.absolute = 1GB
log.console.level = warning
consumer_timeout = {{delivery_timeout}}
"""


def write(root: Path, delivery_timeout: float = RabbitMQ.delivery_timeout) -> None:
    """Write the files of all services.

    Args:
        root: holds one directory for each service, and `kept`.
        delivery_timeout: seconds after which RabbitMQ takes an unacknowledged message back.

    Raises:
        NodeError: the secrets of an earlier run cannot be read.
    """
    kept = Secrets.of(root / "kept")
    amqp_urls = {
        role: broker_users.amqp_url(role, password, "rabbitmq", 5672)
        for role, password in kept.broker_passwords.items()
    }
    database_url = (
        f"postgresql+asyncpg://{DATABASE}:{kept.database_password}@postgres:5432/{DATABASE}"
    )
    redis_url = f"redis://:{kept.redis_password}@redis:6379/0"

    files = {
        "rabbitmq/rabbitmq.conf": _RABBITMQ_CONFIGURATION.format(
            delivery_timeout=int(delivery_timeout * 1000)
        ),
        "rabbitmq/definitions.json": json.dumps(broker_users.definitions(kept.broker_passwords)),
        "redis/redis.conf": configuration(
            kept.redis_password, host="*", port=6379, directory=ContainerRedis.data
        ),
        "redis/password": kept.redis_password,
        "postgres/password": kept.database_password,
        "router/turnout_amqp_url": amqp_urls["router"],
        "router/turnout_management_url": management.default_url(amqp_urls["router"]),
        "router/turnout_redis_url": redis_url,
        "router/turnout_database_url": database_url,
        "router/turnout_admin_token": kept.admin_token,
        "ingress/turnout_amqp_url": amqp_urls["ingress"],
        "ingress/turnout_redis_url": redis_url,
        "worker/turnout_amqp_url": amqp_urls["worker"],
        "worker/turnout_redis_url": redis_url,
        "demo/turnout_admin_token": kept.admin_token,
    }
    for name, text in files.items():
        path = root / name
        write_private(path, text)
        path.chmod(0o444)


if __name__ == "__main__":
    write(ROOT, float(os.environ["TURNOUT_DELIVERY_TIMEOUT"]))
