"""The relay: delays, reorders and duplicates the packets between machines, as a process of its own.

It reads whole IP packets from an interface, lets `simulations.network.Network` decide when each arrives,
the same code and so the same distributions as in virtual time, and writes them back then, unchanged:
addresses, ports and checksums are the sender's. Segments of one connection keep their order.

    python -m simulations.cluster.relay DEVICE

Each line on standard input is a JSON object of `Weather` fields that holds from then on; each is answered
by a line of JSON with the counts so far. It ends with its standard input.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import select
import struct
import sys
import time
from collections import Counter
from dataclasses import asdict
from heapq import heappop, heappush
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from simulations.cluster.machines import TUN
from simulations.network import Network, Weather

if TYPE_CHECKING:
    from simulations.host import Host

__all__ = ["MAX_HELD", "Relay"]

MAX_HELD = 20_000
"""Packets on their way at once; further ones are lost and counted."""
MAX_FLOWS = 10_000
"""Connections whose order is remembered."""
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x1, 0x1000
_TCP = 6
_ANYBODY = cast("Host", SimpleNamespace(loss_in=0.0, loss_out=0.0, delay=0.0))
"""All that the network asks about a host; what single machines suffer is up to nftables."""


class Relay:
    """Holds packets until they arrive.

    Args:
        rng: the dice.
    """

    def __init__(self, rng: random.Random) -> None:
        self.counts: Counter[str] = Counter()
        self._weather = Weather(latency=0.0)
        self._network = Network(rng, self._weather, self.counts)
        self._held: list[tuple[float, int, bytes]] = []
        self._last: dict[bytes, float] = {}
        self._sequence = 0

    def set_weather(self, **fields: float) -> None:
        """From now on the network is so; fields that are not given go back to none."""
        for name, value in (asdict(Weather(latency=0.0)) | fields).items():
            setattr(self._weather, name, value)

    def take(self, packet: bytes, now: float) -> None:
        """A packet was sent."""
        if len(packet) < 20 or packet[0] >> 4 != 4:
            return
        if len(self._held) >= MAX_HELD:
            self.counts["packets_overflowed"] += 1
            return
        if packet[9] == _TCP:
            at = now + self._network.segment_delay(_ANYBODY, _ANYBODY)
            header = (packet[0] & 15) * 4
            flow = packet[12:20] + packet[header : header + 4]
            at = max(at, self._last.pop(flow, 0.0))
            self._last[flow] = at
            if len(self._last) > MAX_FLOWS:
                del self._last[next(iter(self._last))]
            self._hold(packet, at)
        else:
            for delay in self._network.arrivals(_ANYBODY, _ANYBODY):
                self._hold(packet, now + delay)

    def _hold(self, packet: bytes, at: float) -> None:
        self._sequence += 1
        self.counts["packets_relayed"] += 1
        heappush(self._held, (at, self._sequence, packet))

    def due(self) -> float | None:
        """When the next packet arrives."""
        return self._held[0][0] if self._held else None

    def arrived(self, now: float) -> list[bytes]:
        """The packets that arrive until now."""
        packets = []
        while self._held and self._held[0][0] <= now:
            packets.append(heappop(self._held)[2])
        return packets


def attach(device: str) -> int:
    """Open a tun interface for whole IP packets; raises OSError."""
    tun = os.open(TUN, os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH22x", device.encode(), _IFF_TUN | _IFF_NO_PI))
    return tun


def main(device: str) -> None:
    """Relay packets until standard input ends."""
    tun = attach(device)
    relay = Relay(random.Random())
    commands = b""
    while True:
        due = relay.due()
        wait = None if due is None else max(0.0, due - time.monotonic())
        readable, _, _ = select.select([tun, 0], [], [], wait)
        if tun in readable:
            for packet in _read_all(tun):
                relay.take(packet, time.monotonic())
        for packet in relay.arrived(time.monotonic()):
            _write(tun, packet, relay.counts)
        if 0 in readable:
            read = os.read(0, 1 << 16)
            if not read:
                return
            *lines, commands = (commands + read).split(b"\n")
            for line in lines:
                relay.set_weather(**json.loads(line))
                os.write(1, json.dumps(relay.counts).encode() + b"\n")


def _read_all(tun: int) -> list[bytes]:
    packets: list[bytes] = []
    try:
        while len(packets) < 64:  # then those that are due
            packets.append(os.read(tun, 1 << 16))
    except BlockingIOError:
        pass
    return packets


def _write(tun: int, packet: bytes, counts: Counter[str]) -> None:
    try:
        os.write(tun, packet)
    except OSError:  # the machine it goes to is gone
        counts["packets_unwritten"] += 1


if __name__ == "__main__":
    main(sys.argv[1])
