"""`turnout up`: one command, everything runs, nothing is left behind."""

import asyncio
import io
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.support.process import ROOT, Command
from tests.support.waiting import PATIENCE, eventually

from turnout.router import up
from turnout.router.nodes import ports
from turnout.router.nodes.errors import NodeError
from turnout.router.nodes.process import end_leftover
from turnout.router.up.console import Console
from turnout.router.up.lock import Lock
from turnout.router.up.secret import Secrets
from turnout.router.up.service import Program
from turnout.router.up.supervisor import Supervisor

# -- the supervisor, with children that any machine has


class Stage:
    """A supervisor, and what people read of it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.stream = io.StringIO()
        self.console = Console(self.stream)
        self.supervisor = Supervisor(self.console, first_delay=0.05)

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    def program(self, name: str, script: str, **options: Any) -> Program:
        return Program(
            name,
            ["sh", "-c", script],
            environment=dict(os.environ),
            record=self.directory / f"{name}.process",
            console=self.console,
            **options,
        )


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


async def test_a_line_of_a_child_carries_its_name(stage: Stage) -> None:
    await stage.supervisor.start(stage.program("ingress", "echo one; echo two >&2; sleep 600"))
    await eventually(lambda: "two" in stage.text, what="both lines are relayed")
    await stage.supervisor.stop()
    assert "ingress  | one\ningress  | two\n" in stage.text


async def test_a_child_that_dies_is_started_again_later_each_time_and_said_so(stage: Stage) -> None:
    program = stage.program("worker", "sleep 600")
    await stage.supervisor.start(program)
    for delay in ("0.05", "0.1", "0.2"):
        pid = program.process.pid
        os.kill(pid, signal.SIGKILL)
        said = f"worker was ended by SIGKILL; it starts again in {delay} s"
        await eventually(lambda said=said: said in stage.text, what=f"it says {said!r}")
        await eventually(lambda pid=pid: program.process.pid != pid, what="it runs again")
    await stage.supervisor.stop()
    assert not program.process.is_running


async def test_a_child_that_ends_before_it_is_ready_is_an_error(stage: Stage) -> None:
    (port,) = ports.free_ports(1)
    program = stage.program(
        "router", "echo wrong setting; exit 2", ready_url=f"http://127.0.0.1:{port}/readyz"
    )
    with pytest.raises(NodeError, match="router ended while it started"):
        await stage.supervisor.start(program)
    await eventually(lambda: "router   | wrong setting" in stage.text, what="its log is shown")
    await stage.supervisor.stop()


async def test_children_are_stopped_in_the_reverse_order_of_their_start(stage: Stage) -> None:
    script = "trap 'echo bye; exit 0' TERM; echo hello; while :; do sleep 0.02; done"
    for name in ("first", "second", "third"):
        await stage.supervisor.start(stage.program(name, script))
    await eventually(lambda: stage.text.count("hello") == 3, what="all run")
    await stage.supervisor.stop()
    await eventually(lambda: stage.text.count("bye") == 3, what="all were asked to end")
    said = [line.partition("|")[0].strip() for line in stage.text.splitlines() if "bye" in line]
    assert said == ["third", "second", "first"]


async def test_a_child_that_ignores_the_signal_is_killed_after_its_grace(stage: Stage) -> None:
    script = "trap '' TERM; echo ignoring; while :; do sleep 0.02; done"
    program = stage.program("deaf", script, grace=0.1)
    await stage.supervisor.start(program)
    await eventually(lambda: "| ignoring" in stage.text, what="it ignores the signal")
    await stage.supervisor.stop()
    assert program.process.exit_code == -signal.SIGKILL


async def test_killing_ends_a_stop_that_takes_long(stage: Stage) -> None:
    program = stage.program(
        "deaf", "trap '' TERM; echo ignoring; sleep 600 & wait; wait", grace=600
    )
    await stage.supervisor.start(program)
    await eventually(lambda: "| ignoring" in stage.text, what="it ignores the signal")
    stopping = asyncio.create_task(stage.supervisor.stop())
    await eventually(lambda: "stopping deaf" in stage.text, what="it is being stopped")
    stage.supervisor.kill()
    await asyncio.wait_for(stopping, PATIENCE)


# -- what people see


def test_a_console_has_colours_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    def written() -> bytes:
        leader, follower = pty.openpty()
        with os.fdopen(leader, "rb", buffering=0) as screen, os.fdopen(follower, "w") as terminal:
            Console(terminal).line("ingress", "hello")
            return screen.read(100) or b""

    monkeypatch.delenv("NO_COLOR", raising=False)
    assert b"\x1b[" in written()
    monkeypatch.setenv("NO_COLOR", "1")
    assert b"\x1b[" not in written()
    monkeypatch.delenv("NO_COLOR")
    stream = io.StringIO()
    Console(stream).line("ingress", "hello")
    assert stream.getvalue() == "ingress  | hello\n"


def test_a_second_start_is_told_of_the_first(tmp_path: Path) -> None:
    with (
        Lock(tmp_path, "ingress http://127.0.0.1:1"),
        pytest.raises(
            NodeError, match=f"already runs here: process {os.getpid()}, ingress http://127.0.0.1:1"
        ),
        Lock(tmp_path, "another"),
    ):
        pass
    with Lock(tmp_path, "a later one"):
        pass


@pytest.mark.parametrize("service", ["INGRESS", "ADMIN"])
def test_a_taken_port_is_named_with_its_setting_before_anything_starts(
    service: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(ROOT)
    for name, port in zip(("INGRESS", "ADMIN"), ports.free_ports(2), strict=True):
        monkeypatch.setenv(f"TURNOUT_{name}_PORT", str(port))
    with socket.create_server((ports.LOOPBACK, 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setenv(f"TURNOUT_{service}_PORT", str(port))
        assert up.run(tmp_path / "up", []) == 1
    output = capsys.readouterr().out
    assert f"port {port} of 127.0.0.1 is taken: set TURNOUT_{service}_PORT to another" in output
    assert {path.name for path in (tmp_path / "up").iterdir()} == {"lock"}


def test_secrets_are_made_once_and_for_their_owner_alone(tmp_path: Path) -> None:
    made = Secrets.of(tmp_path)
    assert Secrets.of(tmp_path) == made
    assert (tmp_path / "secrets.json").stat().st_mode & 0o777 == 0o600
    assert made.admin_token not in repr(made)


# -- all of it, with private nodes


class Up:
    """`turnout up` in a directory of its own, on ports of its own."""

    def __init__(self, directory: Path) -> None:
        (directory / "examples").symlink_to(ROOT / "examples")
        self.directory = directory
        self.state = directory / ".turnout"
        ingress, admin = ports.free_ports(2)
        self.environment = {
            "TURNOUT_INGRESS_PORT": str(ingress),
            "TURNOUT_ADMIN_PORT": str(admin),
        }
        self.command = self.another("up")

    def another(self, name: str) -> Command:
        return Command(
            ["up"], environment=self.environment, directory=self.directory, name=name, grace=40
        )

    async def start(self) -> float:
        """Start it, wait until it says that it is up, and return how many seconds that took."""
        begin = time.monotonic()
        said = self._times_up
        self.command.start()
        await self.command.wait_until(lambda: self._times_up > said, "it is up", within=60)
        return time.monotonic() - begin

    @property
    def _times_up(self) -> int:
        return self.command.log.count("Ctrl-C stops everything.")

    @property
    def facts(self) -> Any:
        return json.loads((self.state / "up.json").read_text())

    def curl(self) -> Any:
        """Paste the curl command that was printed last, and return what it answers."""
        lines = self.command.log.splitlines()
        begin = max(i for i, line in enumerate(lines) if line.startswith("curl "))
        end = next(i for i in range(begin, len(lines)) if not lines[i].endswith("\\"))
        pasted = "\n".join(lines[begin : end + 1])
        done = subprocess.run(
            ["sh", "-c", pasted + " --silent --write-out '\n%{http_code}'"],
            capture_output=True,
            text=True,
            check=True,
        )
        body, _, status = done.stdout.rpartition("\n")
        return int(status), json.loads(body)

    def pid(self, record: str) -> int:
        """Return the process that a record names; 0 while there is none."""
        try:
            return int((self.state / record).read_text().split()[0])
        except (OSError, IndexError):
            return 0

    def processes(self) -> set[int]:
        """Return the processes that run in this directory."""
        found = set()
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if (entry / "cwd").readlink().is_relative_to(self.directory):
                    found.add(int(entry.name))
            except OSError:  # it has ended meanwhile
                continue
        return found


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    system = Up(tmp_path_factory.mktemp("up"))
    yield system
    system.command.stop()
    for record in system.state.glob("**/*process"):
        end_leftover(record)


async def test_up_ends_in_a_curl_command_that_works_when_pasted(system: Up) -> None:
    await system.start()
    status, answer = system.curl()
    assert status == 202
    assert answer["event_id"].startswith("evt_")
    assert answer["status"] == "accepted"


async def test_the_facts_are_in_up_json_for_its_owner_alone(system: Up) -> None:
    facts = system.facts
    assert (system.state / "up.json").stat().st_mode & 0o777 == 0o600
    assert set(facts) == {"ingress_url", "admin_url", "admin_token", "demo", "services"}
    assert set(facts["demo"]) == {"group", "flow", "trigger_url", "api_key"}
    headers = {"Authorization": f"Bearer {facts['admin_token']}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(f"{facts['admin_url']}/api/v1/flows/demo/hello") as response,
    ):
        assert response.status == 200


async def test_a_second_up_at_the_same_time_says_that_one_runs(system: Up) -> None:
    second = system.another("second").start()
    assert await second.wait_end() == 1
    assert f"turnout up already runs here: process {system.command.pid}" in second.log
    assert system.facts["ingress_url"] in second.log


@pytest.mark.parametrize(
    "record", ["worker.process", "ingress.process", "router.process", "redis/process"]
)
async def test_what_is_killed_comes_back_and_calls_succeed_again(system: Up, record: str) -> None:
    killed = system.pid(record)
    os.kill(killed, signal.SIGKILL)
    await eventually(
        lambda: system.pid(record) not in (0, killed), what=f"{record} names a new one"
    )

    def is_accepted() -> bool:
        try:
            return bool(system.curl()[0] == 202)
        except (subprocess.CalledProcessError, ValueError):
            return False

    await eventually(is_accepted, what="a call is accepted")


async def test_sigterm_stops_everything_in_order_and_leaves_nothing(system: Up) -> None:
    running = system.processes()
    assert len(running) >= 7  # up, router, ingress, worker, redis, rabbitmq, epmd
    assert await asyncio.to_thread(system.command.stop) == 0
    order = [
        line.rpartition(" ")[2]
        for line in system.command.log.splitlines()
        if line.startswith("turnout  | stopping")
    ]
    assert order == ["ingress", "worker", "router", "Redis", "RabbitMQ"]
    await eventually(lambda: not system.processes(), what="nothing of it is left")


async def test_a_second_start_finds_its_state(system: Up) -> None:
    before = system.facts
    await system.start()
    ports = {"services"}  # of broker and cache, which are new ones each time
    assert {name: system.facts[name] for name in system.facts.keys() - ports} == {
        name: before[name] for name in before.keys() - ports
    }
    assert system.curl()[0] == 202


async def test_after_a_kill_of_up_itself_nothing_is_left_and_it_starts_again(system: Up) -> None:
    before = system.processes()
    system.command.signal(signal.SIGKILL)
    await system.command.wait_end()
    await system.start()
    assert system.curl()[0] == 202
    assert not before & system.processes()


async def test_a_second_ctrl_c_hurries(system: Up) -> None:
    system.command.signal(signal.SIGINT)
    await system.command.wait_until(
        lambda: system.command.log.rstrip().endswith("stopping RabbitMQ"), "it stops RabbitMQ"
    )
    system.command.signal(signal.SIGINT)
    begin = time.monotonic()
    assert await system.command.wait_end() == 0
    assert time.monotonic() - begin < 3
    await eventually(lambda: not system.processes(), what="nothing of it is left")


async def test_a_setting_that_cannot_work_is_named(system: Up) -> None:
    (port,) = ports.free_ports(1)
    system.environment["TURNOUT_AMQP_URL"] = f"amqp://u:hidden@127.0.0.1:{port}/v"
    wrong = system.another("wrong").start()
    assert await wrong.wait_end() == 1
    assert f"TURNOUT_AMQP_URL: RabbitMQ at 127.0.0.1:{port} cannot be reached" in wrong.log
    assert "hidden" not in wrong.log


def test_up_without_flows_says_how_to_name_them(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from turnout.router.cli import main; main()", "up"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "no flows: name a module" in done.stdout
