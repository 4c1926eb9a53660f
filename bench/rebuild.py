"""How long does it take to fill an empty Redis and an empty broker again?

    bench/run rebuild [--records 100000] [--triggers 10000]

A registry of that many API keys and HTTP triggers is written to SQLite. Then the router's own parts
bring an empty Redis in line with it, again when nothing has changed, and again after one change;
and an empty broker in line with a smaller one. "Held up" is the longest time for which the event
loop of the router did nothing else. The result goes to the terminal and to
docs/performance-rebuild.md.
"""

import argparse
import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
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
from turnout.shared import cache, ids, keys

_GROUPS = 100
_FLOWS = 100

_PAGE = page.DIRECTORY / "performance-rebuild.md"


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


@contextlib.asynccontextmanager
async def registry_of(directory: Path, name: str) -> AsyncIterator[tuple[Database, str]]:
    """Make an empty registry."""
    url = f"sqlite+aiosqlite:///{directory / name}.db"
    async with open_database(url) as database:
        await database.migrate()
        yield database, url


async def timed(work: Callable[[], Awaitable[object]]) -> tuple[float, float]:
    """Return how many seconds work takes, and for how many it held up the event loop."""
    held_up = 0.0

    async def watch() -> None:
        nonlocal held_up
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.001)
            held_up = max(held_up, time.perf_counter() - began)

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0)
    began = time.perf_counter()
    await work()
    took = time.perf_counter() - began
    await asyncio.sleep(0.002)
    watching.cancel()
    return took, held_up


async def main(records: int, triggers: int) -> None:
    """Measure, print and write."""
    rows: list[tuple[str, tuple[float, float]]] = []
    with tempfile.TemporaryDirectory(prefix="turnout-bench-") as name:
        directory = Path(name)
        async with nodes.running(directory) as found:
            client = cache.connect(found.cache.url(), timeout=5.0)
            async with registry_of(directory, "large") as (database, _):
                await fill(database, records // 2, records - records // 2)
                registry, projection = Registry(database), Projection(client)

                async def project() -> None:
                    await projection.write(await registry.snapshot())

                what = f"{records:,} keys and triggers"
                rows.append((f"{what} into an empty Redis", await timed(project)))
                rows.append((f"{what}, nothing has changed", await timed(project)))
                await registry.create_key("group-0", "one more")
                rows.append((f"{what}, one has changed", await timed(project)))
                again = Projection(client)
                snapshot = await registry.snapshot()
                rows.append(
                    (
                        f"{what}, compared by a new router",
                        await timed(lambda: again.write(snapshot)),
                    )
                )
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
        ("what", "seconds", "event loop held up, ms"),
        [(what, f"{took:.2f}", f"{held * 1000:.0f}") for what, (took, held) in rows],
    )
    text = f"# Rebuilding\n\n`bench/run rebuild`. {machine.describe()}. {versions}.\n\n{table}"
    print(text)
    _PAGE.write_text(text)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="bench/run rebuild", description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--triggers", type=int, default=10_000)
    chosen = parser.parse_args()
    asyncio.run(main(chosen.records, chosen.triggers))
