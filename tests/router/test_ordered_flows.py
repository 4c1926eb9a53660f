"""Ordered flows in the registry, at the broker and in the cache."""

from redis.asyncio import Redis
from tests.router.serving import Admin

from turnout.router import topology
from turnout.router.projection import Projection
from turnout.router.registry import Registry
from turnout.router.settings import RouterSettings
from turnout.router.topology import Binding
from turnout.shared import names
from turnout.shared.announcement import Served
from turnout.shared.notices import FlowRecord
from turnout.shared.records import TriggerRecord


async def test_an_ordered_flow_has_a_queue_and_a_binding_for_each_partition(
    registry: Registry,
) -> None:
    await registry.create_group("crm")
    await registry.create_flow("crm", "update", ordered_by="customer.id", partitions=2)
    trigger = await registry.create_trigger("crm", "update", description="?")
    wanted = topology.of(await registry.snapshot(), RouterSettings())
    queues = {queue.name: queue.arguments for queue in wanted.queues if "flow" in queue.name}
    assert sorted(queues) == ["turnout.flow.crm.update.p0", "turnout.flow.crm.update.p1"]
    assert all(each["x-single-active-consumer"] for each in queues.values())
    for number in range(2):
        route = f"{trigger.routing_key}.p{number}"
        binding = Binding(names.TRIGGERS, f"turnout.flow.crm.update.p{number}", route)
        assert binding in wanted.bindings


async def test_ingress_and_workers_read_the_rule_in_the_cache(
    registry: Registry, redis: Redis
) -> None:
    await registry.create_group("crm")
    await registry.create_flow("crm", "update", ordered_by="customer.id")
    trigger = await registry.create_trigger("crm", "update", description="?")
    await registry.mark_live([trigger.id])
    await Projection(redis).write(await registry.snapshot())
    entry = await redis.get(names.auth_trigger(trigger.routing_key))
    record = TriggerRecord.decode(entry if isinstance(entry, bytes) else b"")
    assert (record.ordered_by, record.partitions) == ("customer.id", 8)
    notice = await redis.hget(names.FLOWS, "crm/update")
    assert FlowRecord.decode(notice or b"") == FlowRecord("customer.id", 8)


async def test_a_worker_that_announces_an_ordered_flow_has_it_registered(
    registry: Registry,
) -> None:
    served = Served("crm/update", "", 100, 0, "customer.id", 4)
    (flow,) = await registry.register_flows({"crm/update": served})
    assert (flow.ordered_by, flow.partitions) == ("customer.id", 4)


async def test_the_api_makes_ordered_flows_and_refuses_a_wrong_rule(admin: Admin) -> None:
    await admin.registry.create_group("crm")
    path = "groups/crm/flows"
    body = {"slug": "update", "ordered_by": "customer.id", "partitions": 4}
    flow = await admin.call("POST", path, body, status=201)
    assert (flow["ordered_by"], flow["partitions"]) == ("customer.id", 4)
    for wrong in ({"partitions": 4}, {"ordered_by": "a b"}, {"ordered_by": "a", "partitions": 65}):
        problem = await admin.call("POST", path, {"slug": "other", **wrong}, status=422)
        assert problem["errors"][0]["field"] == "ordered_by"
