"""The relay: packets arrive when the weather says so, unchanged, segments of a connection in order."""

from __future__ import annotations

import random

from simulations.cluster.relay import MAX_HELD, Relay

UDP, TCP = 17, 6


def packet(protocol: int, number: int, *, port: int = 1000) -> bytes:
    """An IPv4 packet of that protocol, as far as the relay looks."""
    header = bytes([0x45, 0, 0, 32]) + bytes(5) + bytes([protocol]) + bytes(2)
    addresses = bytes([10, 77, 0, 1, 10, 77, 0, 2])
    return header + addresses + port.to_bytes(2, "big") + bytes(2) + number.to_bytes(4, "big")


def numbers(packets: list[bytes]) -> list[int]:
    return [int.from_bytes(data[-4:], "big") for data in packets]


def relay_with(**weather: float) -> Relay:
    relay = Relay(random.Random(1))
    relay.set_weather(**weather)
    return relay


def test_without_weather_packets_pass_at_once_and_unchanged() -> None:
    relay = relay_with()
    sent = [packet(UDP, n) for n in range(10)]
    for data in sent:
        relay.take(data, 5.0)
    assert relay.arrived(5.0) == sent
    assert relay.due() is None


def test_packets_take_half_to_one_and_a_half_times_the_latency() -> None:
    relay = relay_with(latency=0.1)
    for n in range(200):
        relay.take(packet(UDP, n), 0.0)
    assert relay.arrived(0.0499) == []
    early = relay.arrived(0.1)
    assert 60 < len(early) < 140
    assert numbers(early) != sorted(numbers(early)), "datagrams overtake one another"
    assert len(relay.arrived(0.1501)) == 200 - len(early)


def test_segments_of_one_connection_keep_their_order() -> None:
    relay = relay_with(latency=0.1, jitter=0.5)
    for n in range(50):
        relay.take(packet(TCP, n), n / 1000)
        relay.take(packet(TCP, 1000 + n, port=2000), n / 1000)
    arrived = numbers(relay.arrived(60.0))
    assert [n for n in arrived if n < 1000] == list(range(50))
    assert [n for n in arrived if n >= 1000] == list(range(1000, 1050))
    assert arrived != sorted(arrived), "different connections do not wait for one another"


def test_datagrams_are_duplicated_and_segments_are_not() -> None:
    relay = relay_with(duplicate=1.0)
    relay.take(packet(UDP, 1), 0.0)
    relay.take(packet(TCP, 2), 0.0)
    assert sorted(numbers(relay.arrived(1.0))) == [1, 1, 2]
    assert relay.counts["packets_duplicated"] == 1


def test_new_weather_replaces_the_old_one() -> None:
    relay = relay_with(latency=10.0, duplicate=1.0)
    relay.set_weather(reorder=0.5)
    relay.take(packet(UDP, 1), 0.0)
    assert numbers(relay.arrived(0.06)) == [1]


def test_packets_on_their_way_are_bounded() -> None:
    relay = relay_with(latency=10.0)
    for n in range(MAX_HELD + 5):
        relay.take(packet(UDP, n), 0.0)
    assert relay.counts["packets_overflowed"] == 5
    assert len(relay.arrived(20.0)) == MAX_HELD


def test_what_is_no_ipv4_packet_is_dropped() -> None:
    relay = relay_with()
    for data in (b"", b"\x45", bytes([0x60]) + bytes(60)):
        relay.take(data, 0.0)
    assert relay.arrived(1.0) == []
