"""R-33: whatever members say about themselves, our own coordinate stays one that can be used."""

from __future__ import annotations

import random
from math import isfinite
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gossip.serf.coordinates import RECENT, Coordinate, CoordinateClient, distance, is_usable
from gossip.wire.codec import pack
from gossip.wire.messages import Ack, Ping
from gossip.wire.values import decode_coordinate, encode_coordinate
from tests.rigs import NodeRig, address_of

# What breaks sums and quotients, what lies just within the limits, and everything else.
edges = st.sampled_from([
    0.0, -0.0, 1e-6, -1e-6, 5e-324, 1e-300, 1e-5, 1.5, 10.0, 99.9, 100.0, -100.0, 1e9, 1e154, 1e308, -1e308,
    float("nan"), float("inf"), float("-inf"),
])  # fmt: skip
numbers = edges | st.floats(-1, 1) | st.floats()
vecs = st.lists(numbers, min_size=8, max_size=8) | st.lists(numbers, max_size=10)
coordinates = st.builds(Coordinate, vecs.map(tuple), numbers, numbers, numbers)

junk = edges | st.integers(-(2**63), 2**64 - 1) | st.none() | st.booleans() | st.text(max_size=4)
fields = st.dictionaries(
    st.sampled_from(["Vec", "Error", "Adjustment", "Height", "Other"]),
    junk | st.lists(junk, max_size=9),
)
payloads = st.one_of(
    st.binary(max_size=200),
    st.binary(max_size=200).map(lambda data: b"\x01" + data),
    fields.map(lambda written: b"\x01" + pack(written)),
    coordinates.map(encode_coordinate),
)


def check(own: Coordinate) -> None:
    assert is_usable(own)
    assert all(map(isfinite, (*own.vec, own.error, own.adjustment, own.height)))
    assert 0 <= own.error <= 1.5
    assert own.height >= 1e-5


@given(st.lists(st.tuples(coordinates, numbers), max_size=30), st.integers(0, 100))
def test_r33_any_coordinates_and_round_trips_keep_our_own_usable(
    answers: list[tuple[Coordinate, float]], seed: int
) -> None:
    client = CoordinateClient(random.Random(seed))
    recent: list[float] = []
    for other, rtt in answers:
        before = client.own
        taken = client.update(other, rtt, recent)

        check(client.own)
        assert taken == (0 <= rtt <= 10 and is_usable(other))
        assert taken or client.own is before
        assert len(recent) <= RECENT


@given(coordinates, coordinates)
def test_r33_a_distance_is_never_an_error_nor_a_nan(a: Coordinate, b: Coordinate) -> None:
    if len(a.vec) == len(b.vec):
        seconds = distance(a, b)
        assert seconds == seconds  # noqa: PLR0124 - what a NaN is not


@settings(max_examples=60, deadline=None)
@given(st.lists(payloads, min_size=1, max_size=12), st.floats(0, 0.3))
def test_r33_any_ack_payload_keeps_our_own_usable_and_what_is_dropped_is_counted(
    answers: list[bytes], rtt: float
) -> None:
    rig: Any = NodeRig()
    rig.learn("ann")
    pool, stats = rig.node.coordinates, rig.stats
    for payload in answers:
        rig.sent()
        seq_no = None
        while seq_no is None:
            rig.advance(0.1)
            seq_no = next((m.seq_no for m, _ in rig.sent() if isinstance(m, Ping)), None)
        before, dropped = pool.own, stats["coordinates_refused"]
        others = stats["coordinates_of_other_versions"]
        rig.advance(rtt)
        rig.hear(Ack(seq_no, payload), source=address_of("ann"))

        check(pool.own)
        counted = stats["coordinates_refused"] - dropped
        counted += stats["coordinates_of_other_versions"] - others
        assert pool.own is not before or counted == 1 or not payload or pool.resets
        assert decode_coordinate(pool.ack_payload()) == pool.own
        assert set(pool.all()) <= {"me", "ann"}
