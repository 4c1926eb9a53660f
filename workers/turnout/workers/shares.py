"""Shares: how many runs of a flow with a limit over all workers each process may have.

    limit 10 ──▶ worker A 3 · worker B 3 · worker C 4      divided among those that serve the flow

A run asks nobody: its process counts for itself. All take from the same queue, so whoever has room
takes the next run, and the limit is used up whenever enough is queued. Each process renews its
shares four times a second, all of its flows in one round trip. Redis gives no more than what the
others do not hold, and a process holds its share and what still runs there, whichever is more:

    one joins                it gets what the others give up as their runs end
    one stops                the others have its share with their next renewal
    one is killed, or hangs  they have it when its share ends, after `LIFETIME` seconds
    Redis does not answer    each goes on with what it holds
    Redis was emptied        shares begin anew: for `_SETTLING` seconds none grows, while all tell
                             what they hold; so it is when the first process comes

So the limit holds exactly, as long as each process reaches Redis. One that does not reach it for
longer than `LIFETIME`, while others do, goes on: its runs are beyond the limit then.
"""

import asyncio
import contextlib
from collections.abc import Sequence

from redis.asyncio import Redis

from turnout.shared import cache, log, names
from turnout.workers.notices import Notices
from turnout.workers.processor import Processor

logger = log.get(__name__)

#: Seconds between two renewals, and for which a share holds without one.
INTERVAL = 0.25
LIFETIME = 10.0

#: Seconds in which no share grows after it was not known who holds what: by then all have said it.
_SETTLING = 2.0

# KEYS: the shares of a flow, a hash: of each process what it holds, what it can have at most, and
# when that ends; and until when no share grows. ARGV: the process, the limit, what it can have at
# most, what it holds; the lifetime and the settling, in milliseconds.
_RENEW = """
local time = redis.call('time')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local limit, most, held = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local settled, is_known, is_stale, taken = nil, false, false, 0
local members = {{ARGV[1], most}}
local found = redis.call('hgetall', KEYS[1])
for at = 1, #found, 2 do
  local name, entry = found[at], found[at + 1]
  if name == 'settled' then
    settled = tonumber(entry)
  else
    local theirs, their_most, ends = string.match(entry, '^(%d+) (%d+) (%d+)$')
    if tonumber(ends) < now then
      redis.call('hdel', KEYS[1], name)
      is_stale = true
    elseif name == ARGV[1] then
      is_known = true
    else
      taken = taken + tonumber(theirs)
      table.insert(members, {name, tonumber(their_most)})
    end
  end
end
-- Nobody was here, or we were and are not any more: others may hold what is not written here.
if not is_known and (not settled or is_stale or held > 0) then
  settled = now + tonumber(ARGV[6])
  redis.call('hset', KEYS[1], 'settled', string.format('%.0f', settled))
end
-- Who can have the least comes first, and leaves the rest to the others; of equals the youngest.
table.sort(members, function(one, other)
  if one[2] ~= other[2] then return one[2] < other[2] end
  return one[1] > other[1]
end)
local left, share = limit, 0
for at, member in ipairs(members) do
  local part = math.min(member[2], math.floor(left / (#members - at + 1)))
  left = left - part
  if member[1] == ARGV[1] then share = part end
end
share = math.min(share, math.max(limit - taken, 0))
if settled and now < settled then share = math.min(share, held) end
local entry = string.format('%.0f %.0f %.0f', math.max(share, held), most, now + ARGV[5])
redis.call('hset', KEYS[1], ARGV[1], entry)
redis.call('pexpire', KEYS[1], 2 * ARGV[5])
return share
"""


class Shares:
    """Keeps the shares of one process.

    Args:
        client: the cache.
        worker_id: of the process.
        notices: say which flows have a limit.
        processors: of all its flows.

    Attributes:
        known: set when they were asked for once, with or without an answer: no run starts before.
    """

    def __init__(
        self, client: Redis, worker_id: str, notices: Notices, processors: Sequence[Processor]
    ) -> None:
        self.known = asyncio.Event()
        self._client = client
        self._worker_id = worker_id
        self._notices = notices
        self._processors = processors
        self._is_reachable = True

    async def keep(self) -> None:
        """Renew them again and again, and leave them to the others in the end."""
        await self._notices.looked.wait()
        renewal = None
        try:
            while True:
                renewal = asyncio.create_task(self._renew(), name="renewal")
                await asyncio.shield(renewal)
                self.known.set()
                await asyncio.sleep(INTERVAL)
        finally:
            if renewal is not None:  # one that Redis got after the withdrawal would undo it
                await renewal
            await self._withdraw()

    async def _renew(self) -> None:
        limits = {each: self._notices.limit(each.flow.address) for each in self._processors}
        for each, limit in limits.items():
            if limit is None:
                each.allow(None)
            elif each.share is None:
                each.allow(0)
        limited = {each: limit for each, limit in limits.items() if limit is not None}
        if not limited:
            return
        try:
            async with self._client.pipeline(transaction=False) as pipe:
                for each, limit in limited.items():
                    pipe.eval(
                        *(_RENEW, 1, names.shares(each.flow.address), self._worker_id, limit),
                        *(each.most if each.consumers else 0, each.held),
                        *(int(LIFETIME * 1000), int(_SETTLING * 1000)),
                    )
                shares = await pipe.execute()
        except cache.ERRORS as error:
            if self._is_reachable:
                logger.warning("cache lost: shares stay as they are", reason=str(error))
            self._is_reachable = False
            return
        self._is_reachable = True
        for each, share in zip(limited, shares, strict=True):
            each.allow(share)

    async def _withdraw(self) -> None:
        held = [each for each in self._processors if each.share is not None]
        if not held:
            return
        with contextlib.suppress(*cache.ERRORS):
            async with self._client.pipeline(transaction=False) as pipe:
                for each in held:
                    pipe.hdel(names.shares(each.flow.address), self._worker_id)
                await pipe.execute()
