"""Endpoints: from a route and a parsed request to an answer, made here or fetched from a server.

Both listeners of an agent end here: the HTTP interface, and the port on which servers take what other
agents forward. So what a route declares (it blocks, it changes state, who may serve it) means the same
whichever way a request came.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from agent.credentials import can_be_sent
from agent.decode import DecodeError
from agent.definitions import DefinitionError
from agent.errors import BusyError
from agent.forward.messages import TOKEN_HEADER, Answer
from agent.http.access_log import redact
from agent.http.answers import Renderer
from agent.http.errors import HttpError
from agent.http.query import blocking, token_of
from agent.http.reading import JITTER, with_own_name
from agent.http.routing import NOTHING, Forwards
from gossip.errors import GossipError

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from agent.agent import Agent
    from agent.http.gate import Gate
    from agent.http.routing import Call, Reply, Route

__all__ = ["FORWARD_TIMEOUT", "Endpoints"]

log = logging.getLogger(__name__)

FORWARD_TIMEOUT = 10.0
"""Seconds for a forwarded request, besides the time that a blocking query waits at its server."""


class Endpoints:
    """Runs the handlers of one agent for one listener.

    Args:
        agent: whom the handlers ask.
        gate: of the listener; it has the places for blocking queries.

    Attributes:
        writes: changes in progress; they go on without their client.
        renderer: makes the JSON.
    """

    def __init__(self, agent: Agent, gate: Gate) -> None:
        self._agent = agent
        self._gate = gate
        self.writes: set[asyncio.Task[Answer]] = set()
        self.renderer = Renderer()

    async def finish_writes(self, seconds: float) -> None:
        """Wait, so long at most, for the changes in progress."""
        if self.writes:
            await asyncio.wait(self.writes, timeout=seconds)

    async def run(self, route: Route, call: Call) -> Answer:
        """Do what a request asks for.

        Raises:
            HttpError: the answer is this error.
            GossipError: it failed behind the handler.
        """
        if route.check is not None:
            route.check(call)
        if route.blocks and (call.get("index").strip("0") or call.get("hash")):
            with self._gate.blocking_slot():
                return await self._serve(route, call)
        if not route.writes:
            return await self._serve(route, call)
        # A change that has begun is finished even if its client does not wait for the answer.
        task = asyncio.ensure_future(self._serve(route, call))
        self.writes.add(task)
        task.add_done_callback(self.writes.discard)
        return await asyncio.shield(task)

    async def _serve(self, route: Route, call: Call) -> Answer:
        datacenter = await self._datacenter(route, call)
        if self._belongs_elsewhere(route, datacenter):
            return await self._forward(route, call, datacenter)
        reply = await route.handler(call)
        if reply.lines is not None:
            return Answer(200, lines=reply.lines)
        if reply.data is NOTHING:
            return Answer(reply.status, reply.text.encode("utf-8", "replace"), reply.headers)
        return await self._render(route, call, reply)

    async def _render(self, route: Route, call: Call, reply: Reply) -> Answer:
        pretty = self._agent.config.dev or call.has("pretty")
        headers = {"Content-Type": "application/json"} | reply.headers
        body = await self.renderer.render(route, reply, pretty=pretty)
        return Answer(reply.status, body, headers)

    async def _datacenter(self, route: Route, call: Call) -> str:
        """The datacenter that a request is for."""
        named = ""
        if route.datacenter is not None:
            body = await call.read_body(route.max_body)
            named = route.datacenter(body)

            async def read_again(_limit: int) -> bytes:
                return body

            call.read_body = read_again
        return named or call.get("dc") or self._agent.config.datacenter

    def _belongs_elsewhere(self, route: Route, datacenter: str) -> bool:
        match route.forwards:
            case Forwards.NEVER | Forwards.HANDLER:
                return False
            case Forwards.WAN:
                config, servers = self._agent.config, self._agent.servers
                # Without one, its own datacenter is what it knows, and true as far as it goes.
                return not config.server and any(s.ours for s in servers.of(config.datacenter))
            case _ if datacenter != self._agent.config.datacenter:
                return True
            case Forwards.DATACENTER:
                return False
            case Forwards.SERVER:
                return not self._agent.config.server
            case Forwards.LEADER:
                return self._agent.store is None

    async def _forward(self, route: Route, call: Call, datacenter: str) -> Answer:
        wait = 0.0
        if route.blocks:
            query = blocking(call.parameters)  # a mistake is reported without a journey
            wait = query.wait * (1 + JITTER) if query.index else 0.0
        body = await call.read_body(route.max_body) if route.max_body else b""
        token = token_of(call.parameters, call.headers) or self._agent.config.acl_token
        if not can_be_sent(token):
            raise HttpError(400, "The token has characters that no token has, or too many")
        return await self._agent.forwarder.request(
            datacenter,
            call.method,
            with_own_name(call),
            body,
            headers={TOKEN_HEADER: token} if token else {},
            deadline=asyncio.get_running_loop().time() + FORWARD_TIMEOUT + wait,
            hops=call.hops,
            leader=route.forwards is Forwards.LEADER,
        )

    async def guarded(self, work: Awaitable[Answer], method: str, target: str) -> Answer:
        """Await an answer; errors become the answers that Consul gives to them.

        Args:
            work: what makes the answer.
            method: of the request, for the log.
            target: likewise.
        """
        try:
            return await work
        except HttpError as error:
            return Answer(error.status, error.text.encode("utf-8", "replace"), error.headers)
        except DecodeError as error:
            return Answer(400, f"Request decode failed: {error}".encode())
        except DefinitionError as error:
            return Answer(400, str(error).encode("utf-8", "replace"))
        except BusyError as error:
            return Answer(429, str(error).encode(), {"Retry-After": "1"})
        except GossipError as error:
            return Answer(500, str(error).encode("utf-8", "replace"))
        except Exception:
            log.exception("request failed method=%s url=%s", method, redact(target))
            return Answer(500, b"Internal error")
