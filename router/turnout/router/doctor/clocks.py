"""Clocks: those of the other services against ours. Expiry dates and ages depend on them."""

import time
from email.utils import parsedate_to_datetime

from aiohttp import ClientError, ClientSession, ClientTimeout
from sqlalchemy import text
from yarl import URL

from turnout.router.database import DatabaseUnavailable, parse_url
from turnout.router.doctor.finding import Finding, ok, problem, unchecked, warning
from turnout.router.doctor.place import Place
from turnout.shared import cache

SUBJECT = "clocks"

_ODD = 2.0
_WRONG = 30.0


async def check(place: Place) -> list[Finding]:
    """Ask each service for its time."""
    findings = []
    for name, ask in {"Redis": _redis, "RabbitMQ": _broker, "the database": _database}.items():
        try:
            began = time.time()
            there = await ask(place)
            if there is not None:
                findings.append(_judge(name, there - (began + time.time()) / 2))
        except (*cache.ERRORS, ClientError, DatabaseUnavailable) as error:
            findings.append(
                unchecked(SUBJECT, f"{name} does not tell its time: {error}", "see above")
            )
    return findings


def _judge(name: str, difference: float) -> Finding:
    text = f"{name} is {abs(difference):.1f} s {'ahead of' if difference > 0 else 'behind'} us"
    if abs(difference) > _WRONG:
        return problem(SUBJECT, text, "let chrony or ntpd set the clocks of both machines")
    if abs(difference) > _ODD:
        return warning(SUBJECT, text, "let chrony or ntpd set the clocks of both machines")
    return ok(SUBJECT, text)


async def _redis(place: Place) -> float:
    client = cache.connect(place.redis_url, timeout=2.0)
    try:
        seconds, microseconds = await client.time()
        return float(seconds) + float(microseconds) / 1e6
    finally:
        await client.aclose()


async def _broker(place: Place) -> float | None:
    """Read the header that every HTTP answer has, in whole seconds."""
    url = URL(place.management_url).with_user(None)
    async with (
        ClientSession(timeout=ClientTimeout(total=5)) as session,
        session.get(url) as response,
    ):
        date = response.headers.get("Date")
    return None if date is None else parsedate_to_datetime(date).timestamp() + 0.5


async def _database(place: Place) -> float | None:
    if parse_url(place.database_url).drivername.startswith("sqlite"):
        return None  # it has the clock of this machine
    async with place.open_database() as database, database.reading() as connection:
        found = await connection.execute(text("SELECT extract(epoch FROM clock_timestamp())"))
        return float(found.scalar_one())
