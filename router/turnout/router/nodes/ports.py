"""Free TCP ports on loopback."""

import os
import random
import socket
from pathlib import Path

LOOPBACK = "127.0.0.1"

#: So many processes share the ports.
_PROCESSES = 16

_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Tell whether a server could listen there now.

    Raises:
        OSError: `host` is not an address of this machine.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        # As servers do: a connection of an earlier server that lingers is no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            if isinstance(error, PermissionError) or error.errno == 98:  # EADDRINUSE
                return False
            raise
    return True


def free_ports(count: int) -> list[int]:
    """Return different ports on which nobody listens.

    They lie below the range from which the kernel gives ports to outgoing connections: a client
    that keeps trying a port of that range while its server restarts can end up connected to itself
    and so keep the server out. Processes that were started one after the other choose among
    different ones: what one has chosen is free until its server listens.
    """
    try:
        lowest = int(_EPHEMERAL.read_text().split()[0])
    except OSError:
        lowest = 32768
    found: list[int] = []
    first = max(1024, lowest - 16384) + os.getpid() % _PROCESSES
    candidates = range(first, lowest, _PROCESSES)
    for port in random.sample(candidates, len(candidates)):
        if is_free(port):
            found.append(port)
        if len(found) == count:
            return found
    raise OSError(f"there are no {count} free ports below {lowest}")
