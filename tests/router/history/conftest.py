"""The two streams at a real broker, and a link to them."""

from collections.abc import AsyncIterator

import pytest
from pamqp import commands
from tests.support.history import Writer, declare_streams, writing
from tests.support.topology import linked

from turnout.router.history.archive import Archive
from turnout.router.link import Links
from turnout.shared import names
from turnout.shared.amqp import Channel


@pytest.fixture
async def streams(amqp_url: str) -> AsyncIterator[str]:
    """The address of a broker with both streams, empty."""
    await declare_streams(amqp_url)
    yield amqp_url
    await delete_streams(amqp_url)


@pytest.fixture
async def writer(streams: str) -> AsyncIterator[Writer]:
    async with writing(streams) as writer:
        yield writer


@pytest.fixture
async def links(streams: str) -> AsyncIterator[Links]:
    links = Links([streams], "test")
    yield links
    await links.close()


@pytest.fixture
def archive(links: Links) -> Archive:
    return Archive(links)


async def delete_streams(url: str) -> None:
    async with linked(url) as link:
        channel = Channel()
        await link.open(channel)
        for name in (names.ARCHIVE, names.OUTCOMES):
            await channel.call(commands.Queue.Delete(queue=name), commands.Queue.DeleteOk)
