"""The HTTP server: from a connection to a handler and back.

A request passes, in this order: the gate (connections and time), the guard (host name), the form of
its path, blocked endpoints, the method, the guard again when it changes state, and its handler. Every
answer leaves through `_respond`, so none lacks the headers that browsers are to see.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.agent import BusyError
from agent.http import agent as agent_routes
from agent.http import coordinate as coordinate_routes
from agent.http import event as event_routes
from agent.http import status as status_routes
from agent.http._aiohttp import BaseRequest, RequestHandler, Response, Server, StreamResponse
from agent.http.access_log import log_access, redact
from agent.http.answers import BASE_HEADERS, TEXT, Renderer, send_in_pieces
from agent.http.errors import HttpError
from agent.http.gate import Gate, GateLimits
from agent.http.guard import Guard
from agent.http.query import parse_parameters
from agent.http.routing import NOTHING, Call, Methods, Reply, Route, Router, Target
from gossip.errors import GossipError

if TYPE_CHECKING:
    from agent.agent import Agent

__all__ = ["HttpServer"]

log = logging.getLogger(__name__)

BACKLOG = 512
SEND_BUFFER = 64 * 1024
"""Bytes that the kernel takes of an answer; the rest stays where we see whether it is read."""
LINGER = 2.0
"""Seconds for which the rest of a refused body is taken, so that the answer gets through."""
_SHUTDOWN_TIMEOUT = 1.0  # for answers that are on their way when the server stops


async def _root(_call: Call) -> Reply:
    return Reply(text="Consul Agent")


ROUTES = (
    Route("/", Methods.READ, _root),
    *agent_routes.routes(),
    *event_routes.routes(),
    *status_routes.routes(),
    *coordinate_routes.routes(),
)


class HttpServer:
    """Serves one agent on its HTTP addresses.

    Args:
        agent: whom the handlers ask.
        limits: of the gate; by default the standard ones with the configured connections per client.

    Attributes:
        gate: counts what it turned away.
        addresses: (IP address, port) of each TCP listener.
    """

    def __init__(self, agent: Agent, *, limits: GateLimits | None = None) -> None:
        config = agent.config
        self._agent = agent
        self._limits = limits or GateLimits(per_client=config.limits.http_max_conns_per_client)
        self._guard = Guard(
            hosts=_own_names(agent), write_from=config.http_config.allow_write_http_from
        )
        self._router = Router(ROUTES, strict=config.strict_http_methods)
        self._blocked = tuple(config.http_config.block_endpoints)
        self._headers = BASE_HEADERS | dict(config.http_config.response_headers)
        self._warned_about_token = False
        self._writes: set[asyncio.Task[Reply]] = set()
        self._listeners: list[asyncio.Server] = []
        self._sockets: list[Path] = []
        self._server: Server | None = None
        self._renderer = Renderer()
        self.gate = Gate(self._limits, self._make_protocol)
        self.addresses: list[tuple[str, int]] = []

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: an address cannot be bound; nothing is left open.
        """
        loop = asyncio.get_running_loop()
        self._server = Server(self._handle, handler_cancellation=True, loop=loop)
        try:
            for bind in self._agent.config.http_binds:
                if bind.startswith("unix://"):
                    await self._listen_unix(Path(bind.removeprefix("unix://")))
                    continue
                sock = _tcp_socket(bind, self._agent.config.ports.http)
                self._listeners.append(await loop.create_server(self.gate, sock=sock))
                self.addresses.append(sock.getsockname()[:2])
                self._agent.http_port = self.addresses[0][1]
        except BaseException:
            await self.close()
            raise

    async def _listen_unix(self, path: Path) -> None:
        _remove_socket(path)
        mask = os.umask(0o177)  # the socket is never, not for a moment, open to others
        try:
            listener = await asyncio.get_running_loop().create_unix_server(
                self.gate, path, backlog=BACKLOG
            )
        finally:
            os.umask(mask)
        self._listeners.append(listener)
        self._sockets.append(path)

    async def close(self) -> None:
        """Stop listening, let answers in progress out for a moment, cut what is left."""
        for listener in self._listeners:
            listener.close()
        for path in self._sockets:
            _remove_socket(path)
        if self._writes:
            await asyncio.wait(self._writes, timeout=_SHUTDOWN_TIMEOUT)
        self.gate.cancel_blocked()
        if self._server is not None:
            self._server.pre_shutdown()
            await self._server.shutdown(timeout=_SHUTDOWN_TIMEOUT)
        await self.gate.close()
        for listener in self._listeners:
            await listener.wait_closed()
        self._listeners.clear()
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

    async def _handle(self, request: BaseRequest) -> StreamResponse:
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
            log_access(request, response.status, time.perf_counter() - started)
            last = response.keep_alive is False or not request.keep_alive
            return await send_in_pieces(request, response)
        finally:
            connection.request_ends(last=last)

    async def _answer(self, request: BaseRequest) -> Response:
        try:
            return await self._dispatch(request)
        except HttpError as error:
            return self._respond(error.status, error.text.encode("utf-8", "replace"), error.headers)
        except BusyError as error:
            return self._respond(429, str(error).encode(), {"Retry-After": "1"})
        except GossipError as error:
            return self._respond(500, str(error).encode("utf-8", "replace"))
        except Exception:
            log.exception(
                "request failed method=%s url=%s", request.method, redact(request.raw_path)
            )
            return self._respond(500, b"Internal error")

    async def _dispatch(self, request: BaseRequest) -> Response:
        local = request.get_extra_info("sockname")
        local_ip = local[0] if isinstance(local, tuple) else None
        self._guard.check_host(request.headers.get("Host"), local_ip)
        target = Target.parse(request.raw_path)
        if target.host:
            self._guard.check_host(target.host, local_ip)
        target.check_clean()
        if target.path.startswith(self._blocked):
            raise HttpError(403, "Endpoint is blocked by agent configuration")
        route, rest = self._router.find(target)
        if request.method == "OPTIONS":
            return self._respond(200, b"", self._router.allow(route))
        self._router.check_method(route, request.method)
        if route.writes:
            self._guard.check_write(request.headers, _remote(request))
        parameters = parse_parameters(target.query)
        if parameters.get("token") and not self._warned_about_token:
            self._warned_about_token = True
            log.warning("a client sends its token in the URL, where logs and proxies keep it")
        call = Call(self._agent, rest, parameters, self._body_reader(request), request.headers)
        reply = await self._run(route, call)
        if reply.data is NOTHING:
            return self._respond(200, reply.text.encode(), reply.headers)
        pretty = self._agent.config.dev or "pretty" in parameters
        headers = {"Content-Type": "application/json"} | reply.headers
        return self._respond(200, self._renderer.render(route, reply, pretty=pretty), headers)

    async def _run(self, route: Route, call: Call) -> Reply:
        if route.blocks and call.get("index").strip("0"):
            with self.gate.blocking_slot():
                return await route.handler(call)
        if not route.writes:
            return await route.handler(call)
        # A change that has begun is finished even if its client does not wait for the answer.
        task = asyncio.ensure_future(route.handler(call))
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)
        return await asyncio.shield(task)

    def _respond(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> Response:
        merged = {**self._headers, "Content-Type": TEXT, **(headers or {})}
        return Response(status=status, body=body, headers=merged)

    def respond_to_garbage(self, status: int, message: str) -> Response:
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

    __slots__ = ("_http",)

    def __init__(self, http: HttpServer, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._http = http

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> StreamResponse:
        if isinstance(exc, ConnectionError) or request.writer.output_size > 0:
            raise ConnectionError("the answer cannot be sent any more")
        if status < 500:
            log.debug("no request from=%s reason=%s", request.remote, message)
        else:
            log.error("request failed from=%s", request.remote, exc_info=exc)
        return self._http.respond_to_garbage(status, message or "")


def _tcp_socket(ip: str, port: int) -> socket.socket:
    """A listening socket whose connections keep little in the kernel."""
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    sock = socket.create_server((ip, port), family=family, backlog=BACKLOG)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    return sock


def _remote(request: BaseRequest) -> str | None:
    """The client's IP address, or None on a Unix socket, which its permissions protect."""
    peer = request.get_extra_info("peername")
    return str(peer[0]) if isinstance(peer, tuple) and peer else None


def _own_names(agent: Agent) -> list[str]:
    config = agent.config
    names = [*config.http_binds, config.advertise_addr, *config.http_config.allow_hosts]
    return [name for name in names if name and not name.startswith("unix://")]


def _remove_socket(path: Path) -> None:
    """Take away what a process that was killed left behind, and nothing but a socket."""
    if path.is_socket():
        path.unlink()


def _too_large(limit: int) -> HttpError:
    return HttpError(413, f"The body of the request exceeds the limit of {limit} bytes")
