"""What waits where nothing should: events without a way to their flow, and dead letters."""

from turnout.router.depth import Depth
from turnout.router.doctor.finding import Finding, ok, warning
from turnout.router.doctor.place import Place
from turnout.router.link import Links
from turnout.shared import names

SUBJECT = "queues"

_ADVICE = {
    names.UNROUTED: "turnout topology check: their trigger had no queue",
    names.DEAD: "the router takes them into its history: see whether one is active",
}


async def check(place: Place) -> list[Finding]:
    """Count what waits."""
    links = Links(place.settings.amqp_urls, "turnout-doctor counts")
    depth = Depth(links)
    try:
        found = {name: await depth.of(name) for name in _ADVICE}
    finally:
        await links.close()
    return [
        warning(SUBJECT, f"{count} messages wait in {name}", _ADVICE[name])
        if count
        else ok(SUBJECT, f"nothing waits in {name}")
        for name, count in found.items()
    ]
