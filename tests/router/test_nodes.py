"""Private nodes: apart from all others, on loopback, and nothing left of them."""

import asyncio
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import redis
from tests.support.process import ROOT
from tests.support.waiting import eventually
from yarl import URL

from turnout.router import broker_users
from turnout.router.nodes import find, given, ports
from turnout.router.nodes.errors import NodeError
from turnout.router.nodes.process import Process, end_leftover
from turnout.router.nodes.rabbitmq import LocalRabbitMQ
from turnout.router.nodes.redis import LocalRedis
from turnout.shared.amqp import Link
from turnout.shared.errors import BrokerError

PASSWORDS = {role: secrets.token_hex(16) for role in broker_users.ROLES}


@pytest.fixture(scope="module")
def broker_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRabbitMQ]:
    node = find.local_rabbitmq(
        tmp_path_factory.mktemp("node") / "with a space",
        broker_users.definitions(PASSWORDS),
        setting="TURNOUT_AMQP_URL",
        say=print,
    )
    assert isinstance(node, LocalRabbitMQ)
    node.start()
    node.wait_ready()
    yield node
    node.kill()


@pytest.fixture
def cache_node(tmp_path: Path) -> Iterator[LocalRedis]:
    node = find.local_redis(
        tmp_path / "with a space", "secret", setting="TURNOUT_REDIS_URL", say=print
    )
    assert isinstance(node, LocalRedis)
    node.start()
    node.wait_ready()
    yield node
    node.kill()


