"""How long does it take to fill an empty Redis and an empty broker again?

    bench/run rebuild [--records 100000] [--triggers 10000]

A registry of that many API keys and HTTP triggers is written to SQLite. Then the router's own parts
bring an empty Redis in line with it, again when nothing has changed, and again after one change;
and an empty broker in line with a smaller one. "Held up" is the longest time for which the event
loop of the router did nothing else; "without an answer" is for how long ingress, asking Redis as it
does for a key that it does not know yet, would have had to refuse the last of all keys. The result
goes to the terminal and to docs/performance.md.
"""

import argparse
import asyncio
import concurrent.futures
import contextlib
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import aiohttp
import redis
import sqlalchemy as sa
from bench import machine, nodes, page

from turnout.router import management, models
from turnout.router.control import Control
from turnout.router.database import Database, open_database
from turnout.router.lease import Lease
from turnout.router.management import Management
from turnout.router.projection import Projection
from turnout.router.registry import Registry
from turnout.router.settings import RouterSettings
from turnout.shared import cache, ids, keys, names

_GROUPS = 100
_FLOWS = 100


async def fill(database: Database, number_of_keys: int, number_of_triggers: int) -> None:
    """Write a registry, all of its triggers live."""
    moment = datetime.now(UTC)
    groups = [
        {"id": ids.new(ids.GROUP), "slug": f"group-{n}", "name": "Group", "created_at": moment}
        for n in range(_GROUPS)
    ]
    flows = [
        {
            "id": ids.new(ids.FLOW),
            "group_id": groups[n % _GROUPS]["id"],
            "slug": f"flow-{n}",
            "name": "Flow",
            "created_at": moment,
        }
        for n in range(_FLOWS)
    ]
    secrets = [keys.new_key() for _ in range(number_of_keys)]
    api_keys = [
        {
            "id": ids.new(ids.KEY),
            "group_id": groups[n % _GROUPS]["id"],
            "name": f"key {n}",
            "prefix": secret.prefix,
            "digest": secret.digest,
            "created_at": moment,
            "any_flow": True,
        }
        for n, secret in enumerate(secrets)
    ]
    triggers = [
        {
            "id": ids.new(ids.TRIGGER),
            "flow_id": flows[n % _FLOWS]["id"],
            "description": f"trigger {n}",
            "routing_key": keys.new_routing_key(),
            "moved": False,
            "enabled": True,
            "methods": ["POST"],
            "key_in_query": False,
            "any_key": True,
            "created_at": moment,
            "live_since": moment,
        }
        for n in range(number_of_triggers)
    ]
    tables = {
        models.Group: groups,
        models.Flow: flows,
        models.ApiKey: api_keys,
        models.Trigger: triggers,
    }
    async with database.writing() as connection:
        for table, rows in tables.items():
            if rows:
                await connection.execute(sa.insert(table), rows)


async def database_keys(database: Database) -> list[str]:
    """Return the digests of all keys, in the order in which they are projected."""
    async with database.reading() as connection:
        rows = await connection.execute(sa.select(models.ApiKey.digest).order_by(models.ApiKey.id))
        return [*rows.scalars()]


@contextlib.asynccontextmanager
async def registry_of(directory: Path, name: str) -> AsyncIterator[tuple[Database, str]]:
    """Make an empty registry."""
    url = f"sqlite+aiosqlite:///{directory / name}.db"
    async with open_database(url) as database:
        await database.migrate()
        yield database, url


class Timed(NamedTuple):
    """What some work took, in seconds."""

    all: float
    held_up: float
    """The longest time for which the event loop did nothing else."""
    without_answer: float | None = None
    """For how long a key could not be checked."""


async def timed(
    work: Callable[[], Awaitable[object]], cache_url: str = "", record: str = ""
) -> Timed:
    """Do some work, and see meanwhile what it does to the event loop, and to a record in Redis."""
    held_up = 0.0

    async def watch() -> None:
        nonlocal held_up
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.001)
            held_up = max(held_up, time.perf_counter() - began)

    watching = asyncio.create_task(watch())
    with concurrent.futures.ThreadPoolExecutor() as pool:  # whose event loop is another one
        ended = threading.Event()
        asking = pool.submit(_without_answer, cache_url, record, ended) if record else None
        await asyncio.sleep(0)
        began = time.perf_counter()
        await work()
        took = time.perf_counter() - began
        ended.set()
        without_answer = None if asking is None else await asyncio.wrap_future(asking)
    await asyncio.sleep(0.002)
    watching.cancel()
    return Timed(took, held_up, without_answer)


