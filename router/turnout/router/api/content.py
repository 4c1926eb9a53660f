"""Answers that are no JSON document: bytes, and lines of JSON that are sent as they come."""

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from aiohttp import web

from turnout.router.api.body import Answer
from turnout.shared import log
from turnout.shared.errors import TurnoutError

_log = log.get(__name__)

_Line = TypeVar("_Line", bound=Answer)


@dataclass(frozen=True)
class Bytes:
    """What somebody else has sent, as it came.

    Never by its own content type: it is somebody else's, and may be opened in a browser.
    """

    media_type: ClassVar = "application/octet-stream"

    content: bytes


@dataclass(frozen=True)
class Lines(Generic[_Line]):
    """Lines of JSON, each sent when it is known; whoever has enough closes the connection."""

    media_type: ClassVar = "application/x-ndjson"

    lines: AsyncGenerator[_Line]

    async def send(self, request: web.Request) -> web.StreamResponse:
        """Answer a request with them; what ends them early is told in a last line, as `error`."""
        response = web.StreamResponse(
            headers={"Content-Type": self.media_type, "Cache-Control": "no-store"}
        )
        await response.prepare(request)
        try:
            async with aclosing(self.lines) as lines:
                async for line in lines:
                    await response.write(line.model_dump_json().encode() + b"\n")
        except ConnectionError:
            pass  # whoever asked has enough
        except TurnoutError as error:  # the status is sent already
            _log.warning("an answer ends early", path=request.path, reason=str(error))
            await response.write(_ended("RabbitMQ or the database does not answer"))
        except Exception as error:  # noqa: BLE001 - the same
            _log.error("an answer ends early", path=request.path, exc_info=error)
            await response.write(_ended("something went wrong here; the router's log says what"))
        return response


def _ended(why: str) -> bytes:
    return json.dumps({"error": f"this ended early: {why}"}).encode() + b"\n"
