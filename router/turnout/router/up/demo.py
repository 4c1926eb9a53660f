"""A group, a flow, a key and a trigger to try: made through the admin API, once."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
from yarl import URL

from turnout.router.nodes.errors import NodeError
from turnout.shared import keys

GROUP = "demo"
FLOW = "hello"

_DESCRIPTION = "Made by turnout up, to try it"
_POLL_SECONDS = 0.1


@dataclass(frozen=True, repr=False)
class Demo:
    """What a call to the demo flow needs."""

    group: str
    flow: str
    trigger_url: str
    api_key: str

    def curl(self) -> str:
        """Return a command that calls the flow."""
        return (
            f"curl -X POST {self.trigger_url} \\\n"
            f"  -H 'Authorization: Bearer {self.api_key}' \\\n"
            "  -H 'Content-Type: application/json' \\\n"
            """  -d '{"name": "Ada"}'"""
        )


class DemoMaker:
    """Makes what is missing of the demo.

    Args:
        session: carries the admin token.
        admin_url: the router's address.
        within: seconds in which the worker has to announce the flow, and the trigger to be live.
    """

    def __init__(
        self, session: aiohttp.ClientSession, admin_url: str, within: float = 30.0
    ) -> None:
        self._session = session
        self._api = URL(admin_url) / "api/v1"
        self._within = within

    async def make(self, api_key: str | None) -> Demo:
        """Make group, key and trigger, and wait until the trigger is live.

        Args:
            api_key: the demo's key of an earlier time, if it is known.

        Raises:
            NodeError: the router refuses, or it takes too long.
        """
        await self._call("POST", "groups", {"slug": GROUP, "name": "Demo"}, allow=(409,))
        await self._until(self._has_flow, f"a worker announces the flow {GROUP}/{FLOW}")
        api_key = await self._key(api_key)
        trigger = await self._trigger()

        async def is_live() -> bool:
            _, shown = await self._call("GET", f"triggers/{trigger['id']}")
            return bool(shown["live"])

        await self._until(is_live, "the demo's trigger is live")
        return Demo(group=GROUP, flow=FLOW, trigger_url=trigger["url"], api_key=api_key)

    async def _has_flow(self) -> bool:
        status, _ = await self._call("GET", f"flows/{GROUP}/{FLOW}", allow=(404,))
        return status == 200

    async def _key(self, api_key: str | None) -> str:
        _, listed = await self._call("GET", f"groups/{GROUP}/keys")
        prefixes = {each["prefix"] for each in listed["items"]}
        if api_key is not None and keys.prefix(api_key) in prefixes:
            return api_key
        names = {each["name"] for each in listed["items"]}
        name = f"{GROUP}-{secrets.token_hex(3)}" if GROUP in names else GROUP
        _, made = await self._call("POST", f"groups/{GROUP}/keys", {"name": name})
        return str(made["key"])

    async def _trigger(self) -> dict[str, Any]:
        path = f"flows/{GROUP}/{FLOW}/triggers"
        _, listed = await self._call("GET", path)
        for trigger in listed["items"]:
            if trigger["description"] == _DESCRIPTION:
                return dict(trigger)
        _, made = await self._call("POST", path, {"description": _DESCRIPTION})
        return made

    async def _call(
        self,
        method: str,
        path: str,
        body: dict[str, str] | None = None,
        allow: tuple[int, ...] = (),
    ) -> tuple[int, dict[str, Any]]:
        """Call the admin API; return the status and the answer's JSON object."""
        try:
            async with self._session.request(method, self._api / path, json=body) as response:
                if response.status >= 400 and response.status not in allow:
                    reason = (await response.text())[:300]
                    raise NodeError(f"the router answers {response.status} to {path}: {reason}")
                return response.status, await response.json(content_type=None)
        except aiohttp.ClientError as error:
            raise NodeError(f"the router cannot be reached: {error}") from None

    async def _until(self, check: Callable[[], Awaitable[bool]], what: str) -> None:
        try:
            async with asyncio.timeout(self._within):
                while not await check():  # noqa: ASYNC110 - the answer is in another process
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise NodeError(f"gave up after {self._within:g} s of waiting until {what}") from None
