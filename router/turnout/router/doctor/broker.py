"""The broker: reachable, of a version that is known to work, without alarms, with room on disk."""

import re
from typing import Any

from aiohttp import ClientSession

from turnout.router.doctor.finding import Finding, ok, problem, warning
from turnout.router.doctor.place import Place
from turnout.router.management import Management
from turnout.shared.amqp import Link
from turnout.shared.errors import BrokerError

SUBJECT = "broker"

_OLDEST = (3, 10)
#: The first with a delivery limit by default and strict checks of arguments.
_CURRENT = (4, 0)


async def check(place: Place) -> list[Finding]:
    """Connect as the router, then ask the management API."""
    link = await Link.connect(place.settings.amqp_urls[0], name="turnout doctor")
    await link.close()
    findings = [ok(SUBJECT, "the router can log in")]
    async with ClientSession() as session:
        management = Management(session, place.management_url, place.vhost)
        try:
            overview, nodes = await management.get("overview"), await management.get("nodes")
        except BrokerError as error:
            advice = "enable rabbitmq_management; give the router's user the tag monitoring"
            return [*findings, problem(SUBJECT, str(error), advice)]
    return [*findings, _version(overview), *(each for node in nodes for each in _node(node))]


def _version(overview: dict[str, Any]) -> Finding:
    text = f"RabbitMQ {overview['rabbitmq_version']}"
    number = tuple(map(int, re.findall(r"\d+", overview["rabbitmq_version"])[:2]))
    if number < _OLDEST:
        return problem(SUBJECT, f"{text} is too old", "install RabbitMQ 3.10 or newer")
    if number < _CURRENT:
        return warning(SUBJECT, f"{text} gets no corrections any more", "plan to install 4.x")
    return ok(SUBJECT, text)


def _node(node: dict[str, Any]) -> list[Finding]:
    name = node["name"]
    if not node.get("running"):
        return [problem(SUBJECT, f"node {name} does not run", "start it, or see its log")]
    findings = []
    if node.get("partitions"):
        findings.append(problem(SUBJECT, f"node {name} is cut off from others", "mend the network"))
    if node.get("mem_alarm"):
        findings.append(
            problem(
                SUBJECT, f"node {name} has its memory alarm on: it takes no calls", "add memory"
            )
        )
    if node.get("disk_free_alarm"):
        findings.append(
            problem(SUBJECT, f"node {name} has its disk alarm on: it takes no calls", "free disk")
        )
    free, limit = node.get("disk_free", 0), node.get("disk_free_limit", 0)
    if not node.get("disk_free_alarm") and free < 2 * limit + 1_000_000_000:
        findings.append(
            warning(SUBJECT, f"node {name} has {free / 1e9:.1f} GB of disk left", "free disk")
        )
    return findings or [ok(SUBJECT, f"node {name} has no alarm, {free / 1e9:.0f} GB of disk left")]
