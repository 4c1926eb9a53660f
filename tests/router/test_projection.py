"""What ingress will read of the registry, in a real Redis."""

from datetime import UTC, datetime, timedelta

from redis.asyncio import Redis
from tests.support.waiting import eventually

from turnout.router import topology
from turnout.router.entries import names_of_key
from turnout.router.projection import Projection
from turnout.router.registry import Limits, Registry
from turnout.shared import keys as shared_keys
from turnout.shared import names
from turnout.shared.records import KeyRecord, TriggerRecord


async def _key(redis: Redis, digest: str) -> KeyRecord:
    entry = await redis.get(names.auth_key(digest))
    assert isinstance(entry, bytes)
    return KeyRecord.decode(entry)


async def _trigger(redis: Redis, routing_key: str) -> TriggerRecord:
    entry = await redis.get(names.auth_trigger(routing_key))
    assert isinstance(entry, bytes)
    return TriggerRecord.decode(entry)


async def test_records_hold_the_limits_that_hold(registry: Registry, redis: Redis) -> None:
    await registry.create_group(
        "crm",
        limits=Limits(5.0, 50, 9, max_body_bytes=99, max_header_bytes=9999, read_timeout=5.0),
    )
    await registry.create_flow("crm", "update")
    plain, _ = await registry.create_key("crm", "Plain")
    slow, _ = await registry.create_key("crm", "Slow", limits=Limits(rate=0.5))
    anyone = await registry.create_trigger("crm", "update", description="group's size")
    limits = Limits(2.0, 4, max_body_bytes=0, max_header_bytes=1024, read_timeout=0.5)
    own = await registry.create_trigger("crm", "update", description="own", limits=limits)
    await registry.mark_live([anyone.id, own.id])
    await Projection(redis).write(await registry.snapshot())

    keys = [await _key(redis, each.digest) for each in (plain, slow)]
    assert [(each.rate, each.burst, each.in_flight) for each in keys] == [
        (5.0, 50, 9),
        (0.5, None, 9),
    ]
    triggers = [await _trigger(redis, each.routing_key) for each in (anyone, own)]
    assert [(each.rate, each.burst) for each in triggers] == [(None, None), (2.0, 4)]
    assert [
        (each.max_body_bytes, each.max_header_bytes, each.read_timeout) for each in triggers
    ] == [(99, 9999, 5.0), (0, 1024, 0.5)]


async def test_a_group_without_limits_leaves_them_to_ingress(
    registry: Registry, redis: Redis
) -> None:
    await registry.create_group("crm")
    key, _ = await registry.create_key("crm", "CRM")
    await Projection(redis).write(await registry.snapshot())
    assert await _key(redis, key.digest) == KeyRecord(key.id, key.group_id)


async def test_a_change_of_a_group_rewrites_the_records_of_its_keys_alone(
    registry: Registry, redis: Redis
) -> None:
    digests = {}
    for group in ("crm", "shop"):
        await registry.create_group(group)
        key, _ = await registry.create_key(group, "Key")
        digests[group] = key.digest
    projection = Projection(redis)
    await projection.write(await registry.snapshot())
    # Removed by hand: only what has changed is written again, and that tells which it was.
    await redis.delete(*(names.auth_key(digest) for digest in digests.values()))
    await registry.limit_group("crm", {"rate": 5.0})
    await projection.write(await registry.snapshot())
    assert (await _key(redis, digests["crm"])).rate == 5.0
    assert await redis.get(names.auth_key(digests["shop"])) is None
    await registry.limit_group("crm", {"rate": None})
    await projection.write(await registry.snapshot())
    assert (await _key(redis, digests["crm"])).rate is None


async def test_a_rotated_key_has_two_records_of_which_the_old_one_ends(
    registry: Registry, redis: Redis
) -> None:
    await registry.create_group("crm")
    key, _ = await registry.create_key("crm", "CRM")
    projection = Projection(redis)
    rotated, _ = await registry.rotate_key(key.id, timedelta(hours=1))
    await projection.write(await registry.snapshot())
    old, new = await _key(redis, key.digest), await _key(redis, rotated.digest)
    assert rotated.old_until is not None
    assert rotated.rotated_at is not None
    assert (old.key_id, new.key_id) == (key.id, key.id)
    assert old.expires_at == rotated.old_until.timestamp()
    assert old.old_since == rotated.rotated_at.timestamp()
    assert (new.expires_at, new.old_since) == (None, None)

    soon = datetime.now(UTC) + timedelta(minutes=1)
    await registry.change_key(key.id, {"expires_at": soon})
    await projection.write(await registry.snapshot())
    assert (await _key(redis, key.digest)).expires_at == soon.timestamp()

    await registry.end_key_overlap(key.id)
    await projection.write(await registry.snapshot())
    assert await redis.get(names.auth_key(key.digest)) is None


