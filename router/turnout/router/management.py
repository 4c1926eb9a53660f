"""RabbitMQ's management API: the only way to see which bindings exist."""

import asyncio
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import quote

from aiohttp import ClientError, ClientSession, ClientTimeout, encode_basic_auth
from yarl import URL

from turnout.router.topology import Binding, Exchange, Topology, queues_named
from turnout.shared.backoff import Backoff
from turnout.shared.errors import BrokerError

_TIMEOUT = ClientTimeout(total=30)

#: Seconds for which it is asked again after a 500: RabbitMQ 3 fails to list the queues of a virtual
#: host for as long as it makes a stream there.
_FAILING = 3.0


class Depth(NamedTuple):
    """How much is in a queue."""

    ready: int = 0
    """Messages that no consumer has."""
    unacknowledged: int = 0
    rate: float = 0.0
    """Messages handed to consumers in a second, lately."""

    def plus(self, other: "Depth") -> "Depth":
        """Add that of another queue."""
        return Depth(
            self.ready + other.ready,
            self.unacknowledged + other.unacknowledged,
            self.rate + other.rate,
        )


class Management:
    """Reads the state of one virtual host.

    Args:
        session: with which it is asked.
        url: http[s]://user:password@host:port.
        vhost: the virtual host.
    """

    def __init__(self, session: ClientSession, url: str, vhost: str) -> None:
        address = URL(url)
        self._session = session
        credentials = encode_basic_auth(address.user or "guest", address.password or "guest")
        self._headers = {"Authorization": credentials}
        self._url = address.with_user(None)
        self._vhost = quote(vhost, safe="")

    async def survey(self) -> Topology:
        """Return the exchanges, queues and bindings that exist.

        Raises:
            BrokerError: the management API does not answer, or refuses.
        """
        exchanges, queues, bindings = await asyncio.gather(
            self._list("exchanges", "name,type,arguments"),
            self._list("queues", "name"),
            self._list("bindings", "source,destination,destination_type,routing_key"),
        )
        return Topology(
            exchanges=frozenset(
                Exchange(each["name"], each["type"], each["arguments"].get("alternate-exchange"))
                for each in exchanges
            ),
            queues=queues_named(each["name"] for each in queues),
            bindings=frozenset(
                Binding(each["source"], each["destination"], each["routing_key"])
                for each in bindings
                if each["destination_type"] == "queue"
            ),
        )

    async def depths(self) -> dict[str, Depth]:
        """Return how much is in each queue, as RabbitMQ knew it some seconds ago.

        Raises:
            BrokerError: the management API does not answer, or refuses.
        """
        columns = (
            "name,messages_ready,messages_unacknowledged,message_stats.deliver_get_details.rate"
        )
        return {
            each["name"]: Depth(
                # A queue that was just declared has no counts yet.
                each.get("messages_ready") or 0,
                each.get("messages_unacknowledged") or 0,
                _rate(each),
            )
            for each in await self._list("queues", columns)
        }

    async def _list(self, what: str, columns: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await self.get(f"{what}/{self._vhost}?columns={columns}")
        return found

    async def get(self, path: str) -> Any:
        """Read what is at a path below /api/, its parts quoted where they need it.

        Raises:
            BrokerError: the management API does not answer, fails, or refuses.
        """
        url = URL(f"{self._url}/api/{path}", encoded=True)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _FAILING
        backoff = Backoff(0.05, 0.5)
        try:
            while True:
                async with self._session.get(
                    url, headers=self._headers, timeout=_TIMEOUT
                ) as answer:
                    if answer.status == HTTPStatus.OK:
                        return await answer.json()
                if answer.status != HTTPStatus.INTERNAL_SERVER_ERROR:
                    raise BrokerError(
                        f"RabbitMQ's management API at {self._url} answers {answer.status}: "
                        "see TURNOUT_MANAGEMENT_URL and the user's tags"
                    )
                if loop.time() > deadline:
                    raise BrokerError(
                        f"RabbitMQ's management API at {self._url} fails (500): see RabbitMQ's log"
                    )
                await asyncio.sleep(backoff.delay())
        except (ClientError, TimeoutError) as error:
            raise BrokerError(
                f"RabbitMQ's management API at {self._url} cannot be reached: {error}"
            ) from None


def _rate(queue: dict[str, Any]) -> float:
    """Return how many messages of a queue are handed out each second."""
    # Where there is nothing to tell, RabbitMQ writes an empty list instead of an object.
    stats = queue.get("message_stats") or {}
    details = stats.get("deliver_get_details") or {}
    return details.get("rate") or 0.0


def default_url(amqp_url: str, port: int | None = None) -> str:
    """Return where the management API of a broker is unless its operator moved it.

    Args:
        amqp_url: with the user and password for both.
        port: if it is not the usual one.
    """
    address = URL(amqp_url)
    secure = address.scheme == "amqps"
    return str(
        URL.build(
            scheme="https" if secure else "http",
            user=address.user or "guest",
            password=address.password or "guest",
            host=address.host or "127.0.0.1",
            port=port or (15671 if secure else 15672),
        )
    )


def vhost_of(amqp_url: str) -> str:
    """Return the virtual host that an address names."""
    return URL(amqp_url).path[1:] or "/"
