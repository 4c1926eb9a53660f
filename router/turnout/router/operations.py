"""Operations: what operators do to runs through the broker, and the connections that it takes."""

from functools import partial

from redis.asyncio import Redis

from turnout.router.database import Database
from turnout.router.depth import Depth
from turnout.router.duties import Duty
from turnout.router.history.archive import Archive
from turnout.router.letters import intake
from turnout.router.letters.dead import DeadLetters
from turnout.router.letters.unrouted import Bindings, UnroutedEvents
from turnout.router.link import Links
from turnout.router.queues import Queues
from turnout.router.registry import Registry
from turnout.router.replay.replays import Replays
from turnout.router.run_once import RunOnce
from turnout.router.settings import RouterSettings
from turnout.shared import names
from turnout.shared.publisher import Publisher
from turnout.shared.replies import Replies


class Operations:
    """Run once, dead letters, unrouted events, replays, queues.

    Args:
        settings: of the router.
        database: where they are kept.
        registry: knows which flows are paused.
        client: the cache.
        bindings: tells which routing keys lead to a queue.
    """

    def __init__(
        self,
        settings: RouterSettings,
        database: Database,
        registry: Registry,
        client: Redis,
        bindings: Bindings,
    ) -> None:
        self._links = Links(settings.amqp_urls, "turnout-router operates")
        self._publisher = Publisher(settings.amqp_urls, name="turnout-router publishes")
        self._replies = Replies(client)
        depth = Depth(self._links)
        self.once = RunOnce(registry, client, depth, self._publisher, self._replies)
        self.dead = DeadLetters(database)
        self.unrouted = UnroutedEvents(database, bindings, self._publisher)
        self.replays = Replays(database, Archive(self._links), self._publisher, depth)
        self.queues = Queues(database, self._links, self._publisher, depth, client)

    async def start(self) -> None:
        """Begin to connect; returns at once."""
        await self._publisher.start()

    @property
    def duties(self) -> dict[str, Duty]:
        """What the active router does all the time."""
        return {
            "replies": self._replies.run,
            "dead letters": partial(intake.run, self._links, names.DEAD, self.dead.keep),
            "unrouted events": partial(intake.run, self._links, names.UNROUTED, self.unrouted.keep),
            "routing again": self.unrouted.run,
            "replays": self.replays.run,
        }

    async def close(self) -> None:
        """Close the connections."""
        await self._publisher.close()
        await self._links.close()
