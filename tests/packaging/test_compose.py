"""compose.yaml and Dockerfile against the code: what they name exists, and is as they say."""

import asyncio
import importlib.util
import os
import re
import stat
import sys
import tomllib
from pathlib import Path

import pytest
import typer
from aiohttp import web
from pydantic_settings import BaseSettings
from tests.packaging.composed import Service, mounts, once, services, variables
from tests.support.process import ROOT
from yarl import URL

from turnout.ingress import service as ingress_service
from turnout.ingress.settings import IngressSettings
from turnout.router.api import health
from turnout.router.cli.app import app
from turnout.router.compose import volumes
from turnout.router.compose.demo import DemoSettings
from turnout.router.nodes import docker
from turnout.router.nodes.rabbitmq import RabbitMQ
from turnout.router.settings import RouterSettings
from turnout.router.up.settings import UpSettings
from turnout.shared.settings import load
from turnout.workers.settings import WorkerSettings

SETTINGS: dict[str, type[BaseSettings]] = {
    "router": RouterSettings,
    "ingress": IngressSettings,
    "worker": WorkerSettings,
    "demo": DemoSettings,
}
ALL = sorted(services())
OURS = sorted(name for name in services() if services()[name]["image"] == "turnout:local")
LASTING = sorted(name for name in services() if not once(services()[name]))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The volumes of secrets, as `init` writes them."""
    root = tmp_path_factory.mktemp("volumes")
    for _, target, _ in mounts(services()["init"]):
        (root / Path(target).relative_to(volumes.ROOT)).mkdir()
    volumes.write(root)
    return root


@pytest.fixture
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No setting of the machine reaches the test."""
    for name in os.environ:
        if name.startswith("TURNOUT_"):
            monkeypatch.delenv(name)
    return monkeypatch


def settings_of(name: str, written: Path, environment: pytest.MonkeyPatch) -> BaseSettings:
    """Read the settings of a service as it does in its container."""
    for key, value in services()[name]["environment"].items():
        environment.setenv(key, value)
    assert os.environ["TURNOUT_SECRETS_DIR"] == volumes.MOUNT
    environment.setenv("TURNOUT_SECRETS_DIR", str(written / name))
    return load(SETTINGS[name])


# -- images and commands


def test_the_images_are_those_of_make_up_and_none_floats() -> None:
    images = {name: service["image"] for name, service in services().items()}
    assert images["rabbitmq"] == docker.RABBITMQ_IMAGE
    assert images["redis"] == docker.REDIS_IMAGE
    assert re.fullmatch(r"postgres:\d+(\.\d+)?-\w+", images["postgres"])


def test_one_service_builds_our_image_and_nobody_tries_to_pull_it() -> None:
    assert [name for name in ALL if "build" in services()[name]] == ["init"]
    assert {services()[name]["pull_policy"] for name in OURS} == {"never"}
    assert set(OURS) == {"init", "router", "ingress", "worker", "demo", "cli"}


@pytest.mark.parametrize("name", ["router", "ingress", "worker"])
def test_a_command_is_one_of_the_command_line(name: str) -> None:
    command = services()[name]["command"]
    root = typer.main.get_command(app)
    assert isinstance(root, typer.core.TyperGroup)
    assert command[0] == name
    root.commands[name].make_context(name, command[1:])  # raises if it is used wrongly


@pytest.mark.parametrize("name", OURS)
def test_a_module_that_is_run_exists(name: str) -> None:
    service = services()[name]
    for words in (service.get("entrypoint", []), service.get("healthcheck", {}).get("test", [])):
        if "-m" in words:
            module = words[words.index("-m") + 1]
            assert importlib.util.find_spec(module) is not None, module


def test_the_worker_runs_all_examples() -> None:
    modules = services()["worker"]["command"][1:]
    assert modules == [f"/app/examples/{path.name}" for path in sorted(ROOT.glob("examples/*.py"))]


# -- settings and secrets


