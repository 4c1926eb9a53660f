"""Reading the body of a call, in bounded memory and time."""

import asyncio

from aiohttp import ClientError, web

from turnout.ingress import responses
from turnout.ingress.responses import Refusal

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Bodies:
    """Reads bodies. What it has read counts as held until it is released.

    Args:
        most_bytes: of all bodies that are held.
    """

    def __init__(self, *, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._held = 0

    async def read(self, request: web.BaseRequest, limit: int, seconds: float) -> bytes | Refusal:
        """Read a body as it was sent, compressed or not.

        Args:
            request: whose body it is.
            limit: bytes that it may have. It is not read on beyond them: a chunked body declares
                no size.
            seconds: in which it must have come.
        """
        content = request.content
        if content.is_eof() and content.exception() is None:
            # Nearly always a small body has come with the head: nothing to wait for.
            body = content.read_nowait()
            if len(body) > limit:
                return responses.body_too_large(limit)
            if not self.hold(len(body)):
                return responses.OVERLOADED
            return body
        if request.headers.get("Expect", "").lower() == "100-continue" and request.transport:
            request.transport.write(_CONTINUE)
        parts: list[bytes] = []
        try:
            async with asyncio.timeout(seconds):
                refusal = await self._read_into(parts, request, limit)
        except (web.RequestPayloadError, ClientError, ConnectionError, asyncio.IncompleteReadError):
            refusal = responses.BAD_BODY
        except TimeoutError:
            refusal = responses.BODY_TIMEOUT
        except BaseException:
            self.release(sum(map(len, parts)))
            raise
        if refusal is not None:
            self.release(sum(map(len, parts)))
            return refusal
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def hold(self, size: int) -> bool:
        """Hold so many bytes, if there is room for them; tell whether there is."""
        if self._held + size > self._most_bytes:
            return False
        self._held += size
        return True

    def release(self, size: int) -> None:
        """Hold so many bytes no longer."""
        self._held -= size

    async def _read_into(
        self, parts: list[bytes], request: web.BaseRequest, limit: int
    ) -> Refusal | None:
        size = 0
        async for part in request.content.iter_any():
            size += len(part)
            if size > limit:
                return responses.body_too_large(limit)
            if not self.hold(len(part)):
                return responses.OVERLOADED
            parts.append(part)
        return None
