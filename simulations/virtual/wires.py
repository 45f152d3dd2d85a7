"""What is between the virtual machines of one loop: who is bound where, datagrams and connections.

sendto --fate of simulations.network--> datagram_received, as soon as the machine runs
"""

from __future__ import annotations

import asyncio
import socket
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from gossip.wire.address import join_host_port
from simulations.virtual.streams import Stream, VirtualServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from gossip.wire.address import Address
    from simulations.virtual.loop import VirtualLoop
    from simulations.virtual.machine import VirtualMachine, VirtualSocket

__all__ = ["Wires"]

MAX_BACKLOG = 256
"""Packets that the kernel keeps for a machine that stands still; further ones are lost."""


class Wires:
    """Everything between the machines of one loop."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.bound: dict[tuple[socket.SocketKind, Address], VirtualSocket] = {}
        self._datagrams: dict[Address, _Datagrams] = {}
        self._servers: dict[Address, VirtualServer] = {}
        self._next_port = 49152

    def is_free(self, address: Address, kind: socket.SocketKind | None = None) -> bool:
        """Whether nobody has bound an address, for one kind or for both."""
        kinds = (socket.SOCK_DGRAM, socket.SOCK_STREAM) if kind is None else (kind,)
        return not any((kind, address) in self.bound for kind in kinds)

    # Datagrams

    def open_datagrams(
        self, sock: VirtualSocket, protocol: asyncio.DatagramProtocol
    ) -> asyncio.DatagramTransport:
        """Have a protocol receive what comes to a bound socket."""
        transport = self._datagrams[sock.address] = _Datagrams(self._loop, sock, protocol)
        protocol.connection_made(transport)
        return transport

    def close_datagrams(self, transport: _Datagrams) -> None:
        """A socket is closed; what is on its way to it is lost."""
        if self._datagrams.get(transport.sock.address) is transport:
            del self._datagrams[transport.sock.address]

    def send(self, sock: VirtualSocket, data: bytes, address: Address) -> None:
        """Send a datagram: it arrives when and as often as the network says."""
        loop, target, source = self._loop, self._datagrams.get(address), sock.machine
        if source.down:
            return
        there = target.sock.machine if target is not None else None
        name = there.name if there is not None else join_host_port(*address)
        loop.trace.add(loop.time(), "packet", source.name, name, data)
        if there is None:
            return
        for delay in loop.network.arrivals(source.as_host, there.as_host):
            loop.call_unbound(delay, self._arrive, address, data, sock.address)

    def _arrive(self, address: Address, data: bytes, source: Address) -> None:
        target = self._datagrams.get(address)
        if target is not None:
            target.arrived(data, source)

    # Connections

    def listen(self, sock: VirtualSocket, factory: Callable[[], asyncio.Protocol]) -> VirtualServer:
        """Accept connections to a bound socket."""
        server = self._servers[sock.address] = VirtualServer(self._loop, sock, factory)
        return server

    def stop_listening(self, server: VirtualServer) -> None:
        """Refuse connections to a socket from now on."""
        if self.is_listening(server):
            del self._servers[server.sock.address]

    def is_listening(self, server: VirtualServer) -> bool:
        """Whether connections are accepted there."""
        return self._servers.get(server.sock.address) is server

    async def open_connection(
        self, machine: VirtualMachine, address: Address
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """As ``asyncio.open_connection``, from a machine."""
        reader = asyncio.StreamReader(loop=self._loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=self._loop)
        transport = await self.connect(machine, address, protocol)
        return reader, asyncio.StreamWriter(transport, protocol, reader, self._loop)

    async def connect(
        self, machine: VirtualMachine, address: Address, protocol: asyncio.Protocol
    ) -> asyncio.Transport:
        """Open a connection; returns when the other machine has accepted it.

        Raises:
            ConnectionRefusedError: nobody listens there.
        """
        self._next_port = self._next_port + 1 if self._next_port < 65535 else 49152
        near = Stream(self._loop, machine, (machine.source_ip(), self._next_port), address)
        owner = self._owner(address, machine)
        accepted: asyncio.Future[None] = self._loop.create_future()
        if owner is None:  # a router answers that nobody lives there
            await asyncio.sleep(self._loop.network.weather.latency)
            raise ConnectionRefusedError(f"nobody lives at {address[0]}:{address[1]}")
        far = Stream(self._loop, owner, address, near.address)
        near.peer, far.peer = far, near

        def answered(*, refused: bool) -> None:
            if accepted.done():
                return
            if refused:
                accepted.set_exception(ConnectionRefusedError(f"{address[0]}:{address[1]} refused"))
            else:
                near.begin(protocol)
                accepted.set_result(None)

        def reached() -> None:  # connections are made by the kernel, whatever the process does
            server = self._servers.get(address)
            far.carry(lambda: answered(refused=server is None))
            if server is not None:
                self._loop.call_soon(server.accept, far, context=server.context)

        near.carry(reached)
        try:
            await accepted
        except asyncio.CancelledError:
            near.abort()
            raise
        return near

    def _owner(self, address: Address, dialer: VirtualMachine) -> VirtualMachine | None:
        """Whose address it is, whether or not somebody listens there."""
        server = self._servers.get(address)
        if server is not None:
            return server.sock.machine
        for machine in self._loop.machines.values():
            if machine.ip == address[0]:
                return machine
        return dialer if address[0].startswith("127.") else None


class _Datagrams(asyncio.DatagramTransport):
    """The transport of one bound datagram socket."""

    def __init__(
        self, loop: VirtualLoop, sock: VirtualSocket, protocol: asyncio.DatagramProtocol
    ) -> None:
        super().__init__({"sockname": sock.getsockname(), "socket": sock})
        self._loop = loop
        self._context = copy_context()
        self._protocol = protocol
        self._closing = False
        self._waiting = 0
        self.sock = sock

    def sendto(self, data: Any, addr: Any = None) -> None:
        """Send one datagram."""
        if not self._closing:
            self._loop.wires.send(self.sock, bytes(data), (addr[0], addr[1]))

    def arrived(self, data: bytes, source: Address) -> None:
        """One has arrived: the protocol gets it as soon as the machine runs."""
        if self._waiting >= MAX_BACKLOG and self.sock.machine.paused:
            self._loop.covered["packets_overflowed"] += 1
            return
        self._waiting += 1
        self._loop.call_soon(self._read, data, source, context=self._context)

    def _read(self, data: bytes, source: Address) -> None:
        self._waiting -= 1
        if not self._closing:
            self._protocol.datagram_received(data, source)

    def close(self) -> None:
        """Close the socket."""
        if not self._closing:
            self._closing = True
            self._loop.wires.close_datagrams(self)
            self.sock.close()
            self._loop.call_soon(self._protocol.connection_lost, None)

    abort = close

    def is_closing(self) -> bool:
        """Whether it was closed."""
        return self._closing