async def test_a_moved_and_rotated_trigger_has_a_route_for_each_routing_key(
    registry: Registry, redis: Redis
) -> None:
    await registry.create_group("crm")
    await registry.create_flow("crm", "update")
    report = await registry.create_flow("crm", "report")
    made = await registry.create_trigger("crm", "update", description="Deals")
    await registry.mark_live([made.id])
    new = shared_keys.new_routing_key()
    await registry.rotate_trigger(await registry.trigger(made.id), new, timedelta(hours=1))
    moved = await registry.move_trigger(await registry.trigger(made.id), report.id)
    await Projection(redis).write(await registry.snapshot())
    records = [await _trigger(redis, each) for each in (new, made.routing_key)]
    assert [each.flow for each in records] == ["report", "report"]
    assert {each.route for each in records} == {
        binding.routing_key for binding in topology.bindings_of(moved)
    }
    assert [each.expires_at is None for each in records] == [True, False]


async def test_what_was_withdrawn_is_not_brought_back_by_an_earlier_snapshot(
    registry: Registry, redis: Redis
) -> None:
    await registry.create_group("crm")
    key, _ = await registry.create_key("crm", "CRM")
    projection = Projection(redis)
    earlier = await registry.snapshot()
    revoked = await registry.revoke_key(key.id)
    await projection.withdraw(names_of_key(revoked))
    await projection.write(earlier)
    assert await redis.get(names.auth_key(key.digest)) is None
    assert await projection.is_complete()
    await projection.write(await registry.snapshot())
    assert await redis.get(names.auth_key(key.digest)) is None


async def test_a_registry_that_has_not_changed_is_not_read_again(registry: Registry) -> None:
    await registry.create_group("crm")
    first = await registry.snapshot()
    assert await registry.snapshot() is first
    await registry.ensure_admin_token(shared_keys.new_key(shared_keys.ADMIN_TOKEN).text)
    assert await registry.snapshot() is first, "nothing follows from admin tokens"
    await registry.create_key("crm", "CRM")
    second = await registry.snapshot()
    assert second.revision > first.revision
    assert [key.name for key in second.keys] == ["CRM"]


async def test_a_new_router_leaves_alone_what_the_cache_has_already(
    registry: Registry, redis: Redis
) -> None:
    await registry.create_group("crm")
    kept, _ = await registry.create_key("crm", "Kept")
    lost, _ = await registry.create_key("crm", "Lost")
    await Projection(redis).write(await registry.snapshot())
    await redis.delete(names.auth_key(lost.digest))
    await redis.set(names.auth_key("stranger"), b"")
    await redis.config_resetstat()
    await Projection(redis).write(await registry.snapshot())
    assert await _key(redis, lost.digest)
    assert await _key(redis, kept.digest)
    assert not await redis.exists(names.auth_key("stranger"))
    stats = await redis.info("commandstats")
    assert stats["cmdstat_mset"]["calls"] == 1
    assert stats["cmdstat_del"]["calls"] == 2, "the stranger and the marker"


async def test_a_router_that_lost_its_lease_without_noticing_writes_nothing(
    registry: Registry, redis: Redis
) -> None:
    await registry.create_group("crm")
    key, _ = await registry.create_key("crm", "CRM")
    before, after = Projection(redis, lambda: 1), Projection(redis, lambda: 2)
    await before.write(await registry.snapshot())
    await after.write(await registry.snapshot())
    epoch = await redis.get(names.AUTH_EPOCH)
    await redis.delete(names.auth_key(key.digest))  # as if it had been revoked
    for _ in range(2):
        await before.write(await registry.snapshot())
    assert not await redis.exists(names.auth_key(key.digest))
    assert await redis.get(names.AUTH_EPOCH) == epoch
    assert await after.is_complete()


async def test_when_an_overlap_ends_the_registry_is_read_again(
    registry: Registry, redis: Redis
) -> None:
    await registry.create_group("crm")
    key, _ = await registry.create_key("crm", "CRM")
    await registry.rotate_key(key.id, timedelta(seconds=0.3))
    projection = Projection(redis)
    await projection.write(await registry.snapshot())
    assert await redis.exists(names.auth_key(key.digest)) == 1

    async def gone() -> bool:
        await projection.write(await registry.snapshot())
        return not await redis.exists(names.auth_key(key.digest))

    await eventually(gone, what="the record of the old secret is gone")
