"""Bindings that nothing asks for any more."""

from aiohttp import ClientSession
from tests.support.brokers import Broker
from tests.support.topology import declare_route, linked

from turnout.router.declare import unbind
from turnout.router.management import Management
from turnout.router.stale import GRACE, Stale
from turnout.router.topology import Binding
from turnout.shared import names

OLD = Binding(names.TRIGGERS, "turnout.flow.crm.update", "old")
NEW = OLD._replace(routing_key="new")


def test_a_binding_is_removed_when_it_was_of_no_use_for_long_enough() -> None:
    stale = Stale()
    assert stale.due([OLD, NEW], [NEW], 100.0) == frozenset()
    assert stale.due([OLD, NEW], [NEW], 99.0 + GRACE) == frozenset()
    assert stale.due([OLD, NEW], [NEW], 100.0 + GRACE) == {OLD}


def test_a_binding_that_is_wanted_again_in_between_stays() -> None:
    stale = Stale()
    assert stale.due([OLD], [], 0.0) == frozenset()
    assert stale.due([OLD], [OLD], 1.0) == frozenset()
    assert stale.due([OLD], [], GRACE) == frozenset()


def test_what_is_not_bound_to_the_exchange_of_triggers_is_none_of_ours() -> None:
    stale = Stale()
    foreign = Binding("amq.direct", "turnout.flow.crm.update", "old")
    default = Binding("", "turnout.flow.crm.update", "turnout.flow.crm.update")
    for now in (0.0, GRACE):
        assert stale.due([foreign, default], [], now) == frozenset()


async def test_bindings_are_removed_from_the_broker_whether_they_exist_or_not(
    rabbitmq: Broker, vhost: str, amqp_url: str
) -> None:
    await declare_route(amqp_url, names.TRIGGERS, OLD.queue, "old")
    await declare_route(amqp_url, names.TRIGGERS, OLD.queue, "new")
    async with linked(amqp_url) as link:
        await unbind(link, [OLD, OLD._replace(routing_key="never bound")])
    async with ClientSession() as session:
        present = await Management(session, rabbitmq.management_url, vhost).survey()
    assert {each for each in present.bindings if each.exchange == names.TRIGGERS} == {NEW}
