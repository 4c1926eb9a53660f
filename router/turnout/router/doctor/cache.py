"""Redis: version, eviction, latency, whether it tells what changes, and whether it is filled."""

import asyncio
import re
import secrets
import time
from collections.abc import Sequence
from typing import cast

from redis._parsers.base import AsyncPushNotificationsParser
from redis.asyncio import ConnectionPool, Redis

from turnout.router.doctor.finding import Finding, ok, problem, warning
from turnout.router.doctor.place import Place
from turnout.router.projection import check_eviction
from turnout.shared import cache, names
from turnout.shared.errors import SettingsError

SUBJECT = "redis"

_OLDEST = (7, 0)
_PINGS = 20
_SLOW = 0.005
_PATIENCE = 2.0


async def check(place: Place) -> list[Finding]:
    """Ask Redis, and have it tell of a change."""
    client = cache.connect(place.redis_url, timeout=_PATIENCE)
    try:
        return [
            await _version(client),
            await _eviction(client),
            await _latency(client),
            await _tracking(client, place.redis_url),
            await _epoch(client),
        ]
    finally:
        await client.aclose()


async def _version(client: Redis) -> Finding:
    server = await client.info("server")
    version = str(server["redis_version"])
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < _OLDEST:
        return problem(SUBJECT, f"version {version} is too old", "install Redis 7 or Valkey")
    return ok(SUBJECT, f"version {version}")


async def _eviction(client: Redis) -> Finding:
    try:
        await check_eviction(client)
    except SettingsError as error:
        return problem(SUBJECT, str(error), "set maxmemory-policy to noeviction")
    return ok(SUBJECT, "no entry is dropped to make room")


async def _latency(client: Redis) -> Finding:
    times = []
    for _ in range(_PINGS):
        began = time.perf_counter()
        await client.ping()
        times.append(time.perf_counter() - began)
    middle, worst = sorted(times)[_PINGS // 2] * 1e3, max(times) * 1e3
    text = f"answers in {middle:.1f} ms, at worst {worst:.1f} ms of {_PINGS}"
    if middle > _SLOW * 1e3:
        return warning(SUBJECT, text, "bring it nearer to ingress: each unknown key costs that")
    return ok(SUBJECT, text)


async def _tracking(client: Redis, url: str) -> Finding:
    name = f"turnout:doctor:{secrets.token_hex(8)}"
    told = asyncio.Event()

    async def on_change(push: Sequence[Sequence[bytes] | None]) -> None:
        if push[1] and name.encode() in push[1]:
            told.set()

    pool = ConnectionPool.from_url(url, protocol=3)
    connection = pool.make_connection()  # type: ignore[no-untyped-call]
    try:
        await connection.connect()
        # As ingress does it; see turnout.ingress.tracking.
        parser = cast("AsyncPushNotificationsParser", connection._parser)  # noqa: SLF001
        parser.set_invalidation_push_handler(on_change)  # type: ignore[no-untyped-call]
        await connection.send_command("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", name)
        await connection.read_response()
        await client.set(name, b"", px=1000)
        await connection.read_response(timeout=_PATIENCE, push_request=True)
    finally:
        await connection.disconnect(nowait=True)
    if told.is_set():
        return ok(SUBJECT, "it tells at once what changes")
    return problem(
        SUBJECT,
        "it does not tell what changes: a revoked key works on for 30 s",
        "let CLIENT TRACKING pass: no proxy that speaks an old protocol, no ACL against it",
    )


async def _epoch(client: Redis) -> Finding:
    if await client.get(names.AUTH_EPOCH) is None:
        return problem(SUBJECT, "it is not filled: all calls are answered 503", "start the router")
    return ok(SUBJECT, "it is filled with what ingress must know")
