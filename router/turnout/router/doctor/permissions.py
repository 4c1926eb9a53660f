"""Permissions: what each role's user may do at the broker is tried, and leaves nothing behind.

RabbitMQ checks a permission before it looks whether there is such a thing. So what is read or
deleted here does not exist (404: it was permitted, 403: it was not), and what is published is
rolled back with its transaction.
"""

from typing import NamedTuple

from pamqp import commands
from pamqp.base import Frame

from turnout.router.doctor.finding import Finding, ok, problem, unchecked, warning
from turnout.router.doctor.place import VARIABLES, Place
from turnout.shared import names
from turnout.shared.amqp import Channel, Link, message_frames, publish_method
from turnout.shared.errors import BrokerError, ChannelRefused

SUBJECT = "permissions"

_ABSENT = "turnout.flow.doctor.absent"


class _Right(NamedTuple):
    """Something that a user may do."""

    verb: str
    name: str


_WRITES = (names.TRIGGERS, names.ARCHIVE, names.delay(1), names.DEAD, names.OUTCOMES, "")

_NEEDED = {
    "router": {
        *(_Right("publish to", name) for name in _WRITES),
        _Right("consume from", _ABSENT),
        _Right("configure", _ABSENT),
    },
    "ingress": {_Right("publish to", name) for name in (names.TRIGGERS, names.ARCHIVE)},
    "worker": {
        *(_Right("publish to", name) for name in (names.delay(1), names.DEAD, names.OUTCOMES)),
        _Right("consume from", _ABSENT),
    },
}


async def check(place: Place) -> list[Finding]:
    """Try what each role needs, and what it must not be able to do."""
    findings = []
    for role, needed in _NEEDED.items():
        if role not in place.amqp_urls:
            advice = f"set {VARIABLES[role]} to the address that the {role} uses"
            findings.append(unchecked(SUBJECT, f"the user of the {role} is not known here", advice))
            continue
        try:
            findings += await _try(role, place.amqp_urls[role], needed)
        except BrokerError as error:
            findings.append(problem(SUBJECT, f"{role}: {error}", "see its user and password"))
    return findings


async def _try(role: str, url: str, needed: set[_Right]) -> list[Finding]:
    link = await Link.connect(url.split(",", maxsplit=1)[0].strip(), name="turnout doctor")
    try:
        allowed = {right for right in _NEEDED["router"] if await _is_allowed(link, right)}
    finally:
        await link.close()
    findings = []
    if lacking := needed - allowed:
        advice = "give it the permissions of docs/operating.md"
        findings.append(problem(SUBJECT, f"the {role} may not {_listed(lacking)}", advice))
    if excess := allowed - needed:
        advice = "give it a user of its own, with the permissions of docs/operating.md"
        findings.append(warning(SUBJECT, f"the {role} may also {_listed(excess)}", advice))
    return findings or [ok(SUBJECT, f"the {role} may do what it needs, and nothing else")]


async def _is_allowed(link: Link, right: _Right) -> bool:
    channel = Channel()
    await link.open(channel)
    try:
        match right.verb:
            case "publish to":
                await channel.call(commands.Tx.Select(), commands.Tx.SelectOk)
                method = publish_method(channel.number, right.name, _ABSENT)
                message = message_frames(
                    method,
                    channel.number,
                    link.frame_max,
                    b"",
                    message_id=b"doctor.0",
                    timestamp=0,
                    kind=b"turnout.doctor",
                    headers=b"",
                )
                link.write(message)
                await channel.call(commands.Tx.Rollback(), commands.Tx.RollbackOk)
            case "consume from":
                get: Frame = commands.Basic.Get(queue=right.name)
                await channel.call(get, commands.Basic.GetEmpty)
            case _:
                delete = commands.Exchange.Delete(exchange=right.name, if_unused=True)
                await channel.call(delete, commands.Exchange.DeleteOk)
    except ChannelRefused as error:
        return error.code == 404
    await channel.close()
    return True


def _listed(rights: set[_Right]) -> str:
    texts = (
        f"{verb} {'queues of flows' if name == _ABSENT else name or 'the default exchange'}"
        for verb, name in sorted(rights)
    )
    return ", ".join(texts)
