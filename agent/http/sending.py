"""How answers leave: whole ones in one write, long ones in pieces, and lines as they come."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from agent.http._aiohttp import HttpVersion10, StreamResponse, rfc822_formatted_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from agent.http._aiohttp import BaseRequest

__all__ = ["BASE_HEADERS", "TEXT", "WholeAnswer", "send_lines"]

BASE_HEADERS = {
    "Content-Security-Policy": "default-src 'self'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "X-Consul-Default-ACL-Policy": "allow",
    "Server": "gossip-agent",
}
TEXT = "text/plain; charset=utf-8"
PIECE = 16 * 1024
"""Answers longer than two of these are sent in pieces, so that a slow reader holds one of them."""

_REASONS = {status.value: status.phrase for status in HTTPStatus}


class WholeAnswer:
    """An answer with its body, for aiohttp to send.

    Its own `Response` knows cookies, compression and much else, and costs more than most of our
    handlers. What its protocol asks of a response is here: `prepare`, `write_eof` and `keep_alive`.

    Args:
        status: of the answer, one that has a body.
        headers: without those of the connection; becomes ours.
        body: all of it.
    """

    __slots__ = ("_body", "_headers", "_sent", "keep_alive", "status")

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self._headers = headers
        self._body = body
        self._sent = False
        self.keep_alive: bool | None = None
        """Whether another request may follow; None until that is known."""

    def force_close(self) -> None:
        """Let the connection end with this answer."""
        self.keep_alive = False

    async def prepare(self, request: BaseRequest) -> None:
        """Send everything, as fast as the client takes it, unless that was done."""
        if self._sent:
            return
        self._sent = True
        if self.keep_alive is None:
            self.keep_alive = request.keep_alive
        version = request.version
        headers = self._headers
        headers["Content-Length"] = str(len(self._body))
        headers["Date"] = rfc822_formatted_time()
        if self.keep_alive is (version <= HttpVersion10):  # what that version does not do by itself
            headers["Connection"] = "keep-alive" if self.keep_alive else "close"
        reason = _REASONS.get(self.status, "")
        line = f"HTTP/{version.major}.{version.minor} {self.status} {reason}"
        writer = request.writer
        await writer.write_headers(line, _items(headers))
        if request.method == "HEAD":
            await writer.write_eof()
        elif len(self._body) <= 2 * PIECE:
            await writer.write_eof(self._body)
        else:
            view = memoryview(self._body)
            for start in range(0, len(view), PIECE):
                await writer.write(view[start : start + PIECE])
                await writer.drain()
            await writer.write_eof()

    async def write_eof(self) -> None:
        """End the answer; nothing is left to send."""


def _items(headers: dict[str, str]) -> Any:
    """aiohttp asks for a dictionary of its own, and of that for no more than the items."""
    return headers


async def send_lines(
    request: BaseRequest, headers: Mapping[str, str], lines: AsyncIterator[str]
) -> StreamResponse:
    """Send the head at once and then each line as it comes, as fast as the client reads them."""
    response = StreamResponse(headers=headers)
    await response.prepare(request)
    if request.method != "HEAD":
        async for line in lines:
            await response.write(f"{line}\n".encode("utf-8", "replace"))
            await request.writer.drain()
    await response.write_eof()
    return response
