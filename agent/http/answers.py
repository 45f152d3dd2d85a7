"""How answers look and leave: headers for browsers, JSON as Consul writes it, long ones in pieces."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from agent.http._aiohttp import BaseRequest, Response, StreamResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Hashable, Mapping

    from agent.http.routing import Reply, Route

__all__ = ["BASE_HEADERS", "TEXT", "Renderer", "send_in_pieces", "send_lines", "to_json"]

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
RENDERED = 4
"""Answers kept for further clients that wait for the same change."""


class Renderer:
    """Makes the JSON of replies; a thousand clients that wait for one change cost one rendering."""

    def __init__(self) -> None:
        self._rendered: dict[tuple[str, bool, Hashable], bytes] = {}

    def render(self, route: Route, reply: Reply, *, pretty: bool) -> bytes:
        """The JSON of the reply's data."""
        key = (route.path, pretty, reply.version)
        if reply.version is not None and (known := self._rendered.get(key)) is not None:
            return known
        data = reply.data() if callable(reply.data) else reply.data
        body = to_json(data, pretty=pretty)
        if reply.version is not None:
            if len(self._rendered) >= RENDERED:
                del self._rendered[next(iter(self._rendered))]
            self._rendered[key] = body
        return body


def to_json(data: Any, *, pretty: bool) -> bytes:
    """Minimal JSON, or indented by four and ended with a newline."""
    text = json.dumps(
        data,
        ensure_ascii=False,
        indent=4 if pretty else None,
        separators=(",", ": " if pretty else ":"),
    )
    if pretty:
        text += "\n"
    try:
        return text.encode()
    except UnicodeEncodeError:  # names that are no UTF-8: Go shows the replacement character too
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace").encode()


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


async def send_in_pieces(request: BaseRequest, response: StreamResponse) -> StreamResponse:
    """Send a long answer as fast as the client reads it; a short one is left to aiohttp."""
    body = response.body if isinstance(response, Response) else None
    if not isinstance(body, bytes) or len(body) <= 2 * PIECE:
        return response
    stream = StreamResponse(status=response.status, headers=response.headers)
    stream.content_length = len(body)
    if response.keep_alive is False:
        stream.force_close()
    await stream.prepare(request)
    if request.method != "HEAD":
        view = memoryview(body)
        for start in range(0, len(body), PIECE):
            await stream.write(view[start : start + PIECE])
            await request.writer.drain()
    await stream.write_eof()
    return stream
