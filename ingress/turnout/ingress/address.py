"""The address on which calls are taken."""

import contextlib
import socket
from typing import Any

from turnout.ingress.settings import IngressSettings
from turnout.shared.errors import AddressTaken

#: Connections that wait until they are accepted; the kernel's net.core.somaxconn may allow fewer.
#: When a process was killed, its share of the new ones waits here for the next process.
BACKLOG = 4096


def bind(settings: IngressSettings, slots: int = 1) -> list[list[socket.socket]]:
    """Bind the address once for each slot.

    Returns:
        The sockets of each slot: one for each address that the host's name has. Those of the first
        slot listen, which keeps everybody else out. To the others the kernel gives no connection
        until they listen.

    Raises:
        AddressTaken: somebody else listens there, or it is no address of this machine.
    """
    host, port = settings.ingress_host, settings.ingress_port
    slotted: list[list[socket.socket]] = [[] for _ in range(slots)]
    first, *others = slotted
    with contextlib.ExitStack() as undo:
        try:
            for family, address in _addresses(host, port):
                listening = undo.enter_context(_bind(family, address))
                listening.listen(BACKLOG)
                # Not before: until here it was to be refused where others share the port.
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                first.append(listening)
                for each in others:
                    bound = _bind(family, listening.getsockname(), share=True)
                    each.append(undo.enter_context(bound))
        except OSError as error:
            raise AddressTaken(
                f"ingress cannot listen on {host}:{port} ({error.strerror}): "
                "set TURNOUT_INGRESS_HOST or TURNOUT_INGRESS_PORT"
            ) from None
        undo.pop_all()
    return slotted


def _addresses(host: str, port: int) -> list[tuple[socket.AddressFamily, Any]]:
    """Find the addresses of a name; an empty one means all of this machine."""
    # A machine without IPv6 may still have names for it.
    family = socket.AF_UNSPEC if socket.has_dualstack_ipv6() else socket.AF_INET
    found = socket.getaddrinfo(
        host or None, port, family, socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    # A hosts file may name an address twice.
    return list(dict.fromkeys((each[0], each[4]) for each in found))


def _bind(family: socket.AddressFamily, address: Any, *, share: bool = False) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Connections of an earlier process that linger are no obstacle.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, share)
        if family == socket.AF_INET6:
            # Of all of the machine's addresses, those of IPv4 have a socket of their own.
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound
