"""The JSON of answers, as Consul writes it: made once for all who ask for the same, long lists on a thread."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from agent.http.routing import Rows

if TYPE_CHECKING:
    from collections.abc import Hashable

    from agent.http.routing import Reply, Route

__all__ = ["Renderer", "json_text", "to_json"]

RENDERED = 64
"""Answers kept for further clients that ask the same, or wait for the same change."""
RENDERED_BYTES = 16 * 1024 * 1024
"""Their bytes in all; one that is longer is kept until the next."""
LONG = 256
"""Items of a list that is rendered away from the loop."""

# What is shown is made here or was JSON before, so none of it contains itself, and nobody need look.
_MINIMAL = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":"))
_PRETTY = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, separators=(",", ": "), indent=4
)


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
    if rows.key is not None:
        items = sorted(items, key=rows.key)
    left, right = "[]" if rows.key is None else "{}"
    if not pretty or not items:
        texts = (f"{_key_of(rows, item, ':')}{rows.render(item)}" for item in items)
        return (f"{left}{','.join(texts)}{right}" + ("\n" if pretty else "")).encode()
    indented = (
        _key_of(rows, item, ": ")
        + json_text(json.loads(rows.render(item)), pretty=True).replace("\n", "\n    ")
        for item in items
    )
    inner = ",\n    ".join(indented)
    return f"{left}\n    {inner}\n{right}\n".encode()


def _key_of(rows: Rows, item: Any, colon: str) -> str:
    return "" if rows.key is None else f"{json_text(rows.key(item))}{colon}"


def json_text(data: Any, *, pretty: bool = False) -> str:
    """Minimal JSON, or indented by four."""
    return (_PRETTY if pretty else _MINIMAL).encode(data)


def to_json(data: Any, *, pretty: bool) -> bytes:
    """Minimal JSON, or indented by four and ended with a newline."""
    text = json_text(data, pretty=pretty)
    if pretty:
        text += "\n"
    try:
        return text.encode()
    except UnicodeEncodeError:  # names that are no UTF-8: Go shows the replacement character too
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace").encode()