@pytest.mark.parametrize("name", SETTINGS)
def test_every_variable_and_secret_file_is_a_setting_of_its_service(
    name: str, written: Path
) -> None:
    fields = SETTINGS[name].model_fields
    for variable in services()[name]["environment"]:
        assert variable == "TURNOUT_SECRETS_DIR" or (
            variable.removeprefix("TURNOUT_").lower() in fields
        ), variable
    for path in (written / name).iterdir():
        assert path.name.removeprefix("turnout_") in fields, path.name


def test_what_the_user_may_set_is_what_make_up_lets_them_set() -> None:
    known = {f"TURNOUT_{name.upper()}" for name in UpSettings.model_fields}
    assert variables() <= known | {"TURNOUT_LOG_FORMAT", "TURNOUT_LOG_LEVEL"}


def test_each_service_reads_its_own_user_and_the_hosts_exist(
    written: Path, bare_environment: pytest.MonkeyPatch
) -> None:
    for name in ("router", "ingress", "worker"):
        with bare_environment.context() as environment:
            chosen = settings_of(name, written, environment)
        assert isinstance(chosen, RouterSettings | IngressSettings | WorkerSettings)
        broker = URL(chosen.amqp_url.get_secret_value())
        cache = URL(chosen.redis_url.get_secret_value())
        assert (broker.user, broker.host, broker.path) == (
            f"turnout-{name}",
            "rabbitmq",
            "/turnout",
        )
        assert broker.password
        assert cache.password
        assert {broker.host, cache.host} <= set(services())


def test_the_router_alone_knows_database_management_and_admin_token(
    written: Path, bare_environment: pytest.MonkeyPatch
) -> None:
    chosen = settings_of("router", written, bare_environment)
    assert isinstance(chosen, RouterSettings)
    database = URL(chosen.database_url.get_secret_value())
    postgres = services()["postgres"]["environment"]
    assert (database.scheme, database.host) == ("postgresql+asyncpg", "postgres")
    assert database.user == postgres["POSTGRES_USER"]
    assert database.path == f"/{postgres['POSTGRES_DB']}"
    assert database.password == (written / "postgres" / "password").read_text()
    assert chosen.management_url is not None
    assert chosen.admin_token is not None
    management = URL(chosen.management_url.get_secret_value())
    assert (management.user, management.host) == ("turnout-router", "rabbitmq")
    for name in ("ingress", "worker"):
        files = {path.name for path in (written / name).iterdir()}
        assert files == {"turnout_amqp_url", "turnout_redis_url"}


def test_a_second_run_of_init_changes_no_secret(written: Path, tmp_path: Path) -> None:
    def contents() -> dict[str, str]:
        return {
            str(path.relative_to(written)): path.read_text()
            for path in written.rglob("*")
            # The salts of its hashes are new each time.
            if path.is_file() and path.name != "definitions.json"
        }

    before = contents()
    volumes.write(written)
    assert contents() == before
    other = tmp_path
    for each in written.iterdir():
        (other / each.name).mkdir()
    volumes.write(other)
    for name in ("kept/secrets.json", "postgres/password", "redis/password"):
        assert (other / name).read_text() != before[name]


def test_what_init_keeps_is_for_its_owner_and_the_rest_cannot_be_written(written: Path) -> None:
    for path in written.rglob("*"):
        if path.is_file():
            mode = stat.S_IMODE(path.stat().st_mode)
            assert mode == (0o600 if path.parent.name == "kept" else 0o444), path


def test_a_service_mounts_only_its_own_secrets_and_cannot_change_them(written: Path) -> None:
    given = {Path(target).name: volume for volume, target, _ in mounts(services()["init"])}
    assert set(given) == {path.name for path in written.iterdir()}
    kept = given.pop("kept")
    for name, service in services().items():
        if name == "init":
            continue
        mounted = mounts(service)
        assert kept not in [volume for volume, _, _ in mounted]
        secret = [each for each in mounted if each[0] in given.values()]
        own = [(given[name], volumes.MOUNT, "ro")] if name in given else []
        assert secret == own, name


