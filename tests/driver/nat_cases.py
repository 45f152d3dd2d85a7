"""What holds where a NAT renumbers every source port (R-08); run by test_own_networks.py.

A packet's port then tells how it was addressed. An answer to the port that a packet came from is handed
back through the NAT, and seems to come from where that packet was sent to. Anything else is a flow of
its own, and comes from a port of the NAT.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import pytest

from gossip import Cluster, UserEvent
from gossip.wire.address import parse_ip
from gossip.wire.messages import Ack, Alive, Ping, decode_message
from gossip.wire.packet import PacketCodec
from simulations.local.nat import FIRST_PORT, LAST_PORT
from tests.helpers_driver import alive, pool, until, until_alive

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.driver.conftest import StartNode

VSN = bytes((1, 5, 2, 2, 5, 4))
FAST: dict[str, Any] = {
    "probe_interval": 0.2,
    "probe_timeout": 0.2,
    "gossip_interval": 0.02,
    "suspicion_mult": 1,
    "leave_propagate_delay": 0.05,
}


@pytest.fixture(params=["127.0.0.1", "::1"])
def host(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Peer:
    """A bare UDP socket that speaks as much as a test says."""

    def __init__(self, host: str) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.settimeout(10)
        self.socket.bind((host, 0))
        self.host, self.port = host, int(self.socket.getsockname()[1])
        self._codec = PacketCodec(new_nonce=lambda: bytes(12))

    def send(self, message: Ping | Alive, cluster: Cluster) -> None:
        self.socket.sendto(self._codec.encode([message.encode()])[0], cluster.local_address)

    async def receive(self, kind: type[Ping | Ack]) -> tuple[Any, int]:
        """The next message of a kind, and the port that it came from."""
        while True:
            data, source = await asyncio.to_thread(self.socket.recvfrom, 65536)
            for part in self._codec.decode(data):
                if isinstance(message := decode_message(part), kind):
                    return message, source[1]


@pytest.fixture
async def peer(host: str) -> AsyncIterator[Peer]:
    made = Peer(host)
    yield made
    made.socket.close()


def is_of_the_nat(port: int) -> bool:
    return FIRST_PORT <= port <= LAST_PORT


async def test_the_nat_renumbers_what_is_sent(peer: Peer, host: str) -> None:
    other = Peer(host)
    try:
        other.socket.sendto(b"x", (host, peer.port))
        _, source = peer.socket.recvfrom(100)
    finally:
        other.socket.close()

    assert source[1] != other.port
    assert is_of_the_nat(source[1])


async def test_r08_a_ping_that_names_no_source_is_acked_to_the_port_it_came_from(
    start_node: StartNode, peer: Peer, host: str
) -> None:
    cluster = await start_node("one", bind=host)

    peer.send(Ping(7, "one"), cluster)
    ack, port = await peer.receive(Ack)

    assert (ack.seq_no, port) == (7, cluster.local_address[1])


async def test_r08_a_ping_that_names_its_source_is_acked_there(
    start_node: StartNode, peer: Peer, host: str
) -> None:
    cluster = await start_node("one", bind=host)

    peer.send(Ping(8, "one", parse_ip(host), peer.port, "two"), cluster)
    ack, port = await peer.receive(Ack)

    assert ack.seq_no == 8
    assert is_of_the_nat(port)


async def test_r08_a_member_is_probed_at_the_address_that_it_advertises(
    start_node: StartNode, peer: Peer, host: str
) -> None:
    cluster = await start_node("one", bind=host, **FAST)

    peer.send(Alive(1, "two", parse_ip(host), peer.port, b"", VSN), cluster)
    ping, port = await peer.receive(Ping)

    assert (ping.node, ping.source_port) == ("two", cluster.local_address[1])
    assert is_of_the_nat(port)


async def test_r08_the_pool_converges_stays_and_sees_a_failure(
    start_node: StartNode, host: str
) -> None:
    clusters = await pool(start_node, 4, bind=host, **FAST)
    subscriptions = [cluster.subscribe() for cluster in clusters]

    async with asyncio.timeout(20):
        ltime = await clusters[3].fire("deploy", b"v2", coalesce=False)
        for subscription in subscriptions:
            assert await anext(subscription) == UserEvent(ltime, "deploy", b"v2", coalesce=False)
        # A coordinate comes with the ack of a ping by UDP: all have answered all.
        await until(lambda: all(len(cluster.coordinates()) == 4 for cluster in clusters))
        await clusters[3].close()
        await until(lambda: all(alive(c) == {"n0", "n1", "n2"} for c in clusters[:3]))
        await clusters[2].leave()
        await until_alive(clusters[:2], {"n0", "n1"})
