"""HTTP/1.1 requests over asyncio streams, one connection each; just enough to talk to an agent."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gossip.wire.address import join_host_port

if TYPE_CHECKING:
    from email.message import Message
    from pathlib import Path

__all__ = ["HttpError", "Response", "request"]


class HttpError(OSError):
    """The peer answered with a status of 400 or above, or with something that is not HTTP.

    Attributes:
        status: of the answer, 0 when there was none to read.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Response:
    """A complete answer."""

    status: int
    headers: Message
    body: bytes

    def json(self) -> Any:
        """The decoded body; raises ValueError when it is not JSON."""
        return json.loads(self.body)

    @property
    def index(self) -> int:
        """``X-Consul-Index``, 0 when absent: what the next blocking query passes as ``index``."""
        return int(self.headers.get("X-Consul-Index", "0"))


class _Received:
    """What http.client wants of a socket: a file to read the answer from."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, *_: object) -> io.BytesIO:
        return io.BytesIO(self._data)


async def request(
    address: tuple[str, int] | Path,
    method: str,
    path: str,
    body: bytes = b"",
    *,
    within: float = 10.0,
    check: bool = True,
) -> Response:
    """Send one request and read the whole answer.

    Args:
        address: host and port, or a Unix socket.
        method: such as ``GET``.
        path: with query, already quoted.
        body: sent with its length when not empty.
        within: seconds for everything from the connect on.
        check: turn a status of 400 or above into an error.

    Raises:
        HttpError: bad status or not HTTP; the message carries status and body.
        OSError: no connection; TimeoutError after `within`.
    """
    where = f"port {address[1]}" if isinstance(address, tuple) else f"{address}"
    host = join_host_port(*address) if isinstance(address, tuple) else "localhost"
    head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
    if body or method in {"PUT", "POST"}:
        head += f"Content-Length: {len(body)}\r\n"
    try:
        async with asyncio.timeout(within):
            reader, writer = await (
                asyncio.open_connection(*address)
                if isinstance(address, tuple)
                else asyncio.open_unix_connection(address)
            )
            try:
                writer.write(head.encode() + b"\r\n" + body)
                data = await reader.read(-1)
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except TimeoutError:
        raise TimeoutError(f"{method} {path} at {where}: no answer in {within:g} s") from None
    response = http.client.HTTPResponse(_Received(data), method=method)  # type: ignore[arg-type]  # a file is all it takes
    try:
        response.begin()
        answer = Response(response.status, response.headers, response.read())
    except http.client.HTTPException as error:
        raise HttpError(f"{method} {path} at {where}: {error!r}") from error
    if check and answer.status >= http.client.BAD_REQUEST:
        text = answer.body.decode(errors="replace").strip()
        raise HttpError(f"{method} {path} at {where}: {answer.status} {text}", answer.status)
    return answer
