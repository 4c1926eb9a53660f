"""The topology: what the broker lacks of what the registry asks for."""

from aiohttp import ClientSession

from turnout.router import topology
from turnout.router.doctor.finding import Finding, ok, problem
from turnout.router.doctor.place import Place
from turnout.router.management import Management
from turnout.router.registry import Registry

SUBJECT = "topology"

_SHOWN = 3


async def check(place: Place) -> list[Finding]:
    """Compare the broker with the registry."""
    async with place.open_database() as database, ClientSession() as session:
        wanted = topology.of(await Registry(database).snapshot(), place.settings)
        management = Management(session, place.management_url, place.vhost)
        missing = wanted.without(await management.survey()).listed()
    if not missing:
        return [ok(SUBJECT, "the broker has all that the registry asks for")]
    some = ", ".join(f"{kind} {name}" for kind, name in missing[:_SHOWN])
    more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
    advice = "turnout topology apply; if that refuses, it exists with other arguments: see its log"
    return [problem(SUBJECT, f"the broker lacks {some}{more}", advice)]