def _without_answer(url: str, record: str, ended: threading.Event) -> float:
    """Return for how many seconds Redis had neither a record nor the epoch."""
    lacked = 0.0
    with redis.Redis.from_url(url) as client:
        before = time.perf_counter()
        while not ended.wait(0.002):
            found = client.mget(names.AUTH_EPOCH, record)
            now = time.perf_counter()
            lacked += (now - before) if found == [None, None] else 0.0
            before = now
    return lacked


async def copy(registry: Registry, directory: Path, what: str) -> list[tuple[str, Timed]]:
    """Export a registry, and import it into an empty one."""
    contents = await registry.export(secrets=True)
    async with registry_of(directory, "copy") as (database, _):
        return [
            (f"{what}, exported", await timed(lambda: registry.export(secrets=True))),
            (f"{what}, imported", await timed(lambda: Registry(database).import_(contents))),
        ]


async def main(records: int, triggers: int) -> None:
    """Measure, print and write."""
    rows: list[tuple[str, Timed]] = []
    with tempfile.TemporaryDirectory(prefix="turnout-bench-") as made:
        directory = Path(made)
        async with nodes.running(directory) as found:
            client = cache.connect(found.cache.url(), timeout=5.0)
            async with registry_of(directory, "large") as (database, _):
                await fill(database, records // 2, records - records // 2)
                registry, projection = Registry(database), Projection(client)

                last = (await database_keys(database))[-1]

                async def project(
                    registry: Registry = registry, projection: Projection = projection
                ) -> None:
                    await projection.write(await registry.snapshot())

                async def project_anew() -> None:
                    await project(Registry(database), Projection(client))

                async def measure(what: str, work: Callable[[], Awaitable[object]]) -> None:
                    found_ = await timed(work, found.cache.url(), names.auth_key(last))
                    rows.append((f"{records:,} keys and triggers{what}", found_))

                await measure(" into an empty Redis", project)
                await measure(", nothing has changed", project)
                await registry.create_key("group-0", "one more")
                await measure(", one key is new", project)
                await registry.revoke_key((await registry.list_keys("group-0"))[0].id)
                await measure(", one key is revoked", project)
                await measure(", compared by a new router", project_anew)
                await client.flushdb()
                await measure(", after a flush", project)
                rows += await copy(registry, directory, f"{records:,} keys and triggers")
            async with (
                registry_of(directory, "small") as (database, url),
                aiohttp.ClientSession() as session,
            ):
                await fill(database, 0, triggers)
                settings = RouterSettings.model_validate(
                    {
                        "amqp_url": found.amqp_url("router"),
                        "database_url": url,
                        "archive_max_bytes": 1_000_000_000,
                    }
                )
                lease = Lease(database)
                await lease.acquire()
                vhost = management.vhost_of(settings.amqp_urls[0])
                broker = Management(session, found.management_url, vhost)
                control = Control(settings, Registry(database), client, broker, lease)
                keeping = asyncio.create_task(lease.keep())
                what = f"{triggers:,} triggers of {_FLOWS} flows"
                rows.append((f"{what} onto an empty broker", await timed(control.apply)))
                rows.append((f"{what}, nothing is missing", await timed(control.apply)))
                keeping.cancel()
                await control.close()
            await client.aclose()
            versions = await found.versions()
    table = page.table(
        ("what", "seconds", "event loop held up, ms", "a key without an answer, s"),
        [
            (
                what,
                f"{each.all:.2f}",
                f"{each.held_up * 1000:.0f}",
                "-" if each.without_answer is None else f"{each.without_answer:.2f}",
            )
            for what, each in rows
        ],
    )
    text = f"{table}\n{machine.describe()}. {versions}."
    print(text)
    page.replace("rebuild", text)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="bench/run rebuild", description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--triggers", type=int, default=10_000)
    chosen = parser.parse_args()
    asyncio.run(main(chosen.records, chosen.triggers))
