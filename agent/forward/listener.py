"""The answering side: the port of a server on which members of its pools forward requests.

    connection --gate--> POST of an envelope --opened--> request --challenge--> endpoint --> answer
                              |                 |             |
                              +---- refused ----+             +--unknown--> the current challenge

Only endpoints that declare it are served here (`agent.http.routing.Forwards`), by the same handlers as on
the HTTP interface. The rules for browsers and for networks that may write are those of the agent that took
the request; here a peer has to be a member, see `agent.forward.trust`. Nobody else learns more than that
this is not for them, and what strangers send takes up `STRANGERS_BYTES` in all until they are known.
"""

from __future__ import annotations

import logging
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from agent.forward.challenges import Challenges
from agent.forward.envelope import (
    OVERHEAD,
    SALT_SIZE,
    is_sealed,
    open_clear,
    open_sealed,
    salt_of,
    seal,
)
from agent.forward.messages import (
    MAX_BODY,
    MAX_HEAD,
    Answer,
    Request,
    decode_request,
    encode_answer,
    encode_challenge,
)
from agent.forward.post import FORWARD_PATH
from agent.forward.trust import believes_address, opening_keys
from agent.http.access_log import redact
from agent.http.app import ROUTES
from agent.http.endpoints import Endpoints
from agent.http.errors import HttpError
from agent.http.gate import GateLimits
from agent.http.listener import Listener, remote_ip
from agent.http.query import parse_parameters
from agent.http.routing import Call, Forwards, Router, Target
from agent.logs import Value
from gossip.errors import WireError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.agent import Agent
    from agent.http._aiohttp import BaseRequest
    from agent.http.sending import WholeAnswer

__all__ = ["LIMITS", "ForwardListener"]

log = logging.getLogger(__name__)

LIMITS = GateLimits(per_client=1024, blocking=4096)
"""An agent has a connection for each of its clients' blocking queries, of which it takes 1024."""
MAX_ENVELOPE = MAX_BODY + MAX_HEAD + OVERHEAD + 4
"""Largest envelope of a request, bytes."""
STRANGERS_BYTES = 16 * 1024 * 1024
"""Of envelopes that are on their way from addresses without a member; further ones are refused."""

NOT_FOR_YOU = "This port answers members of the pool only"
IN_THE_CLEAR = "Permission denied: this is answered only to requests that come sealed"


class ForwardListener(Listener):
    """Takes what other agents forward to this server.

    Args:
        agent: the server.
        limits: of the gate.
    """

    def __init__(self, agent: Agent, *, limits: GateLimits = LIMITS) -> None:
        super().__init__(limits, {"Server": "gossip-agent", "X-Content-Type-Options": "nosniff"})
        self._agent = agent
        self._servers = agent.servers
        self._stats = agent.forwarder.stats
        self._router = Router(
            [route for route in ROUTES if route.forwards is not Forwards.NEVER],
            strict=agent.config.strict_http_methods,
        )
        self._challenges = Challenges(lambda: os.urandom(16).hex())
        self._strangers = 0
        self.endpoints = Endpoints(agent, self.gate)

    async def start(self) -> None:
        """Listen on the server port, and tell the pool which one it is if the system chose it.

        Raises:
            OSError: the address cannot be bound; nothing is left open.
        """
        config = self._agent.config
        self._open()
        try:
            await self._listen_tcp(config.bind_addr, config.ports.server)
        except BaseException:
            await self.close()
            raise
        if not config.ports.server:
            await self._agent.announce_server_port(self.addresses[0][1])

    def follow_config(self) -> None:
        """Follow the agent's configuration as it is now."""
        self._router.strict = self._agent.config.strict_http_methods

    async def _finish_work(self, seconds: float) -> None:
        await self.endpoints.finish_writes(seconds)

    # Envelopes

    async def _answer(self, request: BaseRequest) -> WholeAnswer:
        try:
            envelope = await self._open_and_serve(request)
        except HttpError as error:
            response = self._respond(error.status, error.text.encode(), error.headers)
            response.force_close()
            return response
        return self._respond(200, envelope, {"Content-Type": "application/octet-stream"})

    async def _open_and_serve(self, request: BaseRequest) -> bytes:
        """The envelope that answers one; an `HttpError` is for somebody who may be anybody."""
        ip = remote_ip(request) or ""
        keys = opening_keys(self._servers)
        is_member = bool(self._servers.clusters_with(ip))
        if request.method != "POST" or request.raw_path != FORWARD_PATH:
            raise self._refusal("misdirected", ip)
        if not keys and not believes_address(self._servers, ip):
            raise self._refusal("strangers", ip)
        length = request.content_length
        if length is None or length > MAX_ENVELOPE:
            raise self._refusal("malformed", ip)
        with self._room_for(0 if is_member else length):
            data = await self._read_body(request, MAX_ENVELOPE)
        try:
            if is_sealed(data):
                message, key = open_sealed(data, keys)
                return await self._serve_sealed(decode_request(message), key, salt_of(data))
            if not believes_address(self._servers, ip):
                raise self._refusal("strangers", ip)
            message = open_clear(data)
            answer = await self._serve(decode_request(message), sealed=False)
            return seal(encode_answer(answer), None, b"")
        except WireError as error:
            log.debug("envelope refused from=%s reason=%s", ip, Value(error))
            raise self._refusal("malformed", ip) from None

    async def _serve_sealed(self, request: Request, key: bytes, salt: bytes) -> bytes:
        now = time.monotonic()
        if self._challenges.use(request.challenge, salt, now):
            reply = encode_answer(await self._serve(request, sealed=True))
        else:
            self._stats["challenged"] += 1
            reply = encode_challenge(self._challenges.current(now))
        return seal(reply, key, os.urandom(SALT_SIZE), answers=salt)

    def _refusal(self, reason: str, ip: str) -> HttpError:
        self._stats[f"refused_{reason}"] += 1
        log.warning("refused reason=%s from=%s", reason, ip)
        return HttpError(403, NOT_FOR_YOU)

    @contextmanager
    def _room_for(self, size: int) -> Iterator[None]:
        """Hold room for bytes of a stranger."""
        if self._strangers + size > STRANGERS_BYTES:
            self._stats["refused_strangers_bytes"] += 1
            raise HttpError(429, "Too many requests", {"Retry-After": "1"})
        self._strangers += size
        try:
            yield
        finally:
            self._strangers -= size

    # Requests

    async def _serve(self, request: Request, *, sealed: bool) -> Answer:
        started = time.perf_counter()
        self._stats["served"] += 1
        answer = await self.endpoints.guarded(
            self._dispatch(request, sealed=sealed), request.method, request.target
        )
        if log.isEnabledFor(logging.DEBUG):
            log.debug(
                "forwarded request method=%s url=%s hops=%d status=%d latency=%.3fms",
                Value(request.method),
                Value(redact(request.target)),
                request.hops,
                answer.status,
                (time.perf_counter() - started) * 1e3,
            )
        return answer

    async def _dispatch(self, request: Request, *, sealed: bool) -> Answer:
        target = Target.parse(request.target)
        route, rest = self._router.find(target)
        self._router.check_method(route, request.method)
        if route.secret and not sealed:
            raise HttpError(403, IN_THE_CLEAR)

        async def read_body(limit: int) -> bytes:
            if len(request.body) > limit:
                raise HttpError(413, f"The body of the request exceeds the limit of {limit} bytes")
            return request.body

        call = Call(
            self._agent,
            rest,
            parse_parameters(target.query),
            read_body,
            request.headers,
            request.method,
            request.target,
            request.hops,
        )
        return await self.endpoints.run(route, call)
