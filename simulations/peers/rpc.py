"""Client of a Serf agent's own RPC: msgpack records over TCP, requests numbered and pipelined.

Every request is a header and perhaps a body; every answer a header and perhaps a body, told apart
by the number of the request they belong to. ``stream`` and ``monitor`` requests keep answering.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Self

import msgpack

from gossip.wire.rpc import ANSWERS_WITH_BODY, AUTH_REQUIRED, STREAMS, VERSION, encode_request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

__all__ = ["Record", "RpcError", "SerfRpc"]

Record = dict[str, Any]
"""One decoded body: field names as Go writes them, byte strings as bytes."""

_SAFE_BUFFER = 64 << 20


class RpcError(OSError):
    """The agent refused a request (its own words), or the connection ended before the answer."""


class SerfRpc:
    """One connection; ``async with SerfRpc(address)`` connects, says hello and closes."""

    def __init__(
        self, address: tuple[str, int], *, auth_key: str = "", within: float = 10.0
    ) -> None:
        """Describe the connection.

        Args:
            address: host and port of the agent's ``-rpc-addr``.
            auth_key: of an agent that was configured with one.
            within: seconds that each request may take.
        """
        self._address = address
        self._auth_key = auth_key
        self._within = within
        self._sequence = 0
        self._commands: dict[int, str] = {}
        self._answers: dict[int, asyncio.Future[Record]] = {}
        self._sinks: dict[int, Callable[[Record], None]] = {}
        self._reader: asyncio.Task[None] | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def connect(self) -> None:
        """Connect, shake hands and authenticate; OSError when the agent is not there yet."""
        async with asyncio.timeout(self._within):
            reader, self._writer = await asyncio.open_connection(*self._address)
        self._reader = asyncio.create_task(self._read(reader))
        try:
            await self.request("handshake", {"Version": VERSION})
            if self._auth_key:
                await self.request("auth", {"AuthKey": self._auth_key})
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Drop the connection and every stream on it; safe to call again."""
        if self._reader is not None:
            self._reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reader
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()

    async def request(self, command: str, body: Mapping[str, Any] | None = None) -> Record:
        """Send one request and wait for its answer ({} for those without a body).

        Raises:
            RpcError: with Serf's words, or when the agent hung up; TimeoutError when it is silent.
        """
        _, answer = self._send(command, body)
        try:
            async with asyncio.timeout(self._within):
                return await answer
        except TimeoutError:
            raise TimeoutError(f"serf did not answer {command!r} in {self._within:g} s") from None

    async def subscribe(
        self, command: str, body: Mapping[str, Any], sink: Callable[[Record], None]
    ) -> int:
        """Open a ``stream``, ``monitor`` or ``query``: `sink` gets each record; returns its number."""
        number, answer = self._send(command, body, sink)
        async with asyncio.timeout(self._within):
            await answer
        return number

    def _send(
        self,
        command: str,
        body: Mapping[str, Any] | None,
        sink: Callable[[Record], None] | None = None,
    ) -> tuple[int, asyncio.Future[Record]]:
        if self._writer is None or self._reader is None or self._reader.done():
            raise RpcError(f"no connection to the serf agent at port {self._address[1]}")
        number = self._sequence
        self._sequence += 1
        answer: asyncio.Future[Record] = asyncio.get_running_loop().create_future()
        self._commands[number] = command
        self._answers[number] = answer
        if sink is not None:
            self._sinks[number] = sink
        self._writer.write(encode_request(command, number, body))
        return number, answer

    async def _read(self, reader: asyncio.StreamReader) -> None:
        unpacker = msgpack.Unpacker(max_buffer_size=_SAFE_BUFFER, unicode_errors="surrogateescape")
        header: Record | None = None
        try:
            while data := await reader.read(1 << 16):
                unpacker.feed(data)
                for record in unpacker:
                    if header is None:
                        header = record
                        if not self._has_body(header):
                            self._deliver(header, {})
                            header = None
                    else:
                        self._deliver(header, record)
                        header = None
        except (OSError, msgpack.UnpackException, ValueError) as error:
            self._fail(RpcError(f"serf's RPC: {error!r}"))
        finally:
            self._fail(RpcError("the serf agent closed the RPC connection"))

    def _has_body(self, header: Record) -> bool:
        number = header["Seq"]
        command = self._commands.get(number, "")
        if number in self._answers:
            return command in ANSWERS_WITH_BODY and header["Error"] != AUTH_REQUIRED
        return command in STREAMS

    def _deliver(self, header: Record, body: Record) -> None:
        number = header["Seq"]
        answer = self._answers.pop(number, None)
        if answer is None:
            if number in self._sinks:
                self._sinks[number](body)
        elif not answer.done():
            if header["Error"]:
                answer.set_exception(RpcError(header["Error"]))
            else:
                answer.set_result(body)

    def _fail(self, error: RpcError) -> None:
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(error)
                answer.exception()  # whoever waits sees it; nobody waiting is no bug
        self._answers.clear()

    async def members(self) -> list[Record]:
        """Every member the agent lists."""
        members: list[Record] = (await self.request("members"))["Members"]
        return members

    async def join(self, addresses: Sequence[str], *, replay: bool = False) -> int:
        """Join by ``host:port`` addresses; returns how many worked."""
        answer = await self.request("join", {"Existing": list(addresses), "Replay": replay})
        return int(answer["Num"])

    async def fire(self, name: str, payload: bytes = b"", *, coalesce: bool = False) -> None:
        """Broadcast a user event."""
        await self.request("event", {"Name": name, "Payload": payload, "Coalesce": coalesce})

    async def force_leave(self, name: str, *, prune: bool = False) -> None:
        """Declare a failed member left."""
        await self.request("force-leave", {"Node": name, "Prune": prune})

    async def leave(self) -> None:
        """Leave gracefully; the agent then ends."""
        await self.request("leave")

    async def tags(self, tags: Mapping[str, str], *, delete: Sequence[str] = ()) -> None:
        """Set and delete tags of the agent."""
        await self.request("tags", {"Tags": dict(tags), "DeleteTags": list(delete)})

    async def stats(self) -> dict[str, dict[str, str]]:
        """Serf's counters by section."""
        return await self.request("stats")

    async def keys(self, command: str, key: str | None = None) -> Record:
        """``install-key``, ``use-key``, ``remove-key`` (base64 key) or ``list-keys``."""
        return await self.request(command, None if key is None else {"Key": key})