def test_the_servers_are_told_where_their_secrets_are(written: Path) -> None:
    rabbitmq, redis, postgres = (services()[each] for each in ("rabbitmq", "redis", "postgres"))
    inside = Path(rabbitmq["environment"]["RABBITMQ_CONFIG_FILE"])
    assert (written / "rabbitmq" / inside.relative_to(volumes.MOUNT)).exists()
    configuration = (written / "rabbitmq" / "rabbitmq.conf").read_text()
    assert f"load_definitions = {volumes.MOUNT}/definitions.json\n" in configuration
    inside = Path(redis["command"][-1])
    configuration = (written / "redis" / inside.relative_to(volumes.MOUNT)).read_text()
    assert f"requirepass {(written / 'redis' / 'password').read_text()}\n" in configuration
    assert "maxmemory-policy noeviction\n" in configuration
    data = [target for volume, target, _ in mounts(redis) if volume == "redis-data"]
    assert f'dir "{data[0]}"\n' in configuration
    assert postgres["environment"]["POSTGRES_PASSWORD_FILE"] == f"{volumes.MOUNT}/password"


def test_the_broker_lets_a_worker_have_a_message_for_as_long_as_the_worker_thinks(
    written: Path, bare_environment: pytest.MonkeyPatch
) -> None:
    chosen = settings_of("worker", written, bare_environment)
    assert isinstance(chosen, WorkerSettings)
    given = services()["init"]["environment"]["TURNOUT_DELIVERY_TIMEOUT"]
    configuration = (written / "rabbitmq" / "rabbitmq.conf").read_text()
    assert float(given) == chosen.delivery_timeout == RabbitMQ.delivery_timeout
    assert f"consumer_timeout = {chosen.delivery_timeout * 1000:.0f}\n" in configuration


def test_the_file_holds_no_secret_but_names_of_files() -> None:
    for name, service in services().items():
        for variable in service.get("environment", ()):
            harmless = variable == "TURNOUT_SECRETS_DIR" or variable.endswith("_FILE")
            assert harmless or not re.search("PASS|TOKEN|SECRET", variable), (name, variable)


# -- what is open


def test_only_ingress_and_the_admin_api_are_published_and_on_loopback(
    written: Path, bare_environment: pytest.MonkeyPatch
) -> None:
    published = {
        name: service["ports"] for name, service in services().items() if "ports" in service
    }
    defaults = load(UpSettings)
    assert published == {
        "ingress": [f"127.0.0.1:{defaults.ingress_port}:{defaults.ingress_port}"],
        "router": [f"127.0.0.1:{defaults.admin_port}:{defaults.admin_port}"],
    }
    with bare_environment.context() as environment:
        ingress = settings_of("ingress", written, environment)
        assert isinstance(ingress, IngressSettings)
        assert (ingress.ingress_host, ingress.ingress_port) == ("0.0.0.0", defaults.ingress_port)
    router = settings_of("router", written, bare_environment)
    assert isinstance(router, RouterSettings)
    assert (router.admin_host, router.admin_port) == ("0.0.0.0", defaults.admin_port)
    assert router.public_url == defaults.ingress_url


def test_the_demo_asks_the_router_where_it_listens(
    written: Path, bare_environment: pytest.MonkeyPatch
) -> None:
    demo = settings_of("demo", written, bare_environment)
    assert isinstance(demo, DemoSettings)
    address = URL(demo.admin_url)
    assert (address.host, address.port) == (
        "router",
        RouterSettings.model_fields["admin_port"].default,
    )


def test_the_servers_have_no_way_out_and_the_router_alone_reaches_the_database() -> None:
    on: dict[str, set[str]] = {}
    for name, service in services().items():
        assert ("networks" in service) != (service.get("network_mode") == "none"), name
        for network in service.get("networks", ()):
            on.setdefault(network, set()).add(name)
    assert on == {
        "broker": {"rabbitmq", "redis", "router", "ingress", "worker"},
        "registry": {"postgres", "router"},
        "outside": {"router", "ingress", "worker", "demo", "cli"},
    }


@pytest.mark.parametrize("name", ALL)
def test_every_container_is_confined(name: str) -> None:
    service = services()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert "cap_add" not in service
    # `init` owns the new volumes as root, without any capability and without a network.
    assert service.get("user", "as in the image") != "0:0" or name == "init"
    assert "user" in service or name in OURS


# -- health, start and stop


