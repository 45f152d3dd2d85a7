"""The guard around asyncio-dgram: no address and no error closes the socket or costs a good packet."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from gossip.datagrams import SEND_ATTEMPTS, Datagrams, Inbox
from gossip.machine import Machine
from gossip.wire.messages import Ack, Alive, Dead, Ping, UserMessage
from gossip.wire.packet import PacketCodec, is_probe_traffic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BAD_ADDRESSES: list[Any] = [
    ("127.0.0.1", 0),
    ("127.0.0.1", -1),
    ("127.0.0.1", 65536),
    ("127.0.0.1", 2**40),
    ("::1", 7946),
    ("fe80::1%lo", 7946),
    ("255.255.255.255", 7946),
    ("240.0.0.1", 7946),
    ("no such host", 7946),
    ("", 7946),
]


@pytest.fixture
async def receiver() -> AsyncIterator[Datagrams]:
    datagrams = Datagrams(Counter())
    await datagrams.open(Machine(), "127.0.0.1", 0)
    yield datagrams
    datagrams.close()


@pytest.fixture
async def sender() -> AsyncIterator[Datagrams]:
    datagrams = Datagrams(Counter())
    await datagrams.open(Machine(), "127.0.0.1", 0)
    yield datagrams
    datagrams.close()


async def received(datagrams: Datagrams, count: int = 1) -> list[bytes]:
    """What arrives, until there are so many."""
    packets: list[bytes] = []
    async with asyncio.timeout(5):
        while len(packets) < count:
            packets += [data for data, _ in await datagrams.receive()]
    return packets


@pytest.mark.parametrize("bad", BAD_ADDRESSES)
async def test_h1_h11_a_bad_address_is_counted_and_the_socket_goes_on(
    sender: Datagrams, receiver: Datagrams, bad: Any
) -> None:
    sender.send([(b"lost", bad)])
    sender.send([(b"arrives", ("127.0.0.1", receiver.port))])

    assert await received(receiver) == [b"arrives"]
    receiver.send([(b"back", ("127.0.0.1", sender.port))])
    assert await received(sender) == [b"back"]
    assert sum(sender._stats.values()) >= 1, "the refused packet is counted"


async def test_h2_a_host_name_is_never_resolved_on_the_loop(
    sender: Datagrams, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        pytest.fail("getaddrinfo was called on the loop's thread")

    monkeypatch.setattr(socket, "getaddrinfo", fail)

    sender.send([(b"x", ("localhost", 7946))])

    assert sender._stats["sends_refused"] == 1


async def test_h3_errors_of_one_peer_cost_no_packet_to_another(
    sender: Datagrams, receiver: Datagrams
) -> None:
    good = ("127.0.0.1", receiver.port)
    batch: list[Any] = []
    for index in range(50):
        batch += [(b"bad", BAD_ADDRESSES[index % len(BAD_ADDRESSES)]), (b"%d" % index, good)]

    sender.send(batch)

    assert await received(receiver, 50) == [b"%d" % i for i in range(50)]


async def test_h1_a_socket_that_was_closed_is_opened_again_on_its_port(
    sender: Datagrams, receiver: Datagrams
) -> None:
    port = receiver.port
    waiting = asyncio.create_task(received(receiver))
    await asyncio.sleep(0)

    receiver._stream.close()  # what asyncio does after a fatal error

    async with asyncio.timeout(5):
        while not waiting.done():
            sender.send([(b"again", ("127.0.0.1", port))])
            await asyncio.wait([waiting], timeout=0.01)
    assert set(await waiting) == {b"again"}
    assert receiver._stats["socket_reopened"] == 1


async def test_h5_close_ends_a_pending_receive(receiver: Datagrams) -> None:
    waiting = asyncio.create_task(receiver.receive())
    await asyncio.sleep(0)

    receiver.close()

    async with asyncio.timeout(2):
        assert await waiting == []


def test_h4_a_full_inbox_drops_the_oldest_of_the_less_urgent_and_counts_it() -> None:
    stats: Counter[str] = Counter()
    inbox = Inbox(stats, limit=3)
    source = ("127.0.0.1", 1)
    gossip = [UserMessage(b"%d" % i).encode() for i in range(3)]
    ping = Ping(1, "me").encode()

    for data in [*gossip, ping]:
        inbox.put(data, source)

    assert [data for data, _ in inbox.take(10)] == [ping, gossip[1], gossip[2]]
    assert stats["packets_dropped_overload"] == 1


def test_h4_an_inbox_of_urgent_packets_drops_the_oldest_too() -> None:
    inbox = Inbox(Counter(), limit=2)
    pings = [Ping(i, "me").encode() for i in range(4)]

    for data in pings:
        inbox.put(data, ("127.0.0.1", 1))

    assert [data for data, _ in inbox.take(10)] == pings[2:]
    assert len(inbox) == 0


@pytest.mark.parametrize("crc", [False, True])
@pytest.mark.parametrize("compound", [False, True])
def test_h4_what_keeps_members_alive_is_urgent(crc: bool, compound: bool) -> None:
    codec = PacketCodec(new_nonce=lambda: bytes(12))
    alive = Alive(1, "a", bytes(4), 1, b"", bytes(6)).encode()
    dead = Dead(1, "a", "b").encode()

    def packet(first: bytes) -> bytes:
        return codec.encode([first, dead] if compound else [first], crc=crc)[0]

    assert is_probe_traffic(packet(Ping(1, "a").encode()))
    assert is_probe_traffic(packet(Ack(1).encode()))
    assert is_probe_traffic(packet(alive))
    assert not is_probe_traffic(packet(dead))
    assert not is_probe_traffic(packet(UserMessage(b"\x03").encode()))


@pytest.mark.parametrize("data", [b"", b"\x07", b"\x07\xff", b"\x0c", b"\x0c\x00\x00\x00\x00"])
def test_a_cut_packet_is_not_urgent(data: bytes) -> None:
    assert not is_probe_traffic(data)


# A congested transport: asyncio-dgram's sends wait from when the transport asks for a pause


def congest(datagrams: Datagrams) -> None:
    datagrams._stream._drained.clear()


def relieve(datagrams: Datagrams) -> None:
    datagrams._stream._drained.set()


def numbered(count: int, receiver: Datagrams) -> list[tuple[bytes, tuple[str, int]]]:
    return [(b"%d" % index, ("127.0.0.1", receiver.port)) for index in range(count)]


async def test_h5_packets_wait_for_a_congested_transport_and_leave_in_order(
    sender: Datagrams, receiver: Datagrams
) -> None:
    congest(sender)
    sender.send(numbered(3, receiver)[:2])
    sender.send(numbered(3, receiver)[2:])
    await asyncio.sleep(0)

    relieve(sender)

    assert await received(receiver, 3) == [b"0", b"1", b"2"]
    assert sender._stats == Counter()


async def test_h5_a_transport_that_stays_congested_costs_packets_but_nobody_waits(
    sender: Datagrams, receiver: Datagrams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gossip.datagrams.SEND_TIMEOUT", 0.01)
    congest(sender)
    sender.send(numbered(5, receiver))

    waiting = sender._sender
    assert waiting is not None
    async with asyncio.timeout(5):
        await waiting
    assert sender._stats["send_timeouts"] == 1
    relieve(sender)
    sender.send([(b"later", ("127.0.0.1", receiver.port))])

    # The transport had taken the first two before anybody waited for it.
    assert await received(receiver, 3) == [b"0", b"1", b"later"]


async def test_h4_packets_that_wait_for_a_congested_transport_are_bounded(
    sender: Datagrams, receiver: Datagrams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gossip.datagrams.UNSENT_LIMIT", 2)
    congest(sender)

    sender.send(numbered(9, receiver))
    relieve(sender)

    assert await received(receiver, 3) == [b"0", b"7", b"8"]
    assert sender._stats["sends_dropped_overload"] == 6


async def test_h5_close_does_not_wait_for_a_congested_transport(
    sender: Datagrams, receiver: Datagrams
) -> None:
    congest(sender)
    sender.send(numbered(5, receiver))
    task = sender._sender
    assert task is not None
    await asyncio.sleep(0)

    sender.close()

    async with asyncio.timeout(2):
        await asyncio.wait([task])
    assert task.cancelled()


async def test_h3_a_packet_is_given_up_when_errors_do_not_end(
    sender: Datagrams, receiver: Datagrams
) -> None:
    for _ in range(SEND_ATTEMPTS + 1):
        sender._stream._excq.put_nowait(OSError("of an earlier packet"))

    sender.send(numbered(2, receiver))

    assert await received(receiver) == [b"1"]
    assert sender._stats == {"socket_errors": SEND_ATTEMPTS + 1, "send_errors": 1}
