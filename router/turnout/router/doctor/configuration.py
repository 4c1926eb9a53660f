"""Settings: what is allowed, and still not wise."""

from yarl import URL

from turnout.router.doctor.finding import Finding, ok, warning
from turnout.router.doctor.place import Place

SUBJECT = "settings"

_LOCAL = frozenset({"127.0.0.1", "::1", "localhost"})


async def check(place: Place) -> list[Finding]:
    """Look at the settings alone; that they can be read was checked before."""
    findings = []
    addresses = {
        "TURNOUT_AMQP_URL": place.settings.amqp_urls[0],
        "TURNOUT_REDIS_URL": place.redis_url,
        "TURNOUT_MANAGEMENT_URL": place.management_url,
    }
    for name, address in addresses.items():
        url = URL(address)
        if url.scheme in {"amqp", "redis", "http"} and url.host not in _LOCAL:
            findings.append(
                warning(
                    SUBJECT, f"{name} goes to {url.host} without TLS", "use amqps, rediss, https"
                )
            )
    if URL(place.settings.amqp_urls[0]).user in {None, "guest"}:
        findings.append(
            warning(
                SUBJECT, "the broker is used as guest", "make the three users of docs/operating.md"
            )
        )
    if URL(place.settings.public_url).host in _LOCAL:
        findings.append(
            warning(
                SUBJECT,
                f"URLs of triggers begin with {place.settings.public_url}",
                "set TURNOUT_PUBLIC_URL to where senders reach ingress",
            )
        )
    return findings or [ok(SUBJECT, "nothing to remark")]
