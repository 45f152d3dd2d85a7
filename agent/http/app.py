"""The HTTP interface: from a request to an endpoint and back.

A request passes, in this order: the gate (connections and time), the guard (host name), the form of
its path, blocked endpoints, the method, the guard again when it changes state, and its handler. Every
answer leaves through `_respond`, so none lacks the headers that browsers are to see.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from agent.addresses import UNIX
from agent.forward.messages import TOKEN_HEADER, Answer
from agent.http import agent as agent_routes
from agent.http import catalog as catalog_routes
from agent.http import checks as check_routes
from agent.http import coordinate as coordinate_routes
from agent.http import event as event_routes
from agent.http import health as health_routes
from agent.http import local_health as local_health_routes
from agent.http import local_service as local_service_routes
from agent.http import operator as operator_routes
from agent.http import queries as query_routes
from agent.http import services as service_routes
from agent.http import status as status_routes
from agent.http.endpoints import Endpoints
from agent.http.errors import HttpError
from agent.http.gate import GateLimits
from agent.http.guard import Guard, is_local
from agent.http.listener import Listener, remote_ip
from agent.http.query import parse_parameters
from agent.http.routing import Call, Methods, Reply, Route, Router, Target
from agent.http.sending import BASE_HEADERS, TEXT, send_lines
from agent.listeners import listen_unix, remove_socket

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncGenerator

    from agent.agent import Agent
    from agent.http._aiohttp import BaseRequest, StreamResponse
    from agent.http.sending import WholeAnswer

__all__ = ["ROUTES", "HttpServer"]

log = logging.getLogger(__name__)


async def _root(_call: Call) -> Reply:
    return Reply(text="Consul Agent")


ROUTES = (
    Route("/", Methods.READ, _root),
    *agent_routes.routes(),
    *check_routes.routes(),
    *service_routes.routes(),
    *local_service_routes.routes(),
    *local_health_routes.routes(),
    *event_routes.routes(),
    *catalog_routes.routes(),
    *health_routes.routes(),
    *status_routes.routes(),
    *coordinate_routes.routes(),
    *operator_routes.routes(),
    *query_routes.routes(),
)


class HttpServer(Listener):
    """Serves one agent on its HTTP addresses.

    Args:
        agent: whom the handlers ask.
        limits: of the gate; by default the standard ones with the configured connections per client.

    Attributes:
        endpoints: runs the handlers.
    """

    def __init__(self, agent: Agent, *, limits: GateLimits | None = None) -> None:
        config = agent.config
        super().__init__(
            limits or GateLimits(per_client=config.limits.http_max_conns_per_client),
            BASE_HEADERS,
        )
        self._agent = agent
        self._router = Router(ROUTES, strict=config.strict_http_methods)
        self._apply_rules()
        self._warned_about_token = False
        self._paths: list[Path] = []
        self.endpoints = Endpoints(agent, self.gate)

    def follow_config(self) -> None:
        """Follow the agent's configuration as it is now; connections that are open stay open."""
        config = self._agent.config
        self._router.strict = config.strict_http_methods
        self.gate.limits = replace(
            self.gate.limits, per_client=config.limits.http_max_conns_per_client
        )
        self._apply_rules()

    def _apply_rules(self) -> None:
        config = self._agent.config
        rules = config.http_config
        self._headers = BASE_HEADERS | dict(rules.response_headers)
        self._guard = Guard(hosts=_own_names(self._agent), write_from=rules.allow_write_http_from)
        self._blocked = tuple(rules.block_endpoints)

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: an address cannot be bound; nothing is left open.
        """
        self._open()
        config = self._agent.config
        # Where IPv4 has addresses of its own, `::` is IPv6 alone: one port cannot be taken twice.
        v6_only = any(not bind.startswith(UNIX) and ":" not in bind for bind in config.http_binds)
        try:
            for bind in config.http_binds:
                if bind.startswith(UNIX):
                    path = Path(bind.removeprefix(UNIX))
                    await self._listen_on(listen_unix(path), path)
                    continue
                await self._listen_tcp(bind, config.ports.http, v6_only=v6_only)
                self._agent.http_port = self.addresses[0][1]
        except BaseException:
            await self.close()
            raise

    async def _listen_on(self, sock: socket.socket, path: Path) -> None:
        self._paths.append(path)
        loop = asyncio.get_running_loop()
        self._sockets.append(await loop.create_unix_server(self.gate, sock=sock))

    async def close(self) -> None:
        """Stop listening, let answers in progress out for a moment, cut what is left."""
        for path in self._paths:
            remove_socket(path)
        self._paths.clear()
        await super().close()

    async def _finish_work(self, seconds: float) -> None:
        await self.endpoints.finish_writes(seconds)

    # One request

    async def _answer(self, request: BaseRequest) -> WholeAnswer | StreamResponse:
        work = self._dispatch(request)
        answer = await self.endpoints.guarded(work, request.method, request.raw_path)
        if answer.lines is not None:
            return await self._send_lines(request, answer.lines)
        return self._respond(answer.status, answer.body, answer.headers)

    async def _dispatch(self, request: BaseRequest) -> Answer:
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
            return Answer(200, headers=self._router.allow(route))
        self._router.check_method(route, request.method)
        if route.writes:
            self._guard.check_write(request.headers, remote_ip(request))
        parameters = parse_parameters(target.query)
        if parameters.get("token") and not self._warned_about_token:
            self._warned_about_token = True
            log.warning("a client sends its token in the URL, where logs and proxies keep it")
        call = Call(
            self._agent,
            rest,
            parameters,
            self._body_reader(request),
            request.headers,
            request.method,
            request.raw_path,
            local=is_local(remote_ip(request)),
        )
        return await self.endpoints.run(route, call)

    async def ask(self, target: str, token: str = "") -> Answer:
        """Answer a GET of the agent itself, which comes from nowhere: no rule about clients is for it.

        Args:
            target: path and query.
            token: that it carries; empty for none.
        """
        return await self.endpoints.guarded(self._ask(target, token), "GET", target)

    async def _ask(self, target: str, token: str) -> Answer:
        parsed = Target.parse(target)
        route, rest = self._router.find(parsed)
        self._router.check_method(route, "GET")

        async def no_body(_limit: int) -> bytes:
            return b""

        headers = {TOKEN_HEADER: token} if token else {}
        call = Call(
            self._agent,
            rest,
            parse_parameters(parsed.query),
            no_body,
            headers,
            "GET",
            target,
            local=True,
        )
        return await self.endpoints.run(route, call)

    async def _send_lines(
        self, request: BaseRequest, lines: AsyncGenerator[str]
    ) -> WholeAnswer | StreamResponse:
        """Answer for as long as the client stays; it takes one of the places for blocking queries."""
        async with contextlib.aclosing(lines):
            try:
                with self.gate.blocking_slot():
                    return await send_lines(request, {**self._headers, "Content-Type": TEXT}, lines)
            except HttpError as error:  # no place is free
                return self._respond(error.status, error.text.encode(), error.headers)


def _own_names(agent: Agent) -> list[str]:
    config = agent.config
    names = [*config.http_binds, config.advertise_addr, *config.http_config.allow_hosts]
    return [name for name in names if name and not name.startswith(UNIX)]
