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
import secrets
from pathlib import Path

from yarl import URL

from turnout.router import broker_users
from turnout.router.nodes.docker import ContainerRedis
from turnout.router.nodes.node import write_private
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
"""


def write(root: Path) -> None:
    """Write the files of all services.

    Args:
        root: holds one directory for each service, and `kept`.

    Raises:
        NodeError: the secrets of an earlier run cannot be read.
    """
    kept = Secrets.of(root / "kept")
    database_password = _kept_password(root / "kept" / "database-password")
    amqp_urls = {
        role: broker_users.amqp_url(role, password, "rabbitmq", 5672)
        for role, password in kept.broker_passwords.items()
    }
    management_url = URL(amqp_urls["router"]).with_scheme("http").with_port(15672).with_path("")
    database_url = f"postgresql+asyncpg://{DATABASE}:{database_password}@postgres:5432/{DATABASE}"
    redis = ContainerRedis(root / "redis", kept.redis_password)
    redis_url = f"redis://:{kept.redis_password}@redis:6379/0"

    files = {
        "rabbitmq/rabbitmq.conf": _RABBITMQ_CONFIGURATION,
        "rabbitmq/definitions.json": json.dumps(broker_users.definitions(kept.broker_passwords)),
        "redis/redis.conf": redis.configuration(host="*", port=6379, directory=redis.data),
        "redis/password": kept.redis_password,
        "postgres/password": database_password,
        "router/turnout_amqp_url": amqp_urls["router"],
        "router/turnout_management_url": str(management_url),
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


def _kept_password(path: Path) -> str:
    """Return the password that the file keeps; make one if there is none."""
    if not path.exists():
        write_private(path, secrets.token_hex(20))
    return path.read_text()


if __name__ == "__main__":
    write(ROOT)
