"""Streams: the TCP side of a cluster. One connection carries one exchange, and is a short task.

The exchange decides everything (see `gossip.swim.exchange`); here bytes are moved and deadlines kept.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING

from gossip.sockets import stop_listening
from gossip.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import Callable

    from gossip.machine import Machine
    from gossip.swim.exchange import Exchange
    from gossip.wire.address import Address
    from gossip.zones import Zones

__all__ = ["Streams"]

logger = logging.getLogger(__name__)

READ_SIZE = 65536


class Streams:
    """Accepts connections, opens them, and runs the exchange of each.

    Args:
        clock: the driver's time.
        accept: a machine for a connection from this address, or None to close it.
        wake: called whenever an exchange was fed.
        zones: of link-local addresses.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        accept: Callable[[Address], Exchange | None],
        wake: Callable[[], None],
        zones: Zones,
    ) -> None:
        self._clock = clock
        self._accept = accept
        self._wake = wake
        self._zones = zones
        self._machine: Machine | None = None
        self._server: asyncio.Server | None = None
        self._tasks = Tasks(logger)

    async def listen(self, machine: Machine, bind: str, port: int) -> int:
        """Accept connections to an address of a machine from now on; returns the port.

        Raises:
            OSError: the address cannot be bound.
        """
        sock = machine.bind(socket.SOCK_STREAM, bind, port)
        self._machine = machine
        try:
            self._server = await asyncio.start_server(self._on_connection, sock=sock)
        except BaseException:
            sock.close()
            raise
        return int(sock.getsockname()[1])

    async def stop_listening(self) -> None:
        """Give the port back."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
            await server.wait_closed()

    def dial(self, exchange: Exchange) -> None:
        """Open the connection of an exchange and run it."""

        def ended(_task: asyncio.Task[None]) -> None:  # also one that never began, as we closed
            if not exchange.done:
                exchange.fail("the node is closing", self._clock())

        self._tasks.spawn(self._dial(exchange)).add_done_callback(ended)

    async def close(self) -> None:
        """End everything; every task has ended when this returns."""
        if self._server is not None:
            await stop_listening(self._server)
        await self._tasks.cancel()

    async def _dial(self, exchange: Exchange) -> None:
        ip, port = exchange.address
        assert self._machine is not None  # noqa: S101 - it listens
        try:
            async with asyncio.timeout(max(exchange.deadline - self._clock(), 0)):
                reader, writer = await self._machine.connect(self._zones.with_zone(ip), port)
        except ConnectionRefusedError:
            exchange.refuse(self._clock())
            self._wake()
            return
        except OSError as error:  # TimeoutError is one of them
            exchange.fail(str(error) or "timed out", self._clock())
            self._wake()
            return
        self._zones.member_address(writer.get_extra_info("peername"))  # learns where packets go
        exchange.connected(self._clock())
        await self._converse(exchange, reader, writer)

    def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        exchange = self._accept(self._zones.member_address(writer.get_extra_info("peername")))
        if exchange is None:
            writer.transport.abort()
            return
        self._tasks.spawn(self._converse(exchange, reader, writer))

    async def _converse(
        self, exchange: Exchange, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            while True:
                if data := exchange.data_to_send():
                    writer.write(data)
                    async with asyncio.timeout(max(exchange.deadline - self._clock(), 0)):
                        await writer.drain()
                if exchange.done:
                    break
                if exchange.busy:
                    exchange.work(self._clock())
                    await asyncio.sleep(0)
                    continue
                async with asyncio.timeout(max(exchange.deadline - self._clock(), 0)):
                    data = await reader.read(READ_SIZE)
                if data:
                    exchange.receive_data(data, self._clock())
                else:
                    exchange.receive_eof(self._clock())
                self._wake()
        except TimeoutError:
            exchange.handle_timeout(self._clock())
        except OSError as error:
            exchange.fail(str(error), self._clock())
        finally:
            if not exchange.done:
                exchange.fail("the node is closing", self._clock())
            self._wake()
            if exchange.error is None:
                writer.close()
            else:
                writer.transport.abort()
