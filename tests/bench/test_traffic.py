"""Packets are counted exactly, in a network that only the experiment uses."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.helpers_peers import missing

COUNT = """
import asyncio, json, socket
from simulations.bench.network import isolate
from simulations.bench.traffic import TrafficCounter

isolated = isolate()

async def main():
    with TrafficCounter() as counter:
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        receiver.bind(("127.0.0.1", 0))
        for _ in range(500):
            sender.sendto(bytes(100), receiver.getsockname())
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind(("127.0.0.1", 0))
            for _ in range(3):
                sender.sendto(bytes(20), other.getsockname())
            got = counter.read([other.getsockname()[1]])
        with socket.create_server(("127.0.0.1", 0)) as gossip, socket.create_server(("127.0.0.1", 0)) as rpc:
            counter.add_port(gossip.getsockname()[1])
            for server in (gossip, rpc):
                with socket.create_connection(server.getsockname()) as client:
                    client.sendall(bytes(1000))
                    accepted, _ = server.accept()
                    with accepted:
                        accepted.recv(1000, socket.MSG_WAITALL)
        seen = counter.read()
        print(json.dumps([isolated, seen.udp_packets, seen.udp_bytes, seen.tcp_bytes, seen.lost,
                          got.udp_packets, got.udp_bytes]))

if isolated:
    asyncio.run(main())
else:
    print(json.dumps([False]))
"""


def test_udp_and_gossip_tcp_are_counted_once_udp_also_by_receiver_and_rpc_is_not() -> None:
    run = subprocess.run(
        [sys.executable, "-c", COUNT], capture_output=True, text=True, timeout=30, check=True
    )
    isolated, *counts = json.loads(run.stdout)
    if not isolated:
        missing("this system allows no network namespace, not even in a user namespace")

    packets, octets, tcp, lost, *received = counts
    assert (packets, octets, lost) == (503, 500 * 128 + 3 * 48, 0)
    assert received == [3, 3 * 48]
    # One connection's 1000 bytes with its headers; twice that would be both.
    assert 1000 + 5 * 52 <= tcp < 1900
