"""The registry, on SQLite and on PostgreSQL."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import text

from turnout.router.database import Database
from turnout.router.registry import Conflict, Invalid, Limits, NotFound, Registry
from turnout.shared import keys
from turnout.shared.announcement import Served
from turnout.shared.errors import InvalidName

pytestmark = pytest.mark.both_databases


@pytest.fixture
async def crm(registry: Registry) -> Registry:
    """A registry with groups crm and shop, each with a flow."""
    for group in ("crm", "shop"):
        await registry.create_group(group)
        await registry.create_flow(group, "update")
    return registry


async def test_a_group_without_a_name_is_called_like_its_slug(registry: Registry) -> None:
    assert (await registry.create_group("crm")).name == "crm"
    assert (await registry.create_group("shop", name="The Shop")).name == "The Shop"
    assert [group.slug for group in await registry.list_groups()] == ["crm", "shop"]


async def test_what_was_created_is_read_back_the_same(crm: Registry) -> None:
    flow = await crm.create_flow("crm", "report", name="Monthly report")
    key, _ = await crm.create_key(
        "crm", "Partner", expires_at=datetime.now(UTC) + timedelta(days=30)
    )
    trigger = await crm.create_trigger(
        "crm", "report", description="CRM webhook", accepts=["Partner"], methods=("GET", "POST")
    )
    assert await crm.group("crm") in await crm.list_groups()
    assert await crm.flow("crm", "report") == flow
    assert await crm.key(key.id) == key
    assert await crm.trigger(trigger.id) == trigger
    assert flow.address == "crm/report"


async def test_two_groups_have_flows_and_keys_of_the_same_name(crm: Registry) -> None:
    await crm.create_key("crm", "CRM")
    await crm.create_key("shop", "CRM")
    assert [flow.address for flow in await crm.list_flows()] == ["crm/update", "shop/update"]
    assert [flow.address for flow in await crm.list_flows("shop")] == ["shop/update"]
    assert [key.group for key in await crm.list_keys("shop")] == ["shop"]


async def test_what_exists_is_not_created_again(crm: Registry) -> None:
    await crm.create_key("crm", "CRM")
    with pytest.raises(Conflict, match="group 'crm'"):
        await crm.create_group("crm")
    with pytest.raises(Conflict, match="flow 'crm/update'"):
        await crm.create_flow("crm", "update")
    with pytest.raises(Conflict, match="key named 'CRM'"):
        await crm.create_key("crm", "CRM")


async def test_what_is_not_there_is_named(crm: Registry) -> None:
    with pytest.raises(NotFound, match="group 'hr'"):
        await crm.group("hr")
    with pytest.raises(NotFound, match="group 'hr'"):
        await crm.create_flow("hr", "update")
    with pytest.raises(NotFound, match="group 'hr'"):
        await crm.list_flows("hr")
    with pytest.raises(NotFound, match="group 'hr'"):
        await crm.create_key("hr", "CRM")
    with pytest.raises(NotFound, match="flow 'crm/report'"):
        await crm.create_trigger("crm", "report", description="?")
    with pytest.raises(NotFound, match="flow 'crm/report'"):
        await crm.list_flow_triggers("crm", "report")
    with pytest.raises(NotFound, match="key 'key_0'"):
        await crm.key("key_0")
    with pytest.raises(NotFound, match="trigger 'trg_0'"):
        await crm.trigger("trg_0")


@pytest.mark.parametrize("slug", ["", "CRM", "-crm", "c.rm", "c" * 41, "crm\n"])
async def test_an_illegal_slug_is_refused(crm: Registry, slug: str) -> None:
    with pytest.raises(Invalid) as group:
        await crm.create_group(slug)
    with pytest.raises(Invalid) as flow:
        await crm.create_flow("crm", slug)
    assert group.value.field == flow.value.field == "slug"


async def test_only_the_digest_of_a_key_is_stored(crm: Registry, database: Database) -> None:
    key, secret = await crm.create_key("crm", "CRM")
    assert keys.is_well_formed(secret)
    assert key.digest == keys.digest(secret)
    assert key.prefix == keys.prefix(secret)
    assert secret not in repr(key)
    assert key.digest not in repr(key)
    async with database.reading() as connection:
        stored = (await connection.execute(text("SELECT * FROM api_keys"))).one()
    assert not [column for column in stored if secret.rpartition("_")[2] in str(column)]


async def test_a_moment_comes_back_in_utc(crm: Registry) -> None:
    east = datetime(2199, 1, 31, 1, tzinfo=timezone(timedelta(hours=2)))
    key, _ = await crm.create_key("crm", "CRM", expires_at=east)
    stored = (await crm.key(key.id)).expires_at
    assert stored == east
    assert stored is not None
    assert stored.tzinfo is UTC


async def test_a_key_that_would_be_expired_is_refused(crm: Registry) -> None:
    with pytest.raises(Invalid) as refused:
        await crm.create_key("crm", "CRM", expires_at=datetime.now(UTC) - timedelta(seconds=1))
    assert refused.value.field == "expires_at"


async def test_a_key_is_not_named_like_the_id_of_another(crm: Registry) -> None:
    key, _ = await crm.create_key("crm", "CRM")
    with pytest.raises(Invalid) as refused:
        await crm.create_key("crm", key.id)
    assert refused.value.field == "name"


async def test_each_trigger_has_a_routing_key_of_its_own(crm: Registry) -> None:
    made = [await crm.create_trigger("crm", "update", description="CRM") for _ in range(20)]
    assert len({trigger.routing_key for trigger in made}) == 20
    assert all(keys.is_routing_key(trigger.routing_key) for trigger in made)
    assert made[0].routing_key not in repr(made[0])


async def test_a_trigger_accepts_any_key_and_post_unless_told_otherwise(crm: Registry) -> None:
    trigger = await crm.create_trigger("crm", "update", description="CRM")
    assert trigger.keys is None
    assert trigger.key_ids is None
    assert trigger.methods == ("POST",)
    assert trigger.enabled
    assert not trigger.key_in_query


async def test_keys_are_chosen_by_name_or_id_and_counted_once(crm: Registry) -> None:
    first, _ = await crm.create_key("crm", "First")
    second, _ = await crm.create_key("crm", "Second")
    await crm.create_key("crm", "Third")
    trigger = await crm.create_trigger(
        "crm", "update", description="CRM", accepts=["Second", first.id, second.id]
    )
    assert trigger.key_ids == (first.id, second.id)


async def test_a_key_of_another_group_is_refused_like_one_that_does_not_exist(
    crm: Registry,
) -> None:
    await crm.create_key("crm", "Own")
    other, _ = await crm.create_key("shop", "Other")
    messages = []
    for label in ("Other", other.id, "nothing"):
        with pytest.raises(Invalid) as refused:
            await crm.create_trigger("crm", "update", description="?", accepts=["Own", label])
        assert refused.value.field == "keys.1"
        messages.append(str(refused.value).replace(label, "…"))
    assert len(set(messages)) == 1
    assert await crm.list_triggers() == []


async def test_an_empty_list_of_keys_or_methods_is_refused(crm: Registry) -> None:
    with pytest.raises(Invalid) as no_keys:
        await crm.create_trigger("crm", "update", description="?", accepts=[])
    with pytest.raises(Invalid) as no_methods:
        await crm.create_trigger("crm", "update", description="?", methods=())
    assert (no_keys.value.field, no_methods.value.field) == ("keys", "methods")


async def test_a_key_knows_the_triggers_that_accept_it(crm: Registry) -> None:
    key, _ = await crm.create_key("crm", "CRM")
    await crm.create_key("crm", "Other")
    await crm.create_trigger("shop", "update", description="another group")
    await crm.create_trigger("crm", "update", description="not chosen", accepts=["Other"])
    await crm.create_trigger("crm", "update", description="any")
    await crm.create_trigger("crm", "update", description="chosen", accepts=["CRM"])
    accepting = await crm.list_triggers_accepting(key)
    assert {trigger.description for trigger in accepting} == {"any", "chosen"}


async def test_the_first_time_that_a_trigger_is_live_counts(crm: Registry) -> None:
    first = await crm.create_trigger("crm", "update", description="first")
    second = await crm.create_trigger("crm", "update", description="second")
    await crm.mark_live([])
    await crm.mark_live([first.id])
    since = (await crm.trigger(first.id)).live_since
    assert since is not None
    await crm.mark_live([first.id, second.id, "trg_unknown"])
    assert (await crm.trigger(first.id)).live_since == since
    assert (await crm.trigger(second.id)).live_since is not None


def _served(*addresses: str) -> dict[str, Served]:
    return {address: Served(address, "", 1, 0) for address in addresses}


async def test_announced_flows_are_registered_once_with_their_groups(crm: Registry) -> None:
    announced = _served("crm/update", "crm/report", "hr/hire", "hr/leave")
    added = await crm.register_flows(announced)
    assert [flow.address for flow in added] == ["crm/report", "hr/hire", "hr/leave"]
    assert await crm.register_flows(announced) == []
    assert [group.slug for group in await crm.list_groups()] == ["crm", "hr", "shop"]


async def test_two_who_register_the_same_flows_share_the_work(registry: Registry) -> None:
    announced = _served(*(f"crm/flow-{number}" for number in range(10)))
    added = await asyncio.gather(*(registry.register_flows(announced) for _ in range(3)))
    assert sorted(flow.address for each in added for flow in each) == sorted(announced)


async def test_an_illegal_announcement_registers_nothing(registry: Registry) -> None:
    with pytest.raises(InvalidName):
        await registry.register_flows(_served("crm/update", "no-group"))
    assert await registry.list_groups() == []


async def test_a_snapshot_holds_all_that_others_derive_from(crm: Registry) -> None:
    key, _ = await crm.create_key("crm", "CRM")
    await crm.create_key("shop", "Shop")
    chosen = await crm.create_trigger("crm", "update", description="chosen", accepts=["CRM"])
    anyone = await crm.create_trigger("shop", "update", description="any")
    snapshot = await crm.snapshot()
    assert [flow.address for flow in snapshot.flows] == ["crm/update", "shop/update"]
    assert {each.id: each.key_ids for each in snapshot.triggers} == {
        chosen.id: (key.id,),
        anyone.id: None,
    }
    assert {each.name for each in snapshot.keys} == {"CRM", "Shop"}
    assert chosen in snapshot.triggers


async def test_many_create_at_the_same_time(crm: Registry) -> None:
    await asyncio.gather(
        *(crm.create_key("crm", f"Key {number}") for number in range(30)),
        *(crm.create_trigger("crm", "update", description="CRM") for _ in range(30)),
        *(crm.snapshot() for _ in range(10)),
    )
    snapshot = await crm.snapshot()
    assert (len(snapshot.keys), len(snapshot.triggers)) == (30, 30)


async def test_an_admin_token_is_known_by_its_digest_alone(registry: Registry) -> None:
    token = keys.new_key(keys.ADMIN_TOKEN)
    assert await registry.count_admin_tokens() == 0
    assert await registry.admin_token(token.digest) is None
    await registry.ensure_admin_token(token.text)
    await registry.ensure_admin_token(token.text)
    assert await registry.count_admin_tokens() == 1
    known = await registry.admin_token(token.digest)
    assert known is not None
    assert known.prefix == token.prefix


async def test_an_api_key_is_no_admin_token(registry: Registry) -> None:
    for text_ in (keys.new_key().text, "ta_guess", ""):
        with pytest.raises(Invalid):
            await registry.ensure_admin_token(text_)


async def test_limits_are_read_back_as_they_were_created(registry: Registry) -> None:
    of_group = Limits(0.5, 3, 4, max_body_bytes=0, max_header_bytes=9999, read_timeout=5.0)
    await registry.create_group("crm", limits=of_group)
    await registry.create_flow("crm", "update")
    key, _ = await registry.create_key("crm", "CRM", limits=Limits(in_flight=7))
    trigger = await registry.create_trigger(
        "crm", "update", description="?", limits=Limits(rate=2.0, burst=9)
    )
    assert (await registry.group("crm")).limits == of_group
    assert await registry.key(key.id) == key
    assert await registry.trigger(trigger.id) == trigger
    assert key.effective_limits == Limits(rate=0.5, burst=3, in_flight=7)
    assert trigger.effective_limits == replace(of_group, rate=2.0, burst=9, in_flight=None)


@pytest.mark.parametrize(
    ("own", "above", "effective"),
    [
        (Limits(), Limits(), Limits()),
        (Limits(), Limits(rate=5, burst=50), Limits(rate=5, burst=50)),
        (Limits(rate=1), Limits(rate=5, burst=50), Limits(rate=1)),
        (Limits(rate=1, burst=2), Limits(rate=5, burst=50), Limits(rate=1, burst=2)),
        (Limits(rate=1, burst=2), Limits(rate=5), Limits(rate=1, burst=2)),
        (Limits(rate=1, burst=2), Limits(), Limits(rate=1, burst=2)),
        (Limits(in_flight=1), Limits(rate=5, in_flight=9), Limits(rate=5, in_flight=1)),
        (Limits(max_body_bytes=0), Limits(max_body_bytes=9), Limits(max_body_bytes=0)),
        (Limits(max_header_bytes=2), Limits(max_header_bytes=9), Limits(max_header_bytes=2)),
        (Limits(read_timeout=2), Limits(read_timeout=9), Limits(read_timeout=2)),
        (
            Limits(max_body_bytes=0),
            Limits(max_header_bytes=5, read_timeout=9),
            Limits(max_body_bytes=0, max_header_bytes=5, read_timeout=9),
        ),
        (Limits(), Limits(in_flight=9, max_body_bytes=9), Limits(in_flight=9, max_body_bytes=9)),
    ],
)
def test_a_limit_falls_back_on_what_is_above_and_a_burst_goes_with_its_rate(
    own: Limits, above: Limits, effective: Limits
) -> None:
    assert own.over(above) == effective


async def test_a_key_has_no_size_and_a_trigger_no_rate_from_its_group(registry: Registry) -> None:
    of_triggers = Limits(max_body_bytes=99, max_header_bytes=9999, read_timeout=5.0)
    everything = replace(of_triggers, rate=5.0, burst=50, in_flight=9)
    await registry.create_group("crm", limits=everything)
    await registry.create_flow("crm", "update")
    key, _ = await registry.create_key("crm", "CRM")
    trigger = await registry.create_trigger("crm", "update", description="?")
    assert key.effective_limits == Limits(rate=5.0, burst=50, in_flight=9)
    assert trigger.effective_limits == of_triggers


async def test_what_is_not_named_in_a_change_stays(crm: Registry) -> None:
    key, _ = await crm.create_key("crm", "CRM", limits=Limits(rate=5.0, burst=50, in_flight=9))
    other, _ = await crm.create_key("crm", "Other", limits=Limits(rate=1.0))
    await crm.change_key(key.id, {"limits": {"rate": 2.0}})
    assert (await crm.key(key.id)).limits == Limits(rate=2.0, burst=50, in_flight=9)
    await crm.change_key(key.id, {"limits": {"rate": None, "burst": None}})
    assert (await crm.key(key.id)).limits == Limits(in_flight=9)
    await crm.change_key(key.id, {"limits": {}})
    assert (await crm.key(key.id)).limits == Limits(in_flight=9)
    assert await crm.key(other.id) == other


async def test_a_change_of_a_group_reaches_its_keys_and_triggers_alone(crm: Registry) -> None:
    key, _ = await crm.create_key("crm", "CRM")
    trigger = await crm.create_trigger("crm", "update", description="?")
    other, _ = await crm.create_key("shop", "Shop")
    await crm.limit_group("crm", {"rate": 5.0, "max_body_bytes": 99})
    assert (await crm.key(key.id)).effective_limits == Limits(rate=5.0)
    assert (await crm.trigger(trigger.id)).effective_limits == Limits(max_body_bytes=99)
    assert await crm.key(other.id) == other


async def test_a_burst_without_a_rate_beside_it_is_refused(crm: Registry) -> None:
    await crm.limit_group("crm", {"rate": 5.0, "burst": 50})
    key, _ = await crm.create_key("crm", "CRM", limits=Limits(rate=1.0, burst=2))
    trigger = await crm.create_trigger("crm", "update", description="?")
    alone = Limits(burst=2)
    for change in (
        crm.create_group("hr", limits=alone),
        crm.create_key("crm", "Other", limits=alone),
        crm.create_trigger("crm", "update", description="other", limits=alone),
        crm.limit_group("crm", {"rate": None}),
        crm.change_key(key.id, {"limits": {"rate": None}}),
        crm.change_trigger(trigger.id, {"limits": {"burst": 2}}),
    ):
        with pytest.raises(Invalid, match=r"limits\.rate") as refused:
            await change
        assert refused.value.field == "limits.burst"
    assert await crm.list_keys("crm") == [await crm.key(key.id)]
    assert (await crm.key(key.id)).limits == Limits(rate=1.0, burst=2)
    assert (await crm.group("crm")).limits == Limits(rate=5.0, burst=50)


async def test_changes_at_the_same_time_never_leave_a_burst_without_a_rate(crm: Registry) -> None:
    key, _ = await crm.create_key("crm", "CRM", limits=Limits(rate=1.0))
    await asyncio.gather(
        *(crm.change_key(key.id, {"limits": {"burst": 2}}) for _ in range(5)),
        *(crm.change_key(key.id, {"limits": {"rate": None}}) for _ in range(5)),
        return_exceptions=True,
    )
    (await crm.key(key.id)).limits.check()


async def test_limits_of_what_is_not_there_cannot_be_changed(crm: Registry) -> None:
    with pytest.raises(NotFound, match="group 'hr'"):
        await crm.limit_group("hr", {"rate": 1.0})
    with pytest.raises(NotFound, match="key 'key_0'"):
        await crm.change_key("key_0", {"limits": {"rate": 1.0}})
    with pytest.raises(NotFound, match="trigger 'trg_0'"):
        await crm.change_trigger("trg_0", {"limits": {"rate": 1.0}})
