"""What waits for the broker's confirmation is bounded in bytes, however patient its callers are."""

import asyncio

import pytest
from tests.ingress.conftest import Troubled
from tests.ingress.serving import PATIENCE, Answer
from tests.support.waiting import eventually

#: Bytes of one body; eight of them, each with its block, are twice what may be under way.
LARGE = 8 * 1024 * 1024
CALLS = 8


@pytest.fixture
def troubled_settings() -> dict[str, str]:
    return {"TURNOUT_PUBLISH_DEADLINE": "60"}


async def test_calls_beyond_what_may_be_under_way_are_refused_and_the_others_accepted(
    troubled: Troubled,
) -> None:
    call = troubled.served.call(b"Connection: close", body=bytes(LARGE))
    answers: list[Answer] = []

    async def send() -> None:
        answers.extend((await troubled.talk(call)).answers)

    troubled.broker.hold_replies()
    async with asyncio.TaskGroup() as group:
        for _ in range(CALLS):
            group.create_task(send())
        await eventually(lambda: answers, PATIENCE, "one is refused")
        troubled.broker.thaw()
    told = [each.told for each in answers]
    assert set(told) == {(202, "accepted"), (503, "not_accepted")}
    for each in answers:
        assert each.status == 202 or int(each.headers["retry-after"]) > 0
    await troubled.served.command.wait_log("too much is waiting for the broker", PATIENCE)
