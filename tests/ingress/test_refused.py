"""The log of refused calls: it answers why a webhook did not arrive, and tells no secret."""

import asyncio
import contextlib
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request
from redis.asyncio import Redis
from tests.support.proxy import Proxy
from tests.support.waiting import eventually

from turnout.ingress import auth, refused, responses
from turnout.ingress.call import Call
from turnout.ingress.counts import Counts
from turnout.ingress.refused import Caller, Refused
from turnout.shared import keys, names
from turnout.shared.batch import Batch
from turnout.shared.records import KeyRecord, TriggerRecord

CALLER = Caller("POST", "192.0.2.1", "abcdef", "tk_0123456789", "key_1", "trg_1")

pytestmark = pytest.mark.usefixtures("redis")


class Log:
    """A log of refused calls, and the counts beside it."""

    def __init__(self, batch: Batch) -> None:
        self.counts = Counts(batch, "process-1")
        self.refused = Refused(batch, self.counts)

    async def write(self) -> None:
        await self.refused.write()
        await self.counts.write()


@pytest.fixture
def log(batch: Batch) -> Log:
    return Log(batch)


async def entries(redis: Redis) -> list[dict[str, str]]:
    found: Any = await redis.xrange(names.REFUSED)
    return [
        {name.decode(): value.decode() for name, value in fields.items()} for _, fields in found
    ]


async def counted(redis: Redis) -> dict[str, int]:
    counts: dict[str, int] = {}
    async for name in redis.scan_iter("turnout:refused:day:*"):
        found: Any = await redis.hgetall(name)
        counts |= {field.decode(): int(count) for field, count in found.items()}
    return counts


async def test_an_entry_says_who_called_what_and_why_it_was_refused(log: Log, redis: Redis) -> None:
    log.refused.note(responses.CACHE_UNAVAILABLE.because("it does not answer"), CALLER)
    await log.write()
    (entry,) = await entries(redis)
    assert float(entry.pop("at")) > 1.7e9
    assert entry == {
        "status": "503",
        "code": "authentication_unavailable",
        "key": "key_1",
        "prefix": "tk_0123456789",
        "trigger": "trg_1",
        "route": "abcdef",
        "method": "POST",
        "remote": "192.0.2.1",
        "reason": "it does not answer",
    }
    assert await counted(redis) == {"trg_1 key_1 authentication_unavailable": 1}


async def test_a_flood_of_one_kind_is_counted_and_leaves_the_log_to_the_others(
    log: Log, redis: Redis
) -> None:
    for _ in range(10_000):
        log.refused.note(responses.BAD_KEY, Caller("POST", "192.0.2.1", "x"))
    log.refused.note(responses.TRIGGER_DISABLED, CALLER)
    log.refused.note(responses.TRIGGER_DISABLED, CALLER._replace(trigger_id="trg_2"))
    await log.write()
    codes = [entry["code"] for entry in await entries(redis)]
    assert codes == ["invalid_api_key"] * 5 + ["trigger_disabled"] * 2
    assert (await counted(redis))["- - invalid_api_key"] == 10_000

    log.refused.note(responses.BAD_KEY, Caller("POST", "192.0.2.1", "x"))
    await log.write()
    assert len(await entries(redis)) == 8, "the next second has its own"


async def test_a_flood_of_many_kinds_is_bounded_as_well(log: Log, redis: Redis) -> None:
    for number in range(1000):
        log.refused.note(responses.KEY_NOT_ACCEPTED, CALLER._replace(key_id=f"key_{number}"))
    await log.write()
    assert len(await entries(redis)) == 100
    assert sum((await counted(redis)).values()) == 1000


async def test_the_log_is_capped_and_keeps_the_latest(
    log: Log, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refused, "_KEPT", 300)
    for begin in range(0, 1500, 100):
        for number in range(begin, begin + 100):
            log.refused.note(responses.NO_TRIGGER, CALLER._replace(key_id=f"key_{number}"))
        await log.refused.write()
    found = [entry["key"] for entry in await entries(redis)]
    # Redis trims whole nodes of 100.
    assert 300 <= len(found) <= 400
    assert found == [f"key_{number}" for number in range(1500 - len(found), 1500)]


async def test_neither_key_nor_routing_key_nor_body_is_in_an_entry_or_a_log_line(
    log: Log, redis: Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    key, routing_key = keys.new_key(), keys.new_routing_key()
    request = make_mocked_request(
        "POST", f"/t/{routing_key}/tail?api_key={key.text}", headers={"X-API-Key": key.text}
    )
    call = Call.of(request)
    call.presented = auth.presented_key(request.headers, "")
    call.key = KeyRecord("key_1", "grp_1")
    call.trigger = TriggerRecord("trg_1", "flw_1", "grp_1", "shop", "seen")
    log.refused.note(responses.body_too_large(10), call.caller())
    await log.write()
    (entry,) = await entries(redis)
    assert entry["route"] == routing_key[:6]
    assert entry["prefix"] == key.prefix
    assert (entry["key"], entry["trigger"]) == ("key_1", "trg_1")
    told = " ".join((*entry.values(), *await _everything(redis), *capsys.readouterr()))
    for secret in (key.text, key.text[-38:], key.digest, routing_key, routing_key[6:]):
        assert secret not in told


async def _everything(redis: Redis) -> list[str]:
    """Return the names of all that is in the cache, and what was counted."""
    found = [name.decode() async for name in redis.scan_iter()]
    return [*found, *await counted(redis)]


@pytest.mark.parametrize(
    "path", ["/t/", "/t//", "/t/short", "/t/" + "x" * 4000, "/t/%C3%A9%00%FF", "/t/\udcff\udcfe/x"]
)
async def test_whatever_the_path_is_the_entry_is_short_and_text(
    log: Log, redis: Redis, path: str
) -> None:
    log.refused.note(responses.BAD_KEY, Call.of(make_mocked_request("BREW" * 99, path)).caller())
    await log.write()
    (entry,) = await entries(redis)
    assert entry["route"].isascii()
    assert len(entry["route"]) <= 6
    assert entry["method"] == "BREWBREWBREWBREW"
    assert (entry["key"], entry["prefix"], entry["trigger"]) == ("", "", "")


async def test_without_redis_refusing_goes_on_and_what_is_refused_is_counted_later(
    proxy: Proxy, far_batch: Batch, redis: Redis
) -> None:
    log = Log(far_batch)
    proxy.down()
    for _ in range(3):
        log.refused.note(responses.CACHE_UNAVAILABLE, CALLER)
        await log.write()
    await proxy.up()

    async def back() -> bool:
        log.refused.note(responses.BAD_KEY, CALLER)
        await log.write()
        return bool(await entries(redis))

    await eventually(back, what="the log goes on")
    assert (await counted(redis))["trg_1 key_1 authentication_unavailable"] == 3


async def test_the_log_is_written_by_itself(
    log: Log, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refused, "_INTERVAL", 0.05)
    task = asyncio.create_task(log.refused.run())
    log.refused.note(responses.BAD_KEY, CALLER)
    await eventually(lambda: entries(redis))
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
