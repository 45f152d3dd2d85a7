"""What passes over loopback: gossip packets and bytes, IP headers included."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Traffic", "TrafficCounter"]

_SO_RCVBUFFORCE, _SOL_PACKET, _PACKET_STATISTICS = 33, 263, 6
_BUFFER = 64 << 20
_EVERY = 0.1
_HEADERS = 64
_UDP, _TCP = 17, 6
_ETHERNET = 14


@dataclass(frozen=True, slots=True)
class Traffic:
    """Counts since the start; the difference of two is a window's."""

    udp_packets: int
    udp_bytes: int
    tcp_bytes: int
    lost: int
    """Packets that the counter itself missed; anything but 0 makes the others lower bounds."""

    def __sub__(self, earlier: Traffic) -> Traffic:
        return Traffic(
            self.udp_packets - earlier.udp_packets,
            self.udp_bytes - earlier.udp_bytes,
            self.tcp_bytes - earlier.tcp_bytes,
            self.lost - earlier.lost,
        )


class TrafficCounter:
    """Counts UDP packets of the namespace by receiving port, and TCP of the ports given to `add_port`.

    A packet socket gets the headers of each packet once, as it arrives; they wait in a large buffer
    and are read ten times a second, so that counting wakes nobody per packet.
    """

    def __init__(self) -> None:
        self._tcp_bytes = self._lost = 0
        self._udp_packets: Counter[int] = Counter()
        self._udp_bytes: Counter[int] = Counter()
        self._ports: set[int] = set()
        self._socket: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._header = bytearray(_HEADERS)

    def __enter__(self) -> Self:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self._socket.settimeout(0)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        except PermissionError:  # in a user namespace the system's bound holds
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        self._socket.bind(("lo", 0x0800))
        self._tick()
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._socket is not None:
            self._socket.close()

    def add_port(self, port: int) -> None:
        """Count TCP from and to this port as gossip."""
        self._ports.add(port)

    def read(self, ports: Iterable[int] | None = None) -> Traffic:
        """What was counted until now: everything, or of UDP only what these ports got."""
        self._drain()
        ports = self._udp_packets if ports is None else list(ports)
        return Traffic(
            sum(self._udp_packets[port] for port in ports),
            sum(self._udp_bytes[port] for port in ports),
            self._tcp_bytes,
            self._lost,
        )

    def _tick(self) -> None:
        self._drain()
        self._timer = asyncio.get_running_loop().call_later(_EVERY, self._tick)

    def _drain(self) -> None:
        if self._socket is None:
            return
        header, ports = self._header, self._ports
        receive = self._socket.recv_into
        with contextlib.suppress(BlockingIOError):
            while True:
                receive(header)
                length = header[_ETHERNET + 2] << 8 | header[_ETHERNET + 3]
                protocol = header[_ETHERNET + 9]
                start = _ETHERNET + 4 * (header[_ETHERNET] & 15)
                source, target = struct.unpack_from(">HH", header, start)
                if protocol == _UDP:
                    self._udp_packets[target] += 1
                    self._udp_bytes[target] += length
                elif protocol == _TCP and (source in ports or target in ports):
                    self._tcp_bytes += length
        # Reading the statistics resets them.
        statistics = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        self._lost += struct.unpack("II", statistics)[1]
