"""The snapshot: what was changed is read again, and the same as if all of it had been."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from redis.asyncio import Redis
from tests.support.waiting import eventually

from turnout.router import topology
from turnout.router.database import Database, open_database
from turnout.router.entries import names_of_key, notices_of, records_of
from turnout.router.projection import Projection
from turnout.router.registry import NewApiKey, Registry, Snapshot, Trigger
from turnout.router.settings import RouterSettings
from turnout.shared import keys, names

Verb = Callable[[Registry], Awaitable[object]]


@pytest.fixture
async def full(registry: Registry) -> Registry:
    """A registry of two groups with flows, keys and live triggers."""
    for group in ("crm", "shop"):
        await registry.create_group(group)
        for flow in ("update", "report"):
            await registry.create_flow(group, flow)
        await registry.create_key(group, "First")
        await registry.create_key(group, "Second", flows=["update"])
        await registry.create_trigger(group, "update", description="any")
        await registry.create_trigger(group, "update", description="some", accepts=["First"])
    await registry.mark_live([each.id for each in await registry.list_triggers()])
    return registry


async def _first(registry: Registry) -> str:
    return (await registry.list_keys("crm"))[0].id


async def _some(registry: Registry) -> Trigger:
    found = await registry.list_flow_triggers("crm", "update")
    return next(each for each in found if each.description == "some")


async def _limit(registry: Registry) -> None:
    of_triggers = {"max_body_bytes": 9, "max_header_bytes": 9999, "read_timeout": 9.0}
    await registry.limit_group("crm", {"rate": 5.0, **of_triggers})


async def _create(registry: Registry) -> None:
    await registry.create_key("crm", "Third")
    await registry.create_flow("crm", "third")
    new = await registry.create_trigger(
        "crm", "third", description="?", new_key=NewApiKey("Fourth", flows=["third"])
    )
    await registry.mark_live([new.id])


async def _rename(registry: Registry) -> None:
    await registry.change_key(await _first(registry), {"name": "Renamed", "flows": ["report"]})


async def _rotate_twice(registry: Registry) -> None:
    await registry.rotate_key(await _first(registry), timedelta(hours=1))
    await registry.end_key_overlap(await _first(registry))
    await registry.rotate_key(await _first(registry), timedelta(hours=1))


async def _revoke(registry: Registry) -> None:
    await registry.revoke_key(await _first(registry))


async def _rotate_and_move(registry: Registry) -> None:
    found = await _some(registry)
    await registry.rotate_trigger(found, keys.new_routing_key(), timedelta(hours=1))
    report = await registry.flow("crm", "report")
    await registry.move_trigger(await registry.trigger(found.id), report.id)


async def _delete(registry: Registry) -> None:
    await registry.delete_trigger((await _some(registry)).id)
    await registry.disable_trigger((await registry.list_triggers())[0].id)


async def _pause_and_cancel(registry: Registry) -> None:
    await registry.pause_flow("crm", "update", "?")
    await registry.cancel("shop", "update", "?")


async def _import(registry: Registry) -> None:
    await registry.create_group("empty")
    contents = await registry.export(secrets=True)
    await registry.delete_trigger((await _some(registry)).id)
    await registry.import_(contents)


VERBS: list[Verb] = [
    _limit,
    _create,
    _rename,
    _rotate_twice,
    _revoke,
    _rotate_and_move,
    _delete,
    _pause_and_cancel,
    _import,
]


def _follows(snapshot: Snapshot) -> tuple[object, ...]:
    """Return all that others make of a snapshot."""
    return (
        dict(records_of(snapshot)),
        notices_of(snapshot),
        topology.of(snapshot, RouterSettings()).listed(),
        {each.id: each for each in snapshot.parties},
        snapshot.flows,
        snapshot.until,
    )


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.__name__)
async def test_what_is_read_again_is_what_everything_would_be(
    full: Registry, database: Database, redis: Redis, verb: Verb
) -> None:
    settings = RouterSettings()
    projection = Projection(redis)
    before = await full.snapshot()
    await projection.write(before)
    known = topology.of(before, settings)
    await verb(full)
    after = await full.snapshot()
    whole = await Registry(database).snapshot()
    assert _follows(after) == _follows(whole)
    assert topology.following(known, before, after, settings) == topology.of(whole, settings)
    await projection.write(after)
    assert await _cached(redis) == dict(records_of(whole))


async def _cached(redis: Redis) -> dict[str, bytes]:
    prefixes = (names.AUTH_KEY_PREFIX, names.AUTH_TRIGGER_PREFIX)
    found = [
        each.decode() for prefix in prefixes async for each in redis.scan_iter(match=f"{prefix}*")
    ]
    return {name: await redis.get(name) for name in found}


async def test_what_was_not_changed_is_not_read_again(full: Registry) -> None:
    before = await full.snapshot()
    key = before.keys[0]
    await full.change_key(key.id, {"name": "Renamed"})
    after = await full.snapshot()
    assert after.flows is before.flows
    assert [each for each in after.keys if each not in before.keys] == [after.key(key.id)]
    same = {id(each) for each in before.parties} & {id(each) for each in after.parties}
    assert len(same) == 6, "all but the key and the trigger that shows its name"


async def test_what_another_process_changed_is_read_too(
    full: Registry, database_url: str, database: Database
) -> None:
    await full.snapshot()
    async with open_database(database_url) as other:
        key, _ = await Registry(other).create_key("crm", "Elsewhere")
    await full.create_key("crm", "Here")
    assert {each.name for each in (await full.snapshot()).keys} >= {"Elsewhere", "Here"}
    assert (await full.snapshot()).key(key.id) == key


async def test_when_an_overlap_ends_its_key_alone_is_read_again(
    full: Registry, redis: Redis
) -> None:
    first = await _first(full)
    old = await full.key(first)
    await full.rotate_key(first, timedelta(seconds=0.3))
    projection = Projection(redis)
    during = await full.snapshot()
    await projection.write(during)

    async def is_over() -> bool:
        return await full.snapshot() is not during

    await eventually(is_over, what="the overlap is over")
    after = await full.snapshot()
    assert len({id(each) for each in during.parties} - {id(each) for each in after.parties}) <= 2
    await projection.write(after)
    assert not await redis.exists(names.auth_key(old.digest))


async def test_a_record_that_was_withdrawn_for_nothing_comes_back(
    full: Registry, redis: Redis
) -> None:
    projection = Projection(redis)
    await projection.write(await full.snapshot())
    records = names_of_key(await full.key(await _first(full)))
    await projection.withdraw(records)
    assert not await redis.exists(*records)
    projection.admit(records)
    assert not await projection.is_complete()
    await projection.write(await full.snapshot())
    assert await redis.exists(*records) == 1
