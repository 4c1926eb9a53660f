"""Dead letters and unrouted events: kept in SQL, shown, and brought to an end."""

import asyncio
import base64
from typing import Any

import pytest
from pamqp import commands
from tests.support.system import PATIENCE, Key, System, Trigger
from tests.support.topology import linked
from tests.support.waiting import eventually

from turnout.router.declare import unbind
from turnout.router.topology import Binding
from turnout.shared import names
from turnout.shared.amqp import Channel, Delivery
from turnout.shared.publisher import ACCEPTED, Publisher


@pytest.fixture(scope="module")
def failing(system: System) -> Trigger:
    """A trigger of the flow that fails."""
    return asyncio.run(system.make_trigger("shop/failing"))


async def dead(system: System, event_id: str) -> dict[str, Any]:
    """Wait until a run of an event is a dead letter."""

    async def there() -> Any:
        found = await system.admin("GET", "dead?state=all&limit=1000", status=200)
        return next((each for each in found["items"] if each["event_id"] == event_id), None)

    letter: dict[str, Any] = await eventually(there, PATIENCE, f"{event_id} is a dead letter")
    return letter


async def test_a_dead_letter_is_kept_with_its_reason_and_payload(
    system: System, key: Key, failing: Trigger
) -> None:
    event_id = (await system.call(failing.path, key, data=b"order 7 is wrong")).event_id

    letter = await dead(system, event_id)

    assert letter["flow"] == "shop/failing"
    assert letter["attempt"] == 2
    assert letter["error"] == "ValueError: order 7 is wrong"
    assert letter["place"].startswith("flows/trouble.py:")
    assert letter["place"].endswith(" in failing")
    shown = await system.admin("GET", f"dead/{letter['id']}", status=200)
    assert base64.b64decode(shown["body"]) == b"order 7 is wrong"


async def test_a_dead_letter_whose_sender_wrote_no_utf_8_is_shown(
    system: System, key: Key, failing: Trigger
) -> None:
    head = f"POST {failing.path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {key.text}\r\n".encode()
    answer = await system.send(head + b"X-City: M\xfcnchen\r\nContent-Length: 0\r\n\r\n")
    letter = await dead(system, answer.event_id)
    shown = await system.admin("GET", f"dead/{letter['id']}", status=200)
    assert ["X-City", "M?nchen"] in shown["headers"]


async def test_the_history_knows_that_a_run_is_dead_which_ended_each_of_its_workers(
    system: System, key: Key
) -> None:
    await system.make_flow("shop/deadly")
    trigger = await system.make_trigger("shop/deadly")
    event_id = (await system.call(trigger.path, key)).event_id
    async with linked(system.amqp_url) as link:
        giving_back = GivingBack()
        await link.open(giving_back)
        consume = commands.Basic.Consume(queue=names.flow_queue("shop", "deadly"))
        await giving_back.call(consume, commands.Basic.ConsumeOk)
        letter = await dead(system, event_id)
    assert "delivery limit" in letter["reason"]

    async def dead_run() -> Any:
        (run,) = (await system.admin("GET", f"events/{event_id}", status=200))["runs"]
        return run if run["state"] == "dead" else None

    (attempt,) = (await eventually(dead_run, PATIENCE, "the run is dead"))["attempts"]
    assert attempt["redelivered"]
    assert "delivery limit" in attempt["error"]


class GivingBack(Channel):
    """A consumer that gives back whatever comes."""

    def on_delivery(self, delivery: Delivery) -> None:
        self.reject(delivery.tag, requeue=True)


async def test_those_that_look_alike_are_counted_together_and_discarded_with_a_reason(
    system: System, key: Key, failing: Trigger
) -> None:
    sent = [
        (await system.call(failing.path, key, data=b"line %d is odd" % number)).event_id
        for number in (1, 22)
    ]
    letters = [await dead(system, each) for each in sent]

    (fingerprint,) = {each["fingerprint"] for each in letters}
    groups = await system.admin("GET", f"dead-groups?fingerprint={fingerprint}", status=200)
    assert [each["count"] for each in groups["items"]] == [2]
    done = await system.admin(
        "POST",
        "dead/discard",
        {"fingerprint": fingerprint, "reason": "they were tests"},
        status=200,
    )

    assert done == {"count": 2}
    shown = await system.admin("GET", f"dead/{letters[0]['id']}", status=200)
    assert (shown["state"], shown["settled_by"]) == ("discarded", "they were tests")


async def put(system: System, flow: str, body: bytes) -> None:
    """Put a message into the queue of a flow."""
    publisher = Publisher([system.amqp_url], name="test publishes")
    await publisher.start()
    await publisher.ready()
    queue = names.flow_queue(*names.flow_address(flow))
    assert await publisher.publish("", queue, body, kind="test") == ACCEPTED
    await publisher.close()


async def test_what_is_no_envelope_is_kept_with_its_bytes(system: System) -> None:
    await put(system, "shop/seen", b"no envelope at all")

    async def there() -> Any:
        found = await system.admin("GET", "dead?flow=shop/seen&limit=1000", status=200)
        return next((each for each in found["items"] if each["id"].startswith("raw_")), None)

    letter = await eventually(there, PATIENCE, "it is kept")
    assert (letter["event_id"], letter["reason"]) == (None, "no envelope")
    assert "msgpack" in letter["error"]
    shown = await system.admin("GET", f"dead/{letter['id']}", status=200)
    assert base64.b64decode(shown["body"]) == b"no envelope at all"


async def test_everything_is_never_meant(system: System) -> None:
    refused = await system.admin("POST", "dead/discard", {"reason": "all of it"}, status=422)
    assert refused["errors"][0]["field"] == "ids"


async def test_a_dead_letter_runs_again_with_another_body(
    system: System, key: Key, failing: Trigger
) -> None:
    event_id = (await system.call(failing.path, key, json={"a": 1, "b": 2})).event_id
    letter = await dead(system, event_id)

    replay = await system.admin(
        "POST",
        "replays",
        {
            "dead": {"ids": [letter["id"]]},
            "edit": {"merge": {"b": None, "c": 3}},
            "start": True,
        },
        status=201,
    )

    async def died_again() -> Any:
        found = await system.admin("GET", "dead?limit=1000", status=200)
        again = [
            each
            for each in found["items"]
            if each["event_id"] == event_id and each["id"] != letter["id"]
        ]
        return again[0] if again else None

    again = await eventually(died_again, PATIENCE, "the new run is dead, too")
    shown = await system.admin("GET", f"dead/{again['id']}", status=200)
    assert base64.b64decode(shown["body"]) == b'{"a": 1, "c": 3}'
    old = await system.admin("GET", f"dead/{letter['id']}", status=200)
    assert (old["state"], old["settled_by"]) == ("replayed", replay["id"])
    assert shown["kind"] == "replay"


async def test_an_event_without_a_route_is_parked_and_goes_on_once_its_binding_exists(
    system: System, key: Key
) -> None:
    trigger = await system.make_trigger("shop/seen")
    async with linked(system.amqp_url) as link:
        queue = names.flow_queue("shop", "seen")
        await unbind(link, [Binding(names.TRIGGERS, queue, trigger.routing_key)])
        event_id = (await system.call(trigger.path, key, data=b"on its way")).event_id

    assert (await system.seen(event_id))["body"] == b"on its way"
    await system.router.command.wait_log("events have no route")

    async def nothing_is_parked() -> bool:
        return not (await system.admin("GET", "unrouted", status=200))["items"]

    await eventually(nothing_is_parked, PATIENCE, "nothing is parked")
