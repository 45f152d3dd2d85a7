"""A listener: from accepted connections to requests, and from responses to bytes.

It joins the gate (connections and time), aiohttp's parser and the rules about bodies. What a request
means is its subclass's business: the HTTP interface in `agent.http.app`, and the port on which servers
take forwarded requests in `agent.forward.listener`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from agent.http._aiohttp import BaseRequest, RequestHandler, Server, StreamResponse
from agent.http.access_log import log_access
from agent.http.errors import HttpError
from agent.http.gate import Gate, GateLimits
from agent.http.sending import TEXT, WholeAnswer
from agent.listeners import listen_tcp
from gossip.sockets import stop_listening
from gossip.wire.address import plain_ip

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Listener", "remote_ip"]

log = logging.getLogger(__name__)

LINGER = 2.0
"""Seconds for which the rest of a refused body is taken, so that the answer gets through."""
SHUTDOWN_TIMEOUT = 1.0
"""Seconds for answers that are on their way when the listener closes."""


class Listener(ABC):
    """Takes requests on some addresses; a subclass answers them.

    Args:
        limits: of the gate.
        headers: on every response, unless the response says otherwise.

    Attributes:
        gate: counts what it turned away.
        addresses: (IP address, port) of each TCP socket.
    """

    def __init__(self, limits: GateLimits, headers: Mapping[str, str]) -> None:
        self._limits = limits
        self._headers = dict(headers)
        self._sockets: list[asyncio.Server] = []
        self._server: Server | None = None
        self.gate = Gate(limits, self._make_protocol)
        self.addresses: list[tuple[str, int]] = []

    @abstractmethod
    async def _answer(self, request: BaseRequest) -> WholeAnswer | StreamResponse:
        """Answer one request; nothing is raised but the cancellation."""

    @abstractmethod
    async def _finish_work(self, seconds: float) -> None:
        """Wait, so long at most, for work that goes on without its client."""

    # Life

    def _open(self) -> None:
        self._server = Server(
            self._handle, handler_cancellation=True, loop=asyncio.get_running_loop()
        )

    async def _listen_tcp(self, ip: str, port: int, *, v6_only: bool = False) -> None:
        sock = listen_tcp(ip, port, v6_only=v6_only)
        self._sockets.append(await asyncio.get_running_loop().create_server(self.gate, sock=sock))
        self.addresses.append(sock.getsockname()[:2])

    async def close(self) -> None:
        """Stop listening, let answers in progress out for a moment, cut what is left."""
        await stop_listening(*self._sockets)
        await self._finish_work(SHUTDOWN_TIMEOUT)
        self.gate.cancel_blocked()
        if self._server is not None:
            self._server.pre_shutdown()
            await self._server.shutdown(timeout=SHUTDOWN_TIMEOUT)
        await self.gate.close()
        for listening in self._sockets:
            await listening.wait_closed()
        self._sockets.clear()

    def _make_protocol(self) -> asyncio.Protocol:
        assert self._server is not None  # noqa: S101 - connections come from listeners
        options: dict[str, Any] = {
            "access_log": None,  # `_log` hides tokens
            "auto_decompress": False,  # Consul takes bodies as they are, and a bomb is a body
            # The gate is the one that watches idle connections.
            "keepalive_timeout": 2 * self._limits.idle_timeout + 60,
            "lingering_time": min(LINGER, self._limits.body_timeout),
        }
        return _Protocol(self, self._server, loop=asyncio.get_running_loop(), **options)

    # One request

    async def _handle(self, request: BaseRequest) -> Any:
        connection = self.gate.connection(request.transport)
        if connection is None:
            raise ConnectionResetError("the client has gone")
        started = time.perf_counter()
        connection.request_begins()
        last = True
        try:
            response = await self._answer(request)
            if not request.content.is_eof():
                response.force_close()  # what is left of the body would be taken for a request
            log_access(request, remote_ip(request), response.status, time.perf_counter() - started)
            last = response.keep_alive is False or not request.keep_alive
            await response.prepare(request)
            return response
        finally:
            connection.request_ends(last=last)

    def _respond(
        self, status: int, body: bytes, headers: dict[str, str] | None = None
    ) -> WholeAnswer:
        merged = {**self._headers, "Content-Type": TEXT, **(headers or {})}
        return WholeAnswer(status, merged, body)

    def respond_to_garbage(self, status: int, message: str) -> WholeAnswer:
        """The answer to bytes that are no request; the connection ends with it."""
        first_line = (message or "").partition("\n")[0]
        text = f"{status} {first_line.rstrip(':') or 'Bad Request'}"
        response = self._respond(status, text.encode("utf-8", "replace"))
        response.force_close()
        return response

    # Bodies

    def _body_reader(self, request: BaseRequest) -> Any:
        async def read_body(limit: int) -> bytes:
            return await self._read_body(request, limit)

        return read_body

    async def _read_body(self, request: BaseRequest, limit: int) -> bytes:
        """The body, sent with a length or in chunks; never more than `limit` bytes are kept."""
        if (request.content_length or 0) > limit:
            raise _too_large(limit)
        if request.headers.get("Expect", "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0
        if request.content.is_eof():  # it came with the headers
            body = request.content.read_nowait()
            if len(body) > limit:
                raise _too_large(limit)
            return body
        data = bytearray()
        started = asyncio.get_running_loop().time()
        try:
            while True:
                allowed = self._limits.body_timeout + len(data) / self._limits.min_rate
                async with asyncio.timeout_at(started + allowed):
                    chunk = await request.content.readany()
                if not chunk:
                    return bytes(data)
                data += chunk
                if len(data) > limit:
                    raise _too_large(limit)
        except TimeoutError:
            self.gate.timed_out += 1
            raise HttpError(408, "The body of the request is too slow") from None


class _Protocol(RequestHandler):
    """aiohttp's protocol, whose own error pages are replaced by ours.

    Its logging of bad requests is left out: it would write a traceback for whatever a port scanner
    sends.
    """

    __slots__ = ("_listener",)

    def __init__(self, listener: Listener, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._listener = listener

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> Any:
        if isinstance(exc, ConnectionError) or request.writer.output_size > 0:
            raise ConnectionError("the answer cannot be sent any more")
        if status < 500:
            log.debug("no request from=%s reason=%s", remote_ip(request), message)
        else:
            log.error("request failed from=%s", remote_ip(request), exc_info=exc)
        return self._listener.respond_to_garbage(status, message or "")


def remote_ip(request: BaseRequest) -> str | None:
    """The client's IP address, or None on a Unix socket, which its permissions protect.

    It is in its one spelling: IPv4 that came through a socket on ``::`` is IPv4.
    """
    peer = request.get_extra_info("peername")
    return plain_ip(peer[0]) if isinstance(peer, tuple) and peer else None


def _too_large(limit: int) -> HttpError:
    return HttpError(413, f"The body of the request exceeds the limit of {limit} bytes")
