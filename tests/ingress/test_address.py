"""One address for several processes, and for nobody else."""

import contextlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.process import Command

from turnout.ingress import address
from turnout.ingress.settings import IngressSettings
from turnout.shared.errors import AddressTaken


def settings(port: int, host: str = "127.0.0.1") -> IngressSettings:
    return IngressSettings(ingress_host=host, ingress_port=port)


@contextmanager
def bound(slots: int, port: int = 0, host: str = "127.0.0.1") -> Iterator[list[socket.socket]]:
    """Bind an address, and close its sockets afterwards; gives one for each slot."""
    slotted = address.bind(settings(port, host), slots)
    with contextlib.ExitStack() as stack:
        for each in slotted:
            stack.enter_context(contextlib.closing(each[0]))
        yield [each for (each,) in slotted]


def accepted(listening: socket.socket) -> int:
    """Accept what waits, and count it."""
    listening.setblocking(False)
    count = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            listening.accept()[0].close()
            count += 1
    return count


def test_any_free_port_is_the_same_one_for_all() -> None:
    with bound(3) as sockets:
        assert len({each.getsockname() for each in sockets}) == 1


def test_connections_go_to_those_who_listen() -> None:
    with bound(2) as (first, second), contextlib.ExitStack() as senders:

        def connect(times: int) -> None:
            for _ in range(times):
                sender = socket.create_connection(first.getsockname())
                senders.enter_context(contextlib.closing(sender))

        connect(30)
        assert accepted(first) == 30
        second.listen(address.BACKLOG)
        connect(100)
        shares = accepted(first), accepted(second)
        assert sum(shares) == 100
        assert min(shares) > 0


@pytest.mark.parametrize("slots", [1, 2])
def test_an_address_is_refused_to_a_second_ingress(slots: int) -> None:
    with bound(2) as sockets:
        port = sockets[0].getsockname()[1]
        with pytest.raises(AddressTaken, match=f":{port} .*TURNOUT_INGRESS_PORT"):
            address.bind(settings(port), slots)


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(AddressTaken, match=r"192\.0\.2\.1:0 "):  # RFC 5737: nobody's
        address.bind(settings(0, "192.0.2.1"))


def test_a_name_is_bound_at_each_of_its_addresses() -> None:
    families = {each[0] for each in socket.getaddrinfo(None, 0, flags=socket.AI_PASSIVE)}
    slotted = address.bind(settings(0, ""), 2)
    try:
        for each in slotted:
            assert {one.family for one in each} == families
    finally:
        for each in slotted:
            for one in each:
                one.close()


async def test_several_processes_say_as_one_does_that_an_address_is_taken(tmp_path: Path) -> None:
    with bound(1) as (taken,):
        port = taken.getsockname()[1]
        commands = [
            Command(
                ["ingress", "--port", str(port), *options],
                environment={},
                directory=tmp_path,
                name=name,
            )
            for name, options in {"one": (), "two": ("--processes", "2")}.items()
        ]
        ends = [await each.start().wait_end() for each in commands]
    assert ends == [1, 1]
    one, two = (each.log.splitlines()[-1] for each in commands)
    assert one == two
    assert os.strerror(98) in one  # EADDRINUSE


async def test_several_processes_tell_a_wrong_setting_once(tmp_path: Path) -> None:
    command = Command(
        ["ingress", "--processes", "3", "--port", "0"],
        environment={"TURNOUT_PUBLISH_DEADLINE": "0"},
        directory=tmp_path,
    )
    assert await command.start().wait_end() == 2
    assert command.log.count("TURNOUT_PUBLISH_DEADLINE") == 1
