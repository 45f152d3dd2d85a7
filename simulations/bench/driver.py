"""``python -m simulations.bench.driver``: what the asyncio driver and the node in it cost per packet.

One real node on loopback gets packets from a bare socket, as many as it answers: pings (receive,
decode, answer, send), and full packets of user events that are new to it or known already. CPU time
is the node's own, from the kernel; a thread of this process plays the network on the other core.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import socket
import statistics
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gossip.wire.messages import Ping, UserMessage
from gossip.wire.packet import PacketCodec
from gossip.wire.serf import UserEvent
from simulations.bench.processes import cpu_seconds, memory
from simulations.local.ports import Ports
from simulations.local.process import Process
from simulations.local.wait import eventually

if TYPE_CHECKING:
    from collections.abc import Sequence

NAME = "driven"
IN_FLIGHT = 32
EVENTS_PER_PACKET = 18
"""About 1400 bytes of 72 each."""
EXAMPLES = """examples:
  python -m simulations.bench.driver                      asyncio, and uvloop where installed
  python -m simulations.bench.driver -packets 2000 -format json
"""


class Network:
    """The socket that the node's packets come from and its answers go to."""

    def __init__(self, pid: int, port: int) -> None:
        self._pid = pid
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.settimeout(5.0)
        self._socket.connect(("127.0.0.1", port))
        self._number = 0

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _ping(self) -> bytes:
        self._number += 1
        return Ping(self._number, NAME).encode()

    def pings(self, count: int, in_flight: int) -> dict[str, float]:
        """Ping that often, so many at a time; per ping CPU in µs, and per second how many."""
        trips = []
        cpu, started = cpu_seconds(self._pid), time.monotonic()
        for _ in range(count // in_flight):
            sent = time.monotonic()
            for _ in range(in_flight):
                self._socket.send(self._ping())
            for _ in range(in_flight):
                self._socket.recv(2048)
            trips.append(time.monotonic() - sent)
        seconds, cpu = time.monotonic() - started, cpu_seconds(self._pid) - cpu
        done = len(trips) * in_flight
        return {
            "cpu_us": 1e6 * cpu / done,
            "per_second": done / seconds,
            "median_us": 1e6 * statistics.median(trips),
        }

    def events(self, packets: Sequence[bytes]) -> dict[str, float]:
        """Send packets of events, a ping behind each four as proof that they were taken."""
        cpu, started = cpu_seconds(self._pid), time.monotonic()
        for number, packet in enumerate(packets, 1):
            self._socket.send(packet)
            if number % 4 == 0:
                self._socket.send(self._ping())
                self._socket.recv(2048)
        seconds, cpu = time.monotonic() - started, cpu_seconds(self._pid) - cpu
        count = len(packets) * EVENTS_PER_PACKET
        return {"cpu_us": 1e6 * cpu / count, "per_second": count / seconds}


def event_packets(count: int) -> list[bytes]:
    """Packets as a busy pool sends them, each event with a Lamport time of its own."""
    codec = PacketCodec(new_nonce=bytes)
    packets = []
    for number in range(count):
        first = 1 + number * EVENTS_PER_PACKET
        parts = [
            UserMessage(UserEvent(ltime, f"ev{ltime:07}", b"x" * 30, coalesce=False).encode())
            for ltime in range(first, first + EVENTS_PER_PACKET)
        ]
        packets += codec.encode([part.encode() for part in parts])
    return packets


async def measure(loop: str, packets: int) -> dict[str, dict[str, float]]:
    """Drive one fresh node on this kind of event loop."""
    with Ports() as ports, tempfile.TemporaryDirectory(prefix="gossip-driver-") as folder:
        port, log = ports.take(), Path(folder) / "log"
        command = [sys.executable, "-m", "simulations.bench.node", NAME, str(port), "-quiet"]
        node = Process(NAME, [*command, "-loop", loop], log=log, commanded=True)
        async with node:
            await eventually(
                lambda: b"=ok" in log.read_bytes(), within=20, what=lambda: f"it runs{node.tail()}"
            )
            network = Network(node.pid, port)
            try:
                await asyncio.to_thread(network.pings, 500, 1)  # warm
                fresh = event_packets(packets)
                results = {
                    "ping and ack, 1 in flight": await asyncio.to_thread(network.pings, packets, 1),
                    f"ping and ack, {IN_FLIGHT} in flight": await asyncio.to_thread(
                        network.pings, packets * 4, IN_FLIGHT
                    ),
                    "user event, new": await asyncio.to_thread(network.events, fresh),
                    "user event, known": await asyncio.to_thread(
                        network.events, fresh[-28:] * (packets // 28 or 1)
                    ),
                }
            finally:
                network.close()
            held = memory(node.pid)
            node.send("stats")
            text = await eventually(
                lambda: [line for line in log.read_text().splitlines() if line.startswith("{")],
                within=10,
                what="its statistics",
            )
    expected = packets * EVENTS_PER_PACKET + 1
    if int(json.loads(text[-1])["event_time"]) != expected:
        raise RuntimeError(f"the node did not take all {expected - 1} events: {text[-1]}")
    results["memory"] = {"rss_mib": held.rss / 2**20, "pss_mib": held.pss / 2**20}
    return results


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m simulations.bench.driver",
        description="Measure what a real node costs per packet, on each event loop.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-packets", "--packets", type=int, default=5000, help="of each kind (5000)")
    parser.add_argument("-format", "--format", choices=("text", "json"), default="text")
    options = parser.parse_args(arguments)
    loops = ["asyncio"] + (["uvloop"] if find_spec("uvloop") else [])
    results: dict[str, Any] = {}
    try:
        for loop in loops:
            print(f"measuring on {loop}", file=sys.stderr)
            results[loop] = asyncio.run(measure(loop, options.packets))
    except KeyboardInterrupt:
        return 130
    except (OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    about = {"python": platform.python_version(), "cores": os.cpu_count()}
    if options.format == "json":
        print(json.dumps({**about, "loops": results}, indent=2))
        return 0
    for loop, rows in results.items():
        print(f"{loop}:")
        for row, values in rows.items():
            cells = "".join(f"{key} {value:10.1f}   " for key, value in values.items())
            print(f"  {row:28} {cells.rstrip()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