def session_of(leader: int) -> set[int]:
    """Return the processes of a session that have not ended."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, session, *_ = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(session) == leader and state != "Z":
            found.add(int(stat.parent.name))
    return found


def descendants_of(pid: int) -> set[int]:
    children: dict[int, set[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, set()).add(int(stat.parent.name))
    found, rest = {pid}, [pid]
    while rest:
        new = children.get(rest.pop(), set())
        found |= new
        rest += new
    return found


def listening_addresses(pids: set[int]) -> set[str]:
    """Return the addresses on which processes listen, from /proc."""
    sockets = set()
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                sockets.add(str(descriptor.readlink()))
            except OSError:
                continue
    found = set()
    for family, table in ((socket.AF_INET, "tcp"), (socket.AF_INET6, "tcp6")):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                digits = fields[1].partition(":")[0]
                words = [bytes.fromhex(digits[i : i + 8])[::-1] for i in range(0, len(digits), 8)]
                found.add(socket.inet_ntop(family, b"".join(words)))
    return found


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def log_in(node: LocalRabbitMQ, role: str, password: str) -> None:
    url = broker_users.amqp_url(role, password, ports.LOOPBACK, node.amqp_port)
    link = await Link.connect(url, name="test")
    await link.close()


async def test_a_ready_rabbitmq_knows_the_users_of_its_definitions_and_no_guest(
    broker_node: LocalRabbitMQ,
) -> None:
    for role, password in PASSWORDS.items():
        await log_in(broker_node, role, password)
    with pytest.raises(BrokerError, match="refused"):
        await log_in(broker_node, "router", "wrong")
    with pytest.raises(BrokerError):
        await Link.connect(f"amqp://guest:guest@{broker_node.address}/", name="test")


def test_rabbitmq_and_all_that_it_starts_listen_on_loopback_only(
    broker_node: LocalRabbitMQ,
) -> None:
    assert broker_node._epmd is not None
    pids = descendants_of(broker_node.process.pid) | {broker_node._epmd.pid}
    found = listening_addresses(pids)
    assert "127.0.0.1" in found
    assert found <= {"127.0.0.1", "::1"}


def test_files_of_a_node_are_for_its_owner_alone(broker_node: LocalRabbitMQ) -> None:
    assert broker_node.directory.stat().st_mode & 0o077 == 0
    for name in ("definitions.json", ".erlang.cookie"):
        assert (broker_node.directory / name).stat().st_mode & 0o077 == 0
    assert PASSWORDS["router"] not in (broker_node.directory / "definitions.json").read_text()


async def test_a_killed_rabbitmq_starts_again_on_its_ports_with_its_data(
    broker_node: LocalRabbitMQ,
) -> None:
    data = broker_node.directory / "data" / "turnout@localhost"
    made = data.stat().st_ino
    address = broker_node.address
    before = descendants_of(broker_node.process.pid)
    broker_node.kill()
    await eventually(lambda: not any(map(is_running, before)), what="nothing of it is left")
    broker_node.start()
    await asyncio.to_thread(broker_node.wait_ready)
    assert broker_node.address == address
    assert data.stat().st_ino == made
    await log_in(broker_node, "router", PASSWORDS["router"])


async def test_a_stopped_rabbitmq_leaves_no_process_and_no_record(
    broker_node: LocalRabbitMQ,
) -> None:
    assert broker_node._epmd is not None
    pids = descendants_of(broker_node.process.pid) | {broker_node._epmd.pid}
    await asyncio.to_thread(broker_node.stop)
    assert broker_node.process.exit_code == 0
    await eventually(lambda: not any(map(is_running, pids)), what="nothing of it is left")
    assert not list(broker_node.directory.glob("*process"))


def test_redis_asks_for_its_password_and_never_evicts(cache_node: LocalRedis) -> None:
    with redis.Redis.from_url(cache_node.url()) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    stranger = redis.Redis.from_url(str(URL(cache_node.url()).with_user(None)))
    with stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()
    assert "secret" not in Path(f"/proc/{cache_node.process.pid}/cmdline").read_text()
    assert listening_addresses({cache_node.process.pid}) == {"127.0.0.1"}


def test_redis_finds_what_it_held_before_it_was_stopped(cache_node: LocalRedis) -> None:
    with redis.Redis.from_url(cache_node.url()) as client:
        client.set("kept", "yes")
    cache_node.stop()
    later = LocalRedis(cache_node.directory, "secret")
    later.start()
    try:
        later.wait_ready()
        with redis.Redis.from_url(later.url()) as client:
            assert client.get("kept") == b"yes"
    finally:
        later.kill()


def test_a_paused_redis_is_silent_until_it_is_resumed(cache_node: LocalRedis) -> None:
    cache_node.pause()
    assert not cache_node.is_ready()
    cache_node.resume()
    cache_node.wait_ready(within=5)


def test_a_node_that_cannot_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    node = LocalRedis(tmp_path, "has a space and is therefore no password")
    node.start()
    with pytest.raises(NodeError, match=r"(?s)Redis ended while it started.*FATAL CONFIG"):
        node.wait_ready()


def test_a_process_that_survived_its_starter_is_ended_by_the_next_start(tmp_path: Path) -> None:
    record = tmp_path / "process"
    survivor = Process(["sleep", "600"], environment=dict(os.environ), record=record)
    survivor.start(subprocess.DEVNULL)
    assert end_leftover(record)
    assert survivor.wait() == -signal.SIGTERM
    assert not end_leftover(record)


def test_a_process_that_only_has_the_recorded_number_is_left_alone(tmp_path: Path) -> None:
    record = tmp_path / "process"
    record.write_text(f"{os.getpid()} 1\n")
    assert not end_leftover(record)
    record.write_text("garbage")
    assert not end_leftover(record)


async def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    """The parent is killed -9: it cannot tell its child anything."""
    script = (
        "import os, subprocess, time\n"
        "from pathlib import Path\n"
        "from turnout.router.nodes.process import Process\n"
        f"record = Path({str(tmp_path / 'process')!r})\n"
        "child = Process(['sleep', '600'], environment={}, record=record)\n"
        "child.start(subprocess.DEVNULL)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'router'}:{ROOT / 'shared'}"}
    with subprocess.Popen(  # noqa: ASYNC220 - it is read before anything else is done
        [sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert is_running(child)
        parent.kill()
    await eventually(lambda: not is_running(child), what="the child has ended")


async def test_stopping_ends_what_ignores_the_signal_and_what_it_started(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    process = Process(
        ["sh", "-c", f"trap '' TERM; sleep 600 & touch {ready}; wait"],
        environment=dict(os.environ),
        record=tmp_path / "process",
    )
    process.start(subprocess.DEVNULL)
    await eventually(ready.exists, what="the shell ignores SIGTERM")
    leader = process.pid
    process.stop(grace=0.2)
    await eventually(lambda: not session_of(leader), what="nothing of the session is left")


def test_free_ports_are_different_and_beyond_the_reach_of_outgoing_connections() -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    found = ports.free_ports(20)
    assert len(set(found)) == 20
    assert max(found) < lowest


def test_a_port_on_which_somebody_listens_is_not_free() -> None:
    with socket.create_server((ports.LOOPBACK, 0)) as server:
        assert not ports.is_free(server.getsockname()[1])


@pytest.mark.parametrize(
    ("check", "url", "setting"),
    [
        (given.check_amqp, "amqp://u:hidden@{}/", "TURNOUT_AMQP_URL"),
        (given.check_management, "http://u:hidden@{}", "TURNOUT_MANAGEMENT_URL"),
        (given.check_redis, "redis://:hidden@{}/0", "TURNOUT_REDIS_URL"),
    ],
)
async def test_a_given_address_that_does_not_answer_is_named_with_its_setting(
    check: Callable[..., Awaitable[None]], url: str, setting: str
) -> None:
    address = f"{ports.LOOPBACK}:{ports.free_ports(1)[0]}"
    with pytest.raises(NodeError, match=f"{setting}: .*{address}") as caught:
        await check(url.format(address), setting=setting)
    assert "hidden" not in str(caught.value)


async def test_a_given_redis_that_answers_is_accepted(redis_url: str) -> None:
    await given.check_redis(redis_url, setting="TURNOUT_REDIS_URL")


async def test_a_given_rabbitmq_that_answers_is_accepted(amqp_url: str) -> None:
    await given.check_amqp(amqp_url, setting="TURNOUT_AMQP_URL")
