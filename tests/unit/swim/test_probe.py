"""Failure detection: a probe round in all its ways, and the probes of others."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from gossip.swim.exchange import PingExchange
from gossip.swim.members import Status
from gossip.swim.probe import MAX_RELAYED_PINGS
from gossip.wire.messages import Ack, IndirectPing, Nack, Ping, Suspect
from tests.rigs import PORT, STRANGER, VSN, SwimRig, address_of, alive, ip_of, read_stream

OWN: dict[str, Any] = {"source_addr": ip_of("me"), "source_port": PORT, "source_node": "me"}
OLD_MEMBER = bytes((1, 2, 2, 2, 5, 4))  # neither TCP pings nor nacks


def rig_with(*names: str, **settings: Any) -> SwimRig:
    rig = SwimRig(**settings)
    rig.learn(*names)
    return rig


def next_ping(rig: SwimRig) -> Ping:
    """Let time pass until we ping somebody of our own accord."""
    pings: list[Ping] = []
    while not pings:
        rig.advance_until(lambda: rig.m._packets)
        pings = [message for message, _ in rig.sent() if isinstance(message, Ping)]
    return pings[0]


def sent(rig: SwimRig, kind: type[Any]) -> list[Any]:
    return [message for message, _ in rig.sent() if isinstance(message, kind)]


# The direct ping


def test_one_member_is_pinged_per_interval_with_our_address_for_the_answer() -> None:
    rig = rig_with("ann")

    rig.advance(1.0)

    ping = Ping(1, "ann", **OWN)
    assert [(m, to) for m, to in rig.sent() if isinstance(m, Ping)] == [(ping, address_of("ann"))]


def test_an_ack_in_time_gives_the_round_trip_and_its_payload() -> None:
    rig = rig_with("ann")
    rig.m.awareness.apply(3)
    ping = next_ping(rig)

    rig.now += 0.25
    rig.hear(Ack(ping.seq_no, b"coordinate"))

    ((name, rtt, payload),) = rig.delegate.rtts
    assert (name, payload) == ("ann", b"coordinate")
    assert rtt == pytest.approx(0.25)
    assert rig.m.awareness.score == 2


def test_a_late_ack_is_a_success_without_a_round_trip() -> None:
    rig = rig_with("ann")
    ping = next_ping(rig)

    rig.advance(0.75)
    rig.hear(Ack(ping.seq_no))
    rig.advance(0.5)

    assert rig.delegate.rtts == []
    assert rig.status("ann") is Status.ALIVE


def test_every_probe_has_a_number_of_its_own() -> None:
    rig = rig_with("ann", "bob")
    numbers = []
    for _ in range(5):
        ping = next_ping(rig)
        numbers.append(ping.seq_no)
        rig.hear(Ack(ping.seq_no))

    assert numbers == [1, 2, 3, 4, 5]


def test_numbers_go_on_at_zero_after_the_last() -> None:
    rig = rig_with("ann")
    rig.m.prober._seq_no = 2**32 - 1

    assert next_ping(rig).seq_no == 0


def test_acks_that_nobody_waits_for_are_counted() -> None:
    rig = rig_with("ann")
    ping = next_ping(rig)

    rig.hear(Ack(ping.seq_no), Ack(ping.seq_no), Ack(4711))

    assert rig.stats["acks_unexpected"] == 2


def test_nacks_that_nobody_waits_for_are_counted() -> None:
    rig = rig_with("ann")

    rig.hear(Nack(4711))

    assert rig.stats["nacks_unexpected"] == 1


def test_news_rides_along_with_a_ping() -> None:
    rig = rig_with("ann", eager=False)
    rig.advance_until(lambda: rig.m.prober._probe)  # its packet is still to be looked at
    rig.m.prober.abandon()
    rig.m.take_packets()
    rig.hear(alive("bob"), source=address_of("ann"))
    rig.hear(alive("cat"), source=STRANGER)

    rig.m.prober._begin(rig.now)

    ((messages, to),) = rig.packets()
    others = {"ann": alive("cat"), "bob": alive("cat"), "cat": alive("bob")}  # ann sent bob's
    target = messages[0].node if isinstance(messages[0], Ping) else ""
    assert to == address_of(target)
    assert others[target] in messages[1:]


# The way round


def test_without_an_ack_others_are_asked_and_tcp_is_tried() -> None:
    rig = rig_with("ann", "bob", "cat", "dan", "eve")
    ping = next_ping(rig)

    rig.advance(0.4)
    early = sent(rig, IndirectPing)
    rig.advance(0.1)

    target = ping.node
    requests = [(m, to) for m, to in rig.sent() if isinstance(m, IndirectPing)]
    wanted = IndirectPing(ping.seq_no, ip_of(target), PORT, target, nack=True, **OWN)
    assert early == []
    assert [message for message, _ in requests] == [wanted] * 3
    assert len({to for _, to in requests}) == 3
    assert address_of(target) not in {to for _, to in requests}
    (dial,) = rig.dials()
    assert isinstance(dial, PingExchange)
    assert dial.address == address_of(target)


def test_only_the_alive_are_asked() -> None:
    rig = rig_with("ann", "bob", "cat")
    ping = next_ping(rig)
    others = sorted({"ann", "bob", "cat"} - {ping.node})
    rig.hear(Suspect(1, others[0], "x"))

    rig.advance(0.5)

    asked = [to for message, to in rig.sent() if isinstance(message, IndirectPing)]
    assert asked == [address_of(others[1])]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_as_many_are_asked_as_are_configured(count: int) -> None:
    rig = rig_with("ann", "bob", "cat", "dan", indirect_checks=count)
    next_ping(rig)

    rig.advance(0.5)

    assert len(sent(rig, IndirectPing)) == count


def test_a_relayed_ack_within_the_interval_is_a_success() -> None:
    rig = rig_with("ann", "bob")
    rig.m.awareness.apply(1)
    ping = next_ping(rig)
    rig.advance(1.5)

    rig.hear(Ack(ping.seq_no), source=address_of("bob"))

    assert rig.m.awareness.score == 0
    assert rig.m.prober._probe is None or rig.m.prober._probe.seq_no != ping.seq_no
    assert rig.delegate.rtts == []


def test_no_tcp_ping_when_it_is_switched_off_or_not_understood() -> None:
    rig = rig_with("ann", tcp_ping=False)
    next_ping(rig)
    rig.advance(0.5)
    old = SwimRig()
    old.learn("ann", vsn=OLD_MEMBER)
    next_ping(old)
    old.advance(0.5)

    assert rig.dials() == []
    assert old.dials() == []


def test_r04_an_answer_over_tcp_keeps_a_member_alive_and_is_reported_once() -> None:
    rig = rig_with("ann")
    for _ in range(3):
        rig.advance_until(lambda: rig.m._dials)
        answer_tcp_ping(rig)
    rig.advance(0.5)

    assert rig.status("ann") is Status.ALIVE
    assert rig.m.awareness.score == 0
    assert rig.stats["probes_failed"] == 0
    assert rig.stats["udp_unreachable"] == 1
    assert rig.m.take_notices() == ["ann answers over TCP but not over UDP"]
    assert rig.m.prober.tcp_only.names() == ["ann"]


def test_r04_an_ack_over_udp_ends_that_and_a_relapse_is_reported_again() -> None:
    rig = rig_with("ann")
    rig.m.prober.tcp_only.add("ann", rig.now)

    rig.hear(Ack(next_ping(rig).seq_no))
    recovered = rig.m.prober.tcp_only.names()
    next_ping(rig)
    rig.advance_until(lambda: rig.m._dials)
    answer_tcp_ping(rig)
    rig.advance(1)

    assert recovered == []
    assert rig.stats["udp_unreachable"] == 2


def test_r04_who_answers_neither_way_is_a_suspect_and_not_unreachable_over_udp() -> None:
    rig = rig_with("ann")
    rig.m.prober.tcp_only.add("ann", rig.now)

    rig.advance_until(lambda: rig.status("ann") is Status.SUSPECT)

    assert rig.m.prober.tcp_only.names() == []


def test_r51_a_tcp_ping_lives_no_longer_than_its_probe() -> None:
    rig = rig_with("ann")
    next_ping(rig)
    started = rig.now
    rig.advance_until(lambda: rig.m._dials)
    (dial,) = rig.dials()

    dial.connected(rig.now)

    assert dial.deadline == pytest.approx(started + 1.0)


# Failure


def test_silence_until_the_end_of_the_interval_makes_a_suspect() -> None:
    rig = rig_with("ann", "bob", "cat", "dan")
    target = next_ping(rig).node
    rig.advance(0.99)
    before = rig.status(target)

    rig.advance(0.01)

    assert before is Status.ALIVE
    assert rig.status(target) is Status.SUSPECT
    assert rig.stats["probes_failed"] == 1
    assert Suspect(1, target, "me") in [*rig.news(), *sent(rig, Suspect)]


def test_the_accusation_is_of_the_incarnation_at_the_start_of_the_probe() -> None:
    rig = rig_with("ann")
    next_ping(rig)

    rig.hear(alive("ann", 2))  # it refuted something meanwhile
    rig.advance(1.0)

    assert rig.status("ann") is Status.ALIVE
    assert rig.stats["probes_failed"] == 1


def test_doubt_about_ourselves_stretches_the_interval_but_not_the_wait_for_the_ack() -> None:
    rig = rig_with("ann", "bob", "cat")
    rig.m.awareness.apply(2)
    target = next_ping(rig).node

    rig.advance(0.5)
    asked = len(sent(rig, IndirectPing))
    rig.advance(2.4)
    before = rig.status(target)
    rig.advance(0.1)

    assert asked == 2
    assert before is Status.ALIVE
    assert rig.status(target) is Status.SUSPECT


@pytest.mark.parametrize(("nacks", "score"), [(0, 3), (1, 2), (2, 1), (3, 0), (5, 0)])
def test_nacks_vouch_for_our_health(nacks: int, score: int) -> None:
    rig = rig_with("ann", "bob", "cat", "dan")
    ping = next_ping(rig)
    rig.advance(0.5)

    rig.hear(*[Nack(ping.seq_no)] * nacks)
    rig.advance(0.5)

    assert rig.status(ping.node) is Status.SUSPECT
    assert rig.m.awareness.score == score


def test_without_anybody_who_could_nack_a_failure_costs_one_point() -> None:
    rig = SwimRig()
    rig.learn("ann", "bob", "cat", vsn=OLD_MEMBER)
    next_ping(rig)

    rig.advance(0.5)
    requests = sent(rig, IndirectPing)
    rig.advance(0.5)

    assert [request.nack for request in requests] == [False, False]
    assert rig.m.awareness.score == 1


def test_only_members_that_nack_count_as_expected() -> None:
    rig = SwimRig()
    rig.learn("ann", "bob", vsn=OLD_MEMBER)
    rig.learn("cat")
    ping = next_ping(rig)
    rig.advance(0.5)
    expected = sum(request.nack for request in sent(rig, IndirectPing))

    rig.advance(0.5)

    assert rig.m.awareness.score == max(expected, 1)
    assert expected == (0 if ping.node == "cat" else 1)


def test_a_failed_tcp_ping_does_not_save_a_member() -> None:
    rig = rig_with("ann")
    next_ping(rig)
    rig.advance_until(lambda: rig.m._dials)
    (dial,) = rig.dials()

    dial.fail("refused", rig.now)
    rig.advance(0.5)

    assert rig.status("ann") is Status.SUSPECT


def test_a_refused_tcp_ping_cuts_the_wait_and_says_nothing_about_ourselves() -> None:
    rig = rig_with("ann", "bob", "cat")
    target = next_ping(rig).node
    started = rig.now
    rig.advance_until(lambda: rig.m._dials)
    (dial,) = rig.dials()

    dial.refuse(rig.now)
    rig.advance_until(lambda: rig.status(target) is Status.SUSPECT)

    assert rig.now - started == pytest.approx(0.5 + 0.125)
    assert rig.m.awareness.score == 0


def test_an_indirect_ack_after_a_refused_tcp_ping_still_saves_the_member() -> None:
    rig = rig_with("ann", "bob")
    ping = next_ping(rig)
    rig.advance_until(lambda: rig.m._dials)
    (dial,) = rig.dials()
    dial.refuse(rig.now)

    rig.advance(0.1)
    rig.hear(Ack(ping.seq_no))
    rig.advance(0.9)

    assert rig.status(ping.node) is Status.ALIVE


def test_a_suspect_is_told_of_the_suspicion_in_the_packet_that_pings_it() -> None:
    rig = rig_with("ann")
    rig.hear(Suspect(1, "ann", "bob"))
    rig.quiet()
    rig.m.take_packets()

    ping = next_packet_with_ping(rig)

    assert ping == [Ping(1, "ann", **OWN), Suspect(1, "ann", "me")]


@pytest.mark.parametrize(("vsn", "first_byte"), [(VSN, 12), (OLD_MEMBER, 7)])
def test_that_packet_has_a_checksum_if_the_receiver_understands_it(
    vsn: bytes, first_byte: int
) -> None:
    rig = SwimRig()
    rig.learn("ann", vsn=vsn)
    rig.hear(Suspect(1, "ann", "bob"))
    rig.quiet()

    rig.advance_until(lambda: rig.m.prober._probe)

    ((data, to),) = rig.m.take_packets()
    assert to == address_of("ann")
    assert data[0] == first_byte


# The schedule


def test_probes_that_outlast_the_interval_make_ticks_coalesce() -> None:
    rig = rig_with(*"abcdefgh", awareness_max=4)
    rig.m.awareness.apply(3)  # each probe takes 4 s, and four ticks pass
    starts = []
    for _ in range(3):
        next_ping(rig)
        starts.append(rig.now)

    gaps = [later - earlier for earlier, later in pairwise(starts)]
    assert gaps == [pytest.approx(4.0), pytest.approx(4.0)]


def test_after_a_long_probe_the_next_one_starts_at_once_and_only_one() -> None:
    rig = rig_with(*"abcdefgh")
    rig.m.awareness.apply(3)
    first = next_ping(rig)
    rig.advance(3.5)
    rig.m.take_packets()

    rig.hear(Ack(first.seq_no))
    pings = sent(rig, Ping)
    rig.hear(Ack(pings[0].seq_no))

    assert len(pings) == 1
    assert sent(rig, Ping) == []


def test_h8_a_stall_ends_the_probe_without_a_verdict() -> None:
    rig = rig_with("ann")
    next_ping(rig)

    rig.m.stalled(0.7, rig.now)
    rig.advance(0.99)

    assert rig.status("ann") is Status.ALIVE
    assert rig.stats["probes_failed"] == 0
    assert rig.m.awareness.score == 1


def test_a_stopped_prober_pings_nobody_and_still_answers() -> None:
    rig = rig_with("ann")
    next_ping(rig)

    rig.m.prober.stop()
    rig.m.take_packets()
    rig.advance(5)
    rig.hear(Ping(9, "me"), source=address_of("ann"))

    assert [message for message, _ in rig.sent()] == [Ack(9)]
    assert rig.status("ann") is Status.ALIVE


# Answers to others


@pytest.mark.parametrize("node", ["me", ""])
def test_a_ping_for_us_or_for_anybody_is_acked(node: str) -> None:
    rig = SwimRig()
    rig.delegate.payload = b"coordinate"

    rig.hear(Ping(7, node))

    assert rig.sent() == [(Ack(7, b"coordinate"), STRANGER)]


def test_a_ping_for_another_name_is_counted_and_not_answered() -> None:
    rig = SwimRig()

    rig.hear(Ping(7, "somebody"))

    assert rig.sent() == []
    assert rig.stats["pings_for_another_name"] == 1


@pytest.mark.parametrize(
    ("addr", "port", "goes_to"),
    [
        (ip_of("ann"), PORT, address_of("ann")),
        (b"", 0, STRANGER),
        (ip_of("ann"), 0, STRANGER),
        (bytes(4), PORT, STRANGER),
        (b"\xe0\0\0\1", PORT, STRANGER),
        (b"abc", PORT, STRANGER),
    ],
)
def test_h1_an_ack_goes_where_the_ping_says_unless_that_would_do_harm(
    addr: bytes, port: int, goes_to: tuple[str, int]
) -> None:
    rig = SwimRig()

    rig.hear(Ping(7, "me", addr, port, "ann"))

    assert rig.sent() == [(Ack(7), goes_to)]


@pytest.mark.parametrize(
    ("name", "claimed", "source", "parts"),
    [
        ("ann", "ann", "ann", 2),
        ("somebody", "ann", "ann", 1),
        ("ann", "ann", "elsewhere", 1),
        ("ann", "elsewhere", "ann", 1),
        ("ann", "elsewhere", "elsewhere", 1),
    ],
)
def test_s14_news_rides_on_an_ack_to_a_member_only(
    name: str, claimed: str, source: str, parts: int
) -> None:
    rig = rig_with("ann", eager=False)
    rig.hear(alive("bob", meta=b"x" * 400))

    rig.hear(Ping(1, "me", ip_of(claimed), PORT, name), source=address_of(source))

    ((messages, to),) = rig.packets()
    assert len(messages) == parts
    assert to == address_of(claimed)


# Pings that others ask for


def request(**changes: Any) -> IndirectPing:
    fields: dict[str, Any] = {
        "seq_no": 77, "target": ip_of("cat"), "port": PORT, "node": "cat", "nack": True,
        "source_addr": ip_of("ann"), "source_port": PORT, "source_node": "ann",
    }  # fmt: skip
    return IndirectPing(**(fields | changes))


def test_we_ping_for_another_as_ourselves_and_pass_the_ack_on_under_its_number() -> None:
    rig = SwimRig()

    rig.hear(request())
    asked = rig.sent()
    rig.hear(Ack(1, b"coordinate"), source=address_of("cat"))
    passed_on = rig.sent()
    rig.advance(5)

    assert asked == [(Ping(1, "cat", **OWN), address_of("cat"))]
    assert passed_on == [(Ack(77), address_of("ann"))]  # no payload: the round trip is not theirs
    assert sent(rig, Nack) == []


def test_a_nack_tells_that_the_target_did_not_answer_us_either() -> None:
    rig = SwimRig()
    rig.hear(request())
    rig.sent()

    rig.advance(0.49)
    early = rig.sent()
    rig.advance(0.01)

    assert early == []
    assert rig.sent() == [(Nack(77), address_of("ann"))]


def test_an_ack_after_the_nack_is_not_passed_on() -> None:
    rig = SwimRig()
    rig.hear(request())
    rig.advance(0.6)
    rig.sent()

    rig.hear(Ack(1))

    assert rig.sent() == []
    assert rig.stats["acks_unexpected"] == 1


def test_who_does_not_want_a_nack_gets_none() -> None:
    rig = SwimRig()
    rig.hear(request(nack=False))
    rig.sent()

    rig.advance(5)

    assert rig.sent() == []
    assert rig.m.prober._relayed == {}


def test_without_source_fields_answers_go_where_the_request_came_from() -> None:
    rig = SwimRig()
    rig.hear(request(source_addr=b"", source_port=0))
    rig.sent()

    rig.hear(Ack(1))

    assert rig.sent() == [(Ack(77), STRANGER)]


def test_port_zero_means_our_own_port() -> None:
    rig = SwimRig()

    rig.hear(request(port=0))

    assert rig.sent() == [(Ping(1, "cat", **OWN), (address_of("cat")[0], PORT))]


@pytest.mark.parametrize(
    "target", [b"", b"\x0a", bytes(4), b"\xff\xff\xff\xff", b"\xff" + bytes(15)]
)
def test_h1_a_target_that_would_do_harm_is_counted_and_not_pinged(target: bytes) -> None:
    rig = SwimRig()

    rig.hear(request(target=target))

    assert rig.sent() == []
    assert rig.stats["addresses_refused"] == 1


def test_s13_pings_for_others_are_bounded() -> None:
    rig = SwimRig()

    for number in range(MAX_RELAYED_PINGS + 10):
        rig.hear(request(seq_no=number))

    assert len(rig.m.prober._relayed) == MAX_RELAYED_PINGS
    assert rig.stats["relayed_pings_dropped"] == 10
    rig.advance(0.5)
    assert len(rig.m.prober._relayed) == 0


def next_packet_with_ping(rig: SwimRig) -> list[Any]:
    while True:
        rig.advance_until(lambda: rig.m._packets)
        for messages, _ in rig.packets():
            if isinstance(messages[0], Ping):
                return messages


def answer_tcp_ping(rig: SwimRig) -> None:
    """Play the member that answers a fallback ping."""
    (dial,) = rig.dials()
    dial.connected(rig.now)
    ping = read_stream(rig.stream_codec, dial.data_to_send(), dialer=False)
    assert isinstance(ping, Ping)
    ack = Ack(ping.seq_no).encode()
    dial.receive_data(rig.stream_codec.encode(ack, dialer=False), rig.now)
    assert dial.done
    assert dial.error is None


def test_r08_an_ack_goes_to_the_packets_source_where_the_ping_names_none() -> None:
    rig = rig_with("ann")
    behind_nat = ("192.0.2.77", 40001)

    rig.hear(Ping(9, "me"), source=behind_nat)

    assert [to for message, to in rig.sent() if isinstance(message, Ack)] == [behind_nat]


def test_r08_a_probe_goes_to_the_advertised_address_wherever_packets_come_from() -> None:
    rig = rig_with("ann")
    rig.hear(Ping(9, "me", ip_of("ann"), PORT, "ann"), source=("192.0.2.77", 40001))
    rig.sent()

    rig.advance(1.0)

    assert [to for message, to in rig.sent() if isinstance(message, Ping)] == [address_of("ann")]


@pytest.mark.parametrize("elapsed", [-5.0, 0.0])
def test_r34_a_round_trip_is_never_negative(elapsed: float) -> None:
    rig = rig_with("ann")
    ping = next_ping(rig)

    rig.now += elapsed
    rig.hear(Ack(ping.seq_no))

    assert [rtt for _, rtt, _ in rig.delegate.rtts] == [0.0]
