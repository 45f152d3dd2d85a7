"""Coordinates on acks: what rides on ours, what we keep of theirs, and when it goes."""

from __future__ import annotations

from math import nan
from typing import Any

import pytest

from gossip.serf.coordinates import ORIGIN, Coordinate
from gossip.wire.codec import pack
from gossip.wire.messages import Ack, Dead, Ping
from gossip.wire.serf import LeaveIntent
from gossip.wire.values import decode_coordinate, encode_coordinate
from tests.rigs import NodeRig, address_of
from tests.wire_helpers import vector

THEIRS = Coordinate((0.01, *(0.0,) * 7), 0.2, 0.0, 1e-5)
PAYLOAD = encode_coordinate(THEIRS)


def rig_with(*names: str, **settings: Any) -> NodeRig:
    rig = NodeRig(**settings)
    rig.learn(*names)
    return rig


def next_ping(rig: NodeRig, limit: float = 3.0) -> tuple[int, str]:
    """Sequence number and target of the next probe."""
    end = rig.now + limit
    while rig.now < end:
        for message, _ in rig.sent():
            if isinstance(message, Ping):
                return message.seq_no, message.node
        due = rig.node.next_timeout()
        assert due is not None
        rig.advance(max(due - rig.now, 0.0))
    raise AssertionError("no probe")


def probe(rig: NodeRig, payload: bytes = PAYLOAD, rtt: float = 0.02) -> str:
    """One probe round that is answered; returns who was probed."""
    seq_no, name = next_ping(rig)
    rig.advance(rtt)
    rig.hear(Ack(seq_no, payload), source=address_of(name))
    return name


def ack_payload(rig: NodeRig) -> bytes:
    rig.sent()
    rig.hear(Ping(7, "me"))
    ((ack, _),) = rig.sent()
    assert isinstance(ack, Ack)
    return ack.payload


def coordinates_of(rig: NodeRig) -> Any:
    assert rig.node.coordinates is not None
    return rig.node.coordinates


def test_our_coordinate_rides_on_our_acks_in_the_size_of_a_genuine_one() -> None:
    rig = rig_with("ann")

    assert decode_coordinate(ack_payload(rig)) == ORIGIN
    probe(rig)

    payload = ack_payload(rig)
    assert decode_coordinate(payload) == coordinates_of(rig).own != ORIGIN
    genuine = vector("ack_plain_with_coordinate")["decoded"]["messages"][0]["body"]["Payload"]
    assert len(payload) == len(bytes.fromhex(genuine))


def test_it_is_encoded_once_per_change(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = rig_with("ann")
    encoded: list[Coordinate] = []

    def encode(coordinate: Coordinate) -> bytes:
        encoded.append(coordinate)
        return encode_coordinate(coordinate)

    monkeypatch.setattr("gossip.serf.pool_coordinates.encode_coordinate", encode)

    probe(rig)
    for _ in range(10):
        ack_payload(rig)

    assert encoded == [coordinates_of(rig).own]


def test_an_ack_in_time_leaves_the_members_coordinate_and_moves_ours() -> None:
    rig = rig_with("ann")
    before = coordinates_of(rig).version

    probe(rig)

    coordinates = coordinates_of(rig)
    assert coordinates.of("ann") == THEIRS
    assert coordinates.all() == {"ann": THEIRS, "me": coordinates.own}
    assert coordinates.of("me") == coordinates.own != ORIGIN
    assert coordinates.version > before


def test_an_ack_after_the_timeout_says_nothing_about_the_way() -> None:
    rig = rig_with("ann")

    probe(rig, rtt=0.6)

    assert coordinates_of(rig).all() == {"me": ORIGIN}


def test_nobody_is_known_before_the_first_probe() -> None:
    rig = rig_with("ann")

    assert coordinates_of(rig).all() == {"me": ORIGIN}
    assert coordinates_of(rig).of("ann") is None
    assert coordinates_of(rig).of("nobody") is None


def test_the_latest_coordinate_of_a_member_is_kept_with_its_round_trips() -> None:
    rig = rig_with("ann")
    moved = Coordinate((0.02, *(0.0,) * 7), 0.2, 0.0, 1e-5)

    for rtt in (0.011, 0.012, 0.013, 0.014):
        probe(rig, rtt=rtt)
    probe(rig, encode_coordinate(moved), rtt=0.015)

    member = rig.node.members.get("ann")
    assert member is not None
    assert member.coordinate is not None
    assert member.coordinate.coordinate == moved
    assert member.coordinate.recent == pytest.approx([0.013, 0.014, 0.015])


@pytest.mark.parametrize("payload", [b"", b"\x02" + PAYLOAD[1:], b"\x00"])
def test_who_has_coordinates_off_or_another_version_has_none(payload: bytes) -> None:
    rig = rig_with("ann")

    probe(rig, payload)

    assert coordinates_of(rig).all() == {"me": ORIGIN}
    assert rig.stats["coordinates_refused"] == 0
    assert rig.stats["coordinates_of_other_versions"] == bool(payload)


@pytest.mark.parametrize(
    "fields",
    [
        {"Vec": [nan] * 8, "Error": 1.5},
        {"Vec": [1e308] * 8, "Error": 1.5},
        {"Vec": [0.0] * 7, "Error": 1.5},
        {"Vec": "x", "Error": 1.5},
        {},
    ],
    ids=str,
)
def test_r33_a_bad_coordinate_is_counted_and_not_kept(fields: dict[str, Any]) -> None:
    rig = rig_with("ann")
    probe(rig)
    kept = coordinates_of(rig).all()

    probe(rig, b"\x01" + pack(fields))

    assert coordinates_of(rig).all() == kept
    assert rig.stats["coordinates_refused"] == 1
    assert rig.stats["probes_failed"] == 0, "it answered all the same"


def test_a_left_member_keeps_its_coordinate_until_it_is_erased() -> None:
    rig = rig_with("ann", tombstone_timeout=60.0)
    probe(rig)
    rig.hear_serf(LeaveIntent(5, "ann"))
    rig.hear(Dead(1, "ann", "ann"))
    assert coordinates_of(rig).of("ann") == THEIRS
    before = coordinates_of(rig).version

    rig.advance(80.0)

    assert rig.status("ann") is None
    assert coordinates_of(rig).all() == {"me": coordinates_of(rig).own}
    assert coordinates_of(rig).version > before


def test_a_pruned_member_is_dropped_with_its_coordinate_and_a_late_ack_brings_nothing_back() -> (
    None
):
    rig = rig_with("ann")
    probe(rig)
    seq_no, _ = next_ping(rig)
    rig.hear(Dead(1, "ann", "ann"))

    rig.node.force_leave("ann", rig.now, prune=True)
    rig.hear(Ack(seq_no, PAYLOAD), source=address_of("ann"))

    assert rig.status("ann") is None
    assert list(coordinates_of(rig).all()) == ["me"]


def test_with_coordinates_off_acks_are_empty_and_nothing_is_kept() -> None:
    rig = rig_with("ann", coordinates=False)

    probe(rig)

    assert rig.node.coordinates is None
    assert ack_payload(rig) == b""
    member = rig.node.members.get("ann")
    assert member is not None
    assert member.coordinate is None
