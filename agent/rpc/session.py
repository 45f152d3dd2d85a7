"""One client of Serf's RPC: what it may do, its requests in their order, and the streams it has open.

    connected --handshake--> greeted --auth--> admitted
                   `-- where no key is asked for --'

A stream is a task that sends records until it is stopped or the client goes. It waits for the client to
read while what it follows goes on: the queue between the two is bounded.
"""

from __future__ import annotations

import contextlib
import enum
import hmac
import logging
from typing import TYPE_CHECKING, Any

from agent.rpc import commands, keys, queries, streams
from agent.rpc.errors import RpcError
from gossip.errors import GossipError, WireError
from gossip.tasks import Tasks
from gossip.wire.codec import FieldError, int64, text
from gossip.wire.rpc import ANSWERS_WITH_BODY, AUTH_REQUIRED, VERSION, encode_answer

if TYPE_CHECKING:
    import asyncio
    from collections import Counter
    from collections.abc import Awaitable, Callable, Coroutine, Mapping

    from agent.agent import Agent
    from agent.rpc.merged import MergedEvents
    from gossip.wire.rpc import Request

__all__ = ["Session"]

log = logging.getLogger(__name__)

MAX_STREAMS = 64
"""Streams that one client may have open; each has a queue of its own."""
HANDSHAKE_REQUIRED = "Handshake required"
HANDSHAKE_DUPLICATE = "Handshake already performed"
VERSION_UNSUPPORTED = "Unsupported IPC version"
COMMAND_UNSUPPORTED = "Unsupported command"
AUTH_INVALID = "Invalid authentication token"
STREAM_EXISTS = "Stream with given sequence exists"

COMMANDS: Mapping[str, Callable[[Session, Request], Awaitable[Mapping[str, Any] | None]]] = {
    **commands.COMMANDS,
    **keys.COMMANDS,
    **queries.COMMANDS,
    **streams.COMMANDS,
}
"""What an admitted client may ask for."""


class _Stage(enum.Enum):
    CONNECTED = enum.auto()
    GREETED = enum.auto()
    ADMITTED = enum.auto()


class Session:
    """A client, fed with its requests one after the other.

    Args:
        agent: whom the commands ask.
        events: what its streams show.
        write: sends bytes, and waits while the client does not take them.
        stats: where drops are counted.
        peer: who it is, for the log.

    Attributes:
        streams: what runs for a request, by its number.
        monitor: the number of the request that watches the log.
        pending: the queries that the client may answer.
    """

    def __init__(
        self,
        agent: Agent,
        events: MergedEvents,
        write: Callable[[bytes], Awaitable[None]],
        stats: Counter[str],
        *,
        peer: str,
    ) -> None:
        self.agent = agent
        self.events = events
        self.stats = stats
        self.streams: dict[int, asyncio.Task[None]] = {}
        self.monitor: int | None = None
        self.pending = queries.PendingQueries()
        self._write = write
        self._peer = peer
        self._stage = _Stage.CONNECTED
        self._tasks = Tasks(log)

    @property
    def admitted(self) -> bool:
        """Whether the client may command the agent."""
        return self._stage is _Stage.ADMITTED

    async def close(self) -> None:
        """End the streams."""
        await self._tasks.cancel()

    async def handle(self, request: Request) -> bool:
        """Carry out a request and answer it; False when the connection is to be closed.

        Raises:
            WireError: a field has a value that its type does not allow.
            OSError: the client has gone.
        """
        try:
            if request.command == "handshake":
                return await self._handshake(request)
            if self._stage is _Stage.CONNECTED:
                await self.send(request.seq, error=HANDSHAKE_REQUIRED)
                return False
            if request.command == "auth":
                return await self._authenticate(request)
            if self._stage is _Stage.GREETED:
                log.warning("a client has not shown the key from=%s", self._peer)
                await self.send(request.seq, error=AUTH_REQUIRED)
                return True
            return await self._command(request)
        except FieldError as error:
            shown = error.key.decode("utf-8", "replace")
            raise WireError(f"{request.command}: {shown}: {error.reason}", layer="rpc") from None

    async def send(
        self, seq: int, body: Mapping[str, Any] | None = None, *, error: str = ""
    ) -> None:
        """Send an answer or a record; waits while the client does not read.

        Raises:
            OSError: the client has gone.
        """
        await self._write(encode_answer(seq, body, error=error))

    def counter(self, name: str) -> Callable[[], None]:
        """A function that counts one more of something in `stats`."""

        def count() -> None:
            self.stats[name] += 1

        return count

    def open(
        self,
        seq: int,
        records: Coroutine[object, object, None],
        release: Callable[[], None] | None = None,
    ) -> None:
        """Run what sends the records of a request; it starts after the request is answered.

        Args:
            seq: the number of the request.
            records: sends them; may be stopped before it has begun.
            release: gives back what it takes them from, however this ends.

        Raises:
            RpcError: the number has a stream already, or there are too many.
        """

        def ended(_task: object = None) -> None:
            records.close()
            if release is not None:
                release()

        problem = STREAM_EXISTS if seq in self.streams else ""
        if not problem and len(self.streams) >= MAX_STREAMS:
            problem = f"more than {MAX_STREAMS} streams on one connection"
        if problem:
            ended()
            raise RpcError(problem)
        # A task begins at the next turn of the loop, and the answer is written in this one.
        self.streams[seq] = task = self._tasks.spawn(self._run(seq, records))
        task.add_done_callback(ended)

    def stop(self, seq: int) -> None:
        """End the stream of a request, if it has one."""
        if (task := self.streams.get(seq)) is not None:
            self._forget(seq)
            task.cancel()

    def _forget(self, seq: int) -> None:
        self.streams.pop(seq, None)
        if self.monitor == seq:
            self.monitor = None

    async def _run(self, seq: int, records: Coroutine[object, object, None]) -> None:
        with contextlib.suppress(OSError):  # the client has gone, which ends the session too
            await records
        self._forget(seq)

    async def _handshake(self, request: Request) -> bool:
        if int64(request.body, b"Version") != VERSION:
            error = VERSION_UNSUPPORTED
        elif self._stage is not _Stage.CONNECTED:
            error = HANDSHAKE_DUPLICATE
        else:
            error = ""
            needs_key = bool(self.agent.config.rpc_auth)
            self._stage = _Stage.GREETED if needs_key else _Stage.ADMITTED
        await self.send(request.seq, error=error)
        return True

    async def _authenticate(self, request: Request) -> bool:
        given, key = text(request.body, b"AuthKey"), self.agent.config.rpc_auth
        right = hmac.compare_digest(
            given.encode("utf-8", "surrogateescape"), key.encode("utf-8", "surrogateescape")
        )
        if right:
            self._stage = _Stage.ADMITTED
        else:
            self.stats["rpc_auth_failed"] += 1
            log.warning("a client does not know the key from=%s", self._peer)
        await self.send(request.seq, error="" if right else AUTH_INVALID)
        return True

    async def _command(self, request: Request) -> bool:
        handler = COMMANDS.get(request.command)
        if handler is None:
            await self.send(request.seq, error=COMMAND_UNSUPPORTED)
            return False
        error, body = "", None
        try:
            body = await handler(self, request)
        except RpcError as failure:
            error, body = str(failure), failure.body
        except GossipError as failure:
            error = str(failure)
        except FieldError:
            raise
        except Exception:
            log.exception("command failed command=%s", request.command)
            error = "Internal error"
        if request.command in ANSWERS_WITH_BODY:
            await self.send(request.seq, body or {}, error=error)
        else:
            await self.send(request.seq, error=error)
        return True
