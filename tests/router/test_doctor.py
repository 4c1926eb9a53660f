"""What `turnout doctor` finds in real services, healthy and ill."""

import json
import secrets
from pathlib import Path

import aiohttp
import pytest
from pydantic import SecretStr
from sqlalchemy import text
from tests.support.brokers import Broker
from typer.testing import CliRunner
from yarl import URL

from turnout.router import broker_users
from turnout.router.cli.app import app
from turnout.router.control import Control
from turnout.router.database import open_database
from turnout.router.doctor import Finding, Place, examine
from turnout.router.lease import Lease
from turnout.router.management import Management
from turnout.router.registry import Registry
from turnout.router.settings import RouterSettings
from turnout.shared import cache


@pytest.fixture
def amqp_urls(rabbitmq: Broker, vhost: str) -> dict[str, str]:
    """A user for each role, as `turnout up` makes them, in the module's virtual host."""
    urls = {}
    for role, user in broker_users.ROLES.items():
        password = secrets.token_hex(8)
        name = f"{user.name}-{vhost}"
        rights = {"configure": user.configure, "write": user.write, "read": user.read}
        call = rabbitmq.management.call
        call("PUT", f"users/{name}", {"password": password, "tags": ",".join(user.tags)})
        call("PUT", f"permissions/{vhost}/{name}", rights)
        urls[role] = str(URL(rabbitmq.amqp_url(vhost)).with_user(name).with_password(password))
    return urls


@pytest.fixture
def place(rabbitmq: Broker, amqp_urls: dict[str, str], redis_url: str, tmp_path: Path) -> Place:
    management = URL(rabbitmq.management_url)
    router = URL(amqp_urls["router"])
    settings = RouterSettings(
        amqp_url=SecretStr(amqp_urls["router"]),
        management_url=SecretStr(
            str(management.with_user(router.user).with_password(router.password))
        ),
        redis_url=SecretStr(redis_url),
        database_url=SecretStr(f"sqlite+aiosqlite:///{tmp_path}/turnout.db"),
    )
    return Place(settings, amqp_urls)


async def _settle(place: Place) -> None:
    """Do what a router does, once."""
    client = cache.connect(place.redis_url, timeout=5.0)
    async with open_database(place.database_url) as database, aiohttp.ClientSession() as session:
        await database.migrate()
        registry = Registry(database)
        lease = Lease(database)
        await lease.acquire()
        await registry.create_group("crm")
        await registry.create_flow("crm", "update")
        management = Management(session, place.management_url, place.vhost)
        control = Control(place.settings, registry, client, management, lease)
        await control.settle(30.0)
        await control.close()
    await client.aclose()


def _of(findings: list[Finding], subject: str, level: str = "problem") -> list[str]:
    return [each.text for each in findings if each.subject == subject and each.level == level]


async def test_healthy_services_have_no_problem(place: Place) -> None:
    await _settle(place)
    findings = await examine(place)
    assert [each for each in findings if each.level in {"problem", "unchecked"}] == []
    assert _of(findings, "workers", "warning") == ["no worker serves crm/update"]
    assert len(_of(findings, "permissions", "ok")) == 3


async def test_what_is_wrong_is_named_with_what_to_do(
    place: Place, rabbitmq: Broker, vhost: str
) -> None:
    await _settle(place)
    client = cache.connect(place.redis_url, timeout=5.0)
    await client.flushdb()
    await client.aclose()
    async with open_database(place.database_url) as database, database.writing() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    rabbitmq.management.call("DELETE", f"queues/{vhost}/turnout.flow.crm.update")
    worker = URL(place.amqp_urls["worker"]).user
    rights = {"configure": ".*", "write": "^turnout.dead$", "read": "^turnout.flow.*"}
    rabbitmq.management.call("PUT", f"permissions/{vhost}/{worker}", rights)
    findings = await examine(place)
    assert len(_of(findings, "redis")) == 1
    assert "0001" in _of(findings, "database")[0]
    assert "turnout.flow.crm.update" in _of(findings, "topology")[0]
    assert _of(findings, "permissions") == [
        "the worker may not publish to turnout.delay.1, publish to turnout.outcomes"
    ]
    assert _of(findings, "permissions", "warning") == [
        "the worker may also configure queues of flows"
    ]
    assert all(each.advice for each in findings if each.level in {"problem", "warning"})


async def test_dead_services_delay_nothing_and_an_unknown_user_is_said_to_be_unchecked(
    place: Place,
) -> None:
    dead = place.settings.model_copy(
        update={
            "amqp_url": SecretStr("amqp://nobody:secret@127.0.0.1:1/"),
            "management_url": SecretStr("http://nobody:secret@127.0.0.1:1"),
            "redis_url": SecretStr("redis://:secret@127.0.0.1:1/0"),
        }
    )
    findings = await examine(Place(dead, {"router": dead.amqp_urls[0]}))
    ill = {each.subject for each in findings if each.level == "problem"}
    assert {"broker", "redis", "database", "queues", "workers"} <= ill
    assert len(_of(findings, "permissions", "unchecked")) == 2
    assert "secret" not in repr(findings)


def test_the_command_ends_with_1_for_a_problem_and_reads_what_turnout_up_wrote(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".turnout").mkdir()
    services = {
        "amqp_urls": dict(place.amqp_urls),
        "management_url": place.management_url,
        "redis_url": place.redis_url,
        "database_url": place.database_url,
        "public_url": "http://127.0.0.1:18080",
    }
    (tmp_path / ".turnout" / "up.json").write_text(json.dumps({"services": services}))
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["doctor", "--json"])
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert not document["ok"]
    subjects = {each["subject"] for each in document["findings"] if each["level"] == "ok"}
    assert {"broker", "permissions", "redis"} <= subjects
    assert "http://127.0.0.1:18080" in result.stdout
