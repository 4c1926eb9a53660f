"""Depth: how many runs wait in a queue, asked of the broker itself and so never stale."""

from pamqp import commands

from turnout.router.link import Links
from turnout.shared.amqp import Channel
from turnout.shared.errors import ChannelRefused


class Depth:
    """Counts what waits in queues.

    Args:
        links: the connection to the broker.
    """

    def __init__(self, links: Links) -> None:
        self._links = links

    async def of(self, queue: str) -> int:
        """Count the messages of a queue that no worker has; 0 if there is no such queue.

        Raises:
            BrokerError: the broker cannot be asked.
        """
        channel = Channel()
        await (await self._links.connected()).open(channel)
        try:
            answer = await channel.call(
                commands.Queue.Declare(queue=queue, passive=True), commands.Queue.DeclareOk
            )
        except ChannelRefused as error:
            if error.code == 404:
                return 0
            raise
        await channel.close()
        return answer.message_count or 0
