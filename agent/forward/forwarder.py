"""The asking side: finds a server, sends it a request and waits for the answer.

    candidates, at random --> connect --> send --> answer
         ^                       |          |
         +---- not processed ----+          +-- GET, HEAD: the next; else the error is the answer

A request goes to another server only when the first has certainly not processed it: it could not be
reached, or said so. One that was sent and not answered may have been processed, and firing an event or
writing a value twice is worse than an error; GET and HEAD change nothing and are sent again. Servers that
failed lately are asked last.

Cancelling a request closes its connection, which cancels what the server does for it: a client that hangs
up its blocking query frees the whole chain.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from agent.forward.envelope import SALT_SIZE, open_clear, open_sealed, seal
from agent.forward.messages import MAX_HOPS, Answer, Request, decode_answer, encode_request
from agent.forward.post import Poster, PostError, RefusedError, UnreachedError
from agent.forward.trust import sealing_key
from agent.logs import Value
from gossip.errors import GossipError, WireError
from gossip.wire.address import join_host_port

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.forward.messages import Received
    from agent.servers import Server, Servers
    from gossip.wire.address import Address

__all__ = ["ACROSS", "NO_PATH", "NO_SERVERS", "Forwarder"]

log = logging.getLogger(__name__)
T = TypeVar("T")

ATTEMPTS = 3
"""Servers that are asked for one request."""
CHALLENGED = 2
"""How often one server may ask for the same request again."""
AVOID = 30.0
"""Seconds for which a server that failed is asked last."""
REMEMBERED = 256
"""Servers of which something is remembered."""

NO_PATH = "No path to datacenter"
NO_SERVERS = "No known Consul servers"
NO_LEADER = "No cluster leader"
ACROSS = "rpc error making call: "
"""What Consul puts before an error that comes from another agent, once for each hop."""
UNREACHED = "rpc error getting client: failed to get conn: "
"""What it puts before the reason why there is no connection."""


UNSEALED = "keys travel sealed with the gossip key of the pool in between, which has none"
"""Why a secret request was not sent."""


class _FailedError(Exception):
    """One server gave no answer; `processed` when it may have done what was asked."""

    def __init__(self, text: str, *, processed: bool) -> None:
        super().__init__(text)
        self.processed = processed


class Forwarder:
    """Forwards the requests of one agent.

    Args:
        servers: who can be asked.
        own_name: name of our node, which is never asked.
        is_server: whether we are a server, and ask those of other datacenters ourselves.
        source: IP address that our connections come from, by which the servers of a pool without a
            key know us; empty leaves it to the system.

    Attributes:
        servers: likewise.
        stats: counters of both sides of forwarding; the listener adds to them.
    """

    def __init__(
        self, servers: Servers, own_name: str, *, is_server: bool, source: str = ""
    ) -> None:
        self.servers = servers
        self.stats: Counter[str] = Counter()
        self._own_name = own_name
        self._is_server = is_server
        self._poster = Poster(source)
        self._challenges: dict[Address, str] = {}
        self._failed_at: dict[Address, float] = {}

    async def close(self) -> None:
        """Close all connections; requests in progress fail. Idempotent."""
        await self._poster.close()

    async def request(
        self,
        dc: str,
        method: str,
        target: str,
        body: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        deadline: float | None = None,
        hops: int = 0,
        leader: bool = False,
        secret: bool = False,
    ) -> Answer:
        """Have a server answer a request.

        Args:
            dc: datacenter that it is for.
            method: GET and HEAD may be sent to several servers, one after the other.
            target: path and query; its ``?dc=`` names `dc` unless that is our own.
            body: at most `agent.forward.messages.MAX_BODY` bytes.
            headers: those that travel, see `agent.forward.messages`.
            deadline: on the loop's clock; None waits for as long as the server takes.
            hops: agents that the request came through before us.
            leader: it is for the leader of the datacenter, to whom its other servers send it on.
            secret: send it sealed or not at all.

        Returns:
            The server's answer; an error among them has Consul's prefix.

        Raises:
            GossipError: there is nobody to ask, or no answer in time; the text is Consul's.
        """
        if hops >= (MAX_HOPS if leader else MAX_HOPS - 1):
            self.stats["loops"] += 1
            raise GossipError(f"{NO_PATH}: the request came through {hops} agents already")
        datacenter = dc if self._is_server else self.servers.datacenter
        # The other servers of our own datacenter could do no more than ask the leader, as we do.
        only = leader and self._is_server and dc == self.servers.datacenter
        candidates = self._candidates(datacenter, leader=leader, only=only)
        if not candidates:
            nobody = NO_PATH if self._is_server else NO_SERVERS
            raise GossipError(NO_LEADER if only else nobody)
        request = Request(method, target, headers or {}, body, hops + 1)
        try:
            async with asyncio.timeout_at(deadline):
                answer = await self._ask_any(candidates, request, secret=secret)
        except TimeoutError:
            self.stats["timeouts"] += 1
            raise GossipError(f"{ACROSS}no answer in time") from None
        self.stats["sent"] += 1
        return _from_across(answer)

    def _candidates(
        self, datacenter: str, *, leader: bool = False, only: bool = False
    ) -> list[Server]:
        """Servers to ask, the first first: at random, or the leader before the others, or `only` it."""
        known = [s for s in self.servers.of(datacenter) if not self._is_ourselves(s)]
        ours = [server for server in known if server.ours]
        if known and not ours:
            log.warning("the servers there do not speak our protocol dc=%s", Value(datacenter))
        if only:
            ours = [server for server in ours if server.bootstrap]
        random.shuffle(ours)
        since = asyncio.get_running_loop().time() - AVOID

        def rank(server: Server) -> tuple[bool, bool]:
            failed = self._failed_at.get(server.address, since) > since
            return failed, leader and not server.bootstrap

        return sorted(ours, key=rank)[:ATTEMPTS]

    def _is_ourselves(self, server: Server) -> bool:
        return server.dc == self.servers.datacenter and server.name == self._own_name

    async def _ask_any(self, candidates: list[Server], request: Request, *, secret: bool) -> Answer:
        repeats = request.method in {"GET", "HEAD"}
        for left, server in zip(range(len(candidates) - 1, -1, -1), candidates, strict=True):
            try:
                return await self._ask(server, request, secret=secret)
            except _FailedError as error:
                self.stats["failed_attempts"] += 1
                _remember(self._failed_at, server, asyncio.get_running_loop().time())
                log.warning("no answer server=%s error=%s", Value(server.name), Value(error))
                if not left or (error.processed and not repeats):
                    raise GossipError(str(error)) from None
        raise AssertionError("there is a candidate")

    async def _ask(self, server: Server, request: Request, *, secret: bool) -> Answer:
        """The answer of one server, which may want another challenge first."""
        where = join_host_port(*server.address)
        for _ in range(1 + CHALLENGED):
            key = sealing_key(self.servers.cluster_of(server.dc), secret=secret)
            if secret and key is None:
                raise GossipError(UNSEALED)
            salt = os.urandom(SALT_SIZE)
            if key is not None:
                request = replace(request, challenge=self._challenges.get(server.address, ""))
            try:
                envelope = seal(encode_request(request), key, salt)
                received = _open(await self._poster.post(server.address, envelope), key, salt)
            except UnreachedError as error:
                raise _FailedError(f"{UNREACHED}{where}: {error}", processed=False) from None
            except (PostError, WireError) as error:
                # What is not sealed may come from anybody, so it is no proof in a pool with a key.
                refused = isinstance(error, RefusedError) and key is None
                raise _FailedError(f"{ACROSS}{where}: {error}", processed=not refused) from None
            if isinstance(received, Answer):
                return received
            _remember(self._challenges, server, received.value)
        raise _FailedError(f"{ACROSS}{where}: asked again too often", processed=False)


def _open(envelope: bytes, key: bytes | None, salt: bytes) -> Received:
    """What came back for a request that was sealed with this key and salt."""
    if key is None:
        return decode_answer(open_clear(envelope))
    message, _ = open_sealed(envelope, [key], answers=salt)
    return decode_answer(message)


def _from_across(answer: Answer) -> Answer:
    """An answer of another agent; mistakes of the client read as if they had been found here."""
    if answer.status >= 500 or answer.status == 403:
        answer.body = ACROSS.encode() + answer.body
    return answer


def _remember(table: dict[Address, T], server: Server, value: T) -> None:
    table.pop(server.address, None)
    table[server.address] = value
    if len(table) > REMEMBERED:
        del table[next(iter(table))]
