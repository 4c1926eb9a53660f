"""Workers: one at least for each flow that is not paused."""

from turnout.router.doctor.finding import Finding, ok, warning
from turnout.router.doctor.place import Place
from turnout.router.registry import Registry
from turnout.shared import cache
from turnout.shared.announcement import Announcement

SUBJECT = "workers"


async def check(place: Place) -> list[Finding]:
    """Hold the flows of the registry against what workers announce."""
    client = cache.connect(place.redis_url, timeout=2.0)
    try:
        workers = await Announcement.read_all(client)
    finally:
        await client.aclose()
    async with place.open_database() as database:
        flows = await Registry(database).list_flows()
    served = {address for worker in workers for address in worker.flows}
    idle = [flow.address for flow in flows if flow.paused_at is None and flow.address not in served]
    if idle:
        advice = "start `turnout worker` with its module: until then its runs wait, none is lost"
        return [warning(SUBJECT, f"no worker serves {address}", advice) for address in idle]
    return [ok(SUBJECT, f"{len(workers)} serve all of {len(flows)} flows")]