@pytest.mark.parametrize("name", LASTING)
def test_what_lasts_has_a_health_check_comes_back_and_has_time_to_stop(name: str) -> None:
    service = services()[name]
    assert service["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}
    assert service["restart"] == "unless-stopped"
    assert "stop_grace_period" in service


def test_services_outlast_their_own_grace(bare_environment: pytest.MonkeyPatch) -> None:
    def seconds(name: str) -> int:
        return int(services()[name]["stop_grace_period"].removesuffix("s"))

    assert seconds("worker") > load(WorkerSettings).shutdown_grace
    assert seconds("ingress") > ingress_service._GRACE


@pytest.mark.parametrize("name", ALL)
def test_a_service_waits_for_services_in_a_state_that_they_reach(name: str) -> None:
    for other, how in services()[name].get("depends_on", {}).items():
        expected = (
            "service_completed_successfully" if once(services()[other]) else "service_healthy"
        )
        assert how["condition"] == expected, other
    # All secrets are there before anybody starts: the servers wait for `init`, the rest for them.
    if name in {"rabbitmq", "redis", "postgres"}:
        assert "init" in services()[name]["depends_on"]


@pytest.mark.parametrize("name", ["ingress", "router"])
@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
async def test_the_health_check_follows_readyz(name: str, status: int, code: int) -> None:
    async def ready(_: web.Request) -> web.Response:
        return web.Response(status=status)

    application = web.Application()
    application.router.add_get("/readyz", ready)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    own = (
        SETTINGS[name]
        .model_fields[{"ingress": "ingress_port", "router": "admin_port"}[name]]
        .default
    )
    assert await check(services()[name], own, runner.addresses[0][1]) == code
    await runner.cleanup()


def test_the_router_has_the_page_that_its_health_check_asks_for() -> None:
    assert "/readyz" in {each.path for each in health.routes.endpoints}


async def check(service: Service, own: int, port: int) -> int:
    """Run a service's health check against another port than its own; return the exit code."""
    command, *arguments = service["healthcheck"]["test"][1:]
    assert command == "python"
    assert any(str(own) in each for each in arguments)
    process = await asyncio.create_subprocess_exec(
        sys.executable, *(each.replace(str(own), str(port)) for each in arguments)
    )
    return await process.wait()


# -- the image


def dockerfile() -> list[str]:
    """Return the instructions, continued lines joined, without comments."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    return [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]


def test_what_the_image_copies_is_in_the_build_context() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    copied = [line.split()[1:-1] for line in dockerfile() if line.startswith("COPY ")]
    sources = {each for words in copied for each in words if "--from=build" not in words}
    for source in sources:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in ignored, source
    assert {line[1:] for line in ignored if line.startswith("!")} == sources
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    roots = project["tool"]["hatch"]["build"]["targets"]["wheel"]["sources"]
    assert {*roots, "pyproject.toml", project["project"]["readme"]} <= sources


def test_the_image_installs_what_the_lock_file_pins_and_runs_as_nobody_special() -> None:
    lines = dockerfile()
    assert any("--require-hashes -r requirements.lock" in line for line in lines)
    bases = [line.split()[1] for line in lines if line.startswith("FROM ")]
    assert len(bases) == 2
    assert len(set(bases)) == 1  # the environment's interpreter is that of the image
    assert re.fullmatch(r"python:3\.\d+-slim-\w+", bases[0])
    assert "USER 10001:10001" in lines
    assert "STOPSIGNAL SIGTERM" in lines
    assert 'ENTRYPOINT ["turnout"]' in lines


def test_the_lock_file_holds_the_driver_of_the_database() -> None:
    assert re.search(r"^asyncpg==", (ROOT / "requirements.lock").read_text(), re.MULTILINE)


def test_services_write_only_where_the_image_lets_them() -> None:
    lines = dockerfile()
    (place,) = [line.split()[1] for line in lines if line.startswith("WORKDIR /var")]
    assert any(f"--owner turnout --group turnout --mode 0700 {place}" in line for line in lines)
    for name in ("worker", "demo", "cli"):
        assert place in [target for _, target, _ in mounts(services()[name])]
