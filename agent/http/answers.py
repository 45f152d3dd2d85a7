"""How answers look and leave: headers for browsers, JSON as Consul writes it, long ones in pieces."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from agent.http._aiohttp import BaseRequest, Response, StreamResponse
from agent.http.routing import Rows

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Hashable, Mapping

    from agent.http.routing import Reply, Route

__all__ = [
    "BASE_HEADERS",
    "TEXT",
    "Renderer",
    "json_text",
    "send_in_pieces",
    "send_lines",
    "to_json",
]

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
RENDERED = 64
"""Answers kept for further clients that ask the same, or wait for the same change."""
RENDERED_BYTES = 16 * 1024 * 1024
"""Their bytes in all; one that is longer is kept until the next."""
LONG = 256
"""Items of a list that is rendered away from the loop."""


class Renderer:
    """Makes the JSON of replies; a thousand clients that wait for one change cost one rendering."""

    def __init__(self) -> None:
        self._rendered: dict[tuple[str, bool, Hashable], bytes | asyncio.Task[bytes]] = {}
        self._bytes = 0

    async def render(self, route: Route, reply: Reply, *, pretty: bool) -> bytes:
        """The JSON of the reply's data."""
        if reply.version is None:
            making = _make(reply, pretty=pretty)
            return making if isinstance(making, bytes) else await making
        key = (route.path, pretty, reply.version)
        known = self._rendered.get(key)
        if known is None:
            known = _make(reply, pretty=pretty)
            self._keep(key, known)
        if isinstance(known, bytes):
            return known
        try:
            body = await asyncio.shield(known)  # others wait for it as well
        finally:
            if known.done() and self._rendered.get(key) is known:
                del self._rendered[key]
        if key not in self._rendered:
            self._keep(key, body)
        return body

    def _keep(self, key: tuple[str, bool, Hashable], body: bytes | asyncio.Task[bytes]) -> None:
        self._rendered[key] = body
        self._bytes += _size(body)
        while len(self._rendered) > 1 and (
            len(self._rendered) > RENDERED or self._bytes > RENDERED_BYTES
        ):
            self._bytes -= _size(self._rendered.pop(next(iter(self._rendered))))


def _size(body: bytes | asyncio.Task[bytes]) -> int:
    return len(body) if isinstance(body, bytes) else 0


def _make(reply: Reply, *, pretty: bool) -> bytes | asyncio.Task[bytes]:
    """The JSON of a reply, or the work that makes a long one."""
    data = reply.data() if callable(reply.data) else reply.data
    if not isinstance(data, Rows):
        return to_json(data, pretty=pretty)
    if len(data.items) < LONG:
        return _rows_to_json(data, pretty=pretty)
    return asyncio.ensure_future(asyncio.to_thread(_rows_to_json, data, pretty=pretty))


def _rows_to_json(rows: Rows, *, pretty: bool) -> bytes:
    items = rows.select(rows.items)
    texts = map(rows.render, items)
    if not pretty or not items:
        return (f"[{','.join(texts)}]" + ("\n" if pretty else "")).encode()
    indented = (json_text(json.loads(text), pretty=True).replace("\n", "\n    ") for text in texts)
    return "[\n    {}\n]\n".format(",\n    ".join(indented)).encode()


def json_text(data: Any, *, pretty: bool = False) -> str:
    """Minimal JSON, or indented by four."""
    return json.dumps(
        data,
        ensure_ascii=False,
        indent=4 if pretty else None,
        separators=(",", ": " if pretty else ":"),
    )


def to_json(data: Any, *, pretty: bool) -> bytes:
    """Minimal JSON, or indented by four and ended with a newline."""
    text = json_text(data, pretty=pretty)
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
