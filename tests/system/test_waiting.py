"""Callers who wait for the result of their flow: `Prefer: wait=…`."""

from tests.support.system import Key, System, Trigger


async def test_a_caller_who_may_wait_gets_the_result(system: System, key: Key) -> None:
    trigger = await system.make_trigger("shop/seen", wait=True)
    answer = await system.call(trigger.path, key, headers={"Prefer": "wait=20"})
    assert answer.status == 200
    assert answer.headers["Preference-Applied"] == "wait=20"
    assert (answer.json["status"], answer.json["result"]) == ("succeeded", None)
    assert (await system.seen(answer.json["event_id"]))["body"] == b""


async def test_what_takes_longer_is_accepted_all_the_same(system: System, key: Key) -> None:
    trigger = await system.make_trigger("shop/patient", wait=True)
    answer = await system.call(trigger.path, key, headers={"Prefer": "respond-async, wait=1"})
    assert answer.status == 202
    assert answer.json["status"] == "accepted"
    (system.effects / f"{answer.event_id}.release").touch()


async def test_nobody_waits_longer_than_ingress_allows(system: System, key: Key) -> None:
    trigger = await system.make_trigger("shop/seen", wait=True)
    answer = await system.call(trigger.path, key, headers={"Prefer": "wait=86400"})
    assert (answer.status, answer.headers["Preference-Applied"]) == (200, "wait=30")


async def test_a_run_that_fails_is_told_and_is_no_reason_to_send_it_again(
    system: System, key: Key
) -> None:
    trigger = await system.make_trigger("shop/failing", wait=True)
    answer = await system.call(trigger.path, key, headers={"Prefer": "wait=30"})
    assert answer.status == 202
    assert answer.json == {"event_id": answer.event_id, "status": "dead"}


async def test_who_did_not_ask_or_may_not_does_not_wait(
    system: System, key: Key, trigger: Trigger
) -> None:
    may = await system.make_trigger("shop/seen", wait=True)
    for path, headers in ((trigger.path, {"Prefer": "wait=20"}), (may.path, {})):
        answer = await system.call(path, key, headers=headers)
        assert answer.status == 202
        assert "Preference-Applied" not in answer.headers
