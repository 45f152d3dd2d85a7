"""Inputs are total: nothing from the network raises, every drop is counted, bounds hold (S13, S20)."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossip.serf.queries import MAX_IDS_PER_TIME
from gossip.serf.ring import MAX_BUFFERED_EVENTS
from gossip.swim.probe import MAX_RELAYED_PINGS
from gossip.wire.messages import (
    Ack,
    Alive,
    Dead,
    ErrorReply,
    IndirectPing,
    Message,
    Nack,
    Ping,
    PushPull,
    PushPullNode,
    Suspect,
    UserMessage,
)
from gossip.wire.serf import (
    JoinIntent,
    KeyRequest,
    LeaveIntent,
    Query,
    QueryResponse,
    Relay,
    SerfMessage,
    StateSync,
    UserEvent,
    encode_tags,
)
from gossip.wire.values import NodeFilter, TagFilter
from tests import strategies as wire
from tests.rigs import PORT, VSN, NodeRig, address_of, alive, ip_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gossip.events import Member

FEW = settings(max_examples=100, deadline=None)

# Well-formed and hostile: names that exist, numbers at every edge, addresses of every kind.

names = st.sampled_from(["me", "ann", "bob", "new", "", "x" * 255, "\udcff", "a b\n"])
u32s = st.sampled_from([0, 1, 2, 3, 2**31, 2**32 - 2, 2**32 - 1])
u64s = st.sampled_from([0, 1, 2, 5, 600, 2**32, 2**32 + 1, 2**63 - 1, 2**63, 2**64 - 1])
ports = st.sampled_from([0, 1, PORT, 65535])
addrs = st.sampled_from([
    b"", b"\x0a", bytes(4), ip_of("me"), ip_of("ann"), ip_of("new"), b"\xe0\0\0\1", b"\xff" * 4,
    bytes(16), bytes(15) + b"\1", b"\xff\2" + bytes(14), bytes(10) + b"\xff\xff" + ip_of("ann"),
])  # fmt: skip
metas = st.sampled_from([
    b"", b"\xff", b"\xff\xc1", b"\xff\xdf\xff\xff\xff\xff", b"role", bytes(512), b"\xff\x80",
    encode_tags({"dc": "east"}), encode_tags({"\udcff": "\udcff"}),
])  # fmt: skip
vsns = st.sampled_from([VSN, b"", bytes(6), VSN[:5], VSN + bytes(2000), bytes((5, 1, 2, 2, 5, 5))])
payloads = st.sampled_from([b"", b"x", bytes(1500), b"me", b"ann", b"\xff\xfe"])
filters = st.sampled_from([
    b"", b"\x00\xc1", b"\x01\x80", b"\x07", NodeFilter(["me"]).encode(),
    TagFilter("dc", "(").encode(), TagFilter("\udcff", "\udcff").encode(),
    TagFilter("dc", "(a*)*b").encode(), TagFilter("", "").encode(),
])  # fmt: skip

serf_leaves: st.SearchStrategy[SerfMessage] = st.one_of(
    st.builds(JoinIntent, u64s, names),
    st.builds(LeaveIntent, u64s, names, st.booleans()),
    st.builds(UserEvent, u64s, names, payloads, st.booleans()),
    st.builds(
        Query, u64s, u32s, addrs, ports, names, st.lists(filters, max_size=3), u32s,
        st.sampled_from([0, 1, 3, 255]), st.just(0),
        st.sampled_from([
            "_serf_ping", "_serf_conflict", "_serf_list-keys", "_serf_install-key", "_serf_use-key",
            "_serf_remove-key", "_serf_", "uptime",
        ]),
        st.one_of(payloads, st.sampled_from([KeyRequest(bytes(16)).encode(), b"\x07", b"\x06\xc0"])),
    ),
    st.builds(QueryResponse, u64s, u32s, names, u32s, payloads),
)  # fmt: skip
syncs = st.builds(
    StateSync, u64s, st.dictionaries(names, u64s, max_size=4), st.lists(names, max_size=4), u64s,
    st.lists(st.tuples(u64s, st.lists(st.tuples(names, payloads), max_size=3)), max_size=4), u64s,
)  # fmt: skip
serf_messages = st.one_of(
    serf_leaves,
    syncs,
    st.builds(
        lambda a, p, n, inner: Relay(a, p, n, inner.encode()), addrs, ports, names, serf_leaves
    ),
    wire.serf_messages,
)
messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(Ping, u32s, names, addrs, ports, names),
    st.builds(IndirectPing, u32s, addrs, ports, names, st.booleans(), addrs, ports, names),
    st.builds(Ack, u32s, payloads),
    st.builds(Nack, u32s),
    st.builds(Suspect, u32s, names, names),
    st.builds(Dead, u32s, names, names),
    st.builds(Alive, u32s, names, addrs, ports, metas, vsns),
    st.builds(lambda message: UserMessage(message.encode()), serf_messages),
    wire.packet_messages,
)
rows = st.builds(PushPullNode, names, addrs, ports, metas, u32s, st.integers(0, 3), vsns)
states = st.builds(
    PushPull,
    st.booleans(),
    st.lists(rows, max_size=5),
    st.one_of(
        st.just(b""),
        payloads,
        syncs.map(lambda s: s.encode()),
        serf_leaves.map(lambda s: s.encode()),
    ),
)
stream_messages: st.SearchStrategy[Message] = st.one_of(
    states, wire.stream_messages, st.builds(ErrorReply, names), st.builds(Ping, u32s, names)
)
sources = st.sampled_from([address_of("ann"), address_of("new"), ("192.0.2.1", 1)])


def encoded(message: Message) -> bytes:
    return message.encode_stream() if isinstance(message, UserMessage) else message.encode()


def node_rig(**settings: Any) -> NodeRig:
    """A node with two members, where every layer above is asked something."""

    def admit(members: Sequence[Member]) -> str | None:
        return "refused" if any(m.tags.get("dc") == "west" for m in members) else None

    rig = NodeRig(admit=admit, **settings)
    rig.learn("ann", "bob")
    return rig


def check_bounds(rig: NodeRig) -> None:
    """S13: whatever can grow is within its bound; S6: we are still there."""
    node, membership = rig.node, rig.m
    assert len(node.intents.early) <= 16384
    assert node.ring._count <= MAX_BUFFERED_EVENTS
    assert len(membership.prober._relayed) <= MAX_RELAYED_PINGS
    assert all(len(queue) <= 4096 for queue in membership.dissemination.queues)
    assert len(membership._notices) <= 64
    assert all(slot is None or len(slot[1]) <= MAX_IDS_PER_TIME for slot in node.queries._seen)
    assert membership.own.info.addr == ip_of("me")
    assert node.members.get("me") is not None
    assert max(c.time for c in (node.member_clock, node.event_clock, node.query_clock)) < 2**40
    for data, (host, port) in node.take_packets():
        assert 0 < len(data) <= 65_507
        assert 1 <= port <= 65535
        assert host not in {"0.0.0.0", "::", "255.255.255.255"}
        assert not host.startswith(("224.", "ff"))


@given(packets=st.lists(st.tuples(st.binary(max_size=120), sources), max_size=8))
@FEW
def test_s20_any_bytes_are_survived_and_counted(packets: list[tuple[bytes, Any]]) -> None:
    rig = node_rig()
    for data, source in packets:
        before = sum(rig.stats.values())
        rig.node.receive_packet(data, source, rig.now)
        silent = data[:1] in {b"\x00", b"\x01", b"\x03", b"\x05"}  # may be a genuine message
        assert silent or sum(rig.stats.values()) > before
    check_bounds(rig)


@given(steps=st.lists(st.one_of(st.tuples(messages, sources), st.floats(0.05, 10.0)), max_size=20))
@FEW
def test_s20_g24_well_formed_hostile_packets_are_survived(steps: list[Any]) -> None:
    rig = node_rig(coalesce_period=1.0)
    for step in steps:
        if isinstance(step, float):
            rig.advance(step)
        else:
            rig.hear(step[0], source=step[1])
        check_bounds(rig)
        rig.node.take_events()
        rig.node.take_dials()
    rig.advance(60)
    check_bounds(rig)


@given(
    message=st.one_of(stream_messages.map(encoded), st.binary(max_size=200)),
    cuts=st.lists(st.integers(0, 400), max_size=4),
)
@FEW
def test_s20_an_inbound_stream_of_anything_ends_well(message: bytes, cuts: list[int]) -> None:
    rig = node_rig()
    exchange = rig.node.accept(("192.0.2.1", 1), rig.now)
    assert exchange is not None
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(message)], strict=True):
        exchange.receive_data(message[start:end], rig.now)
        while exchange.busy:
            exchange.work(rig.now)
    exchange.receive_eof(rig.now)

    assert exchange.done
    assert rig.m._inbound == 0
    rig.advance(30)
    check_bounds(rig)


@given(
    kind=st.sampled_from(["join", "anti-entropy", "ping"]),
    message=st.one_of(stream_messages.map(encoded), st.binary(max_size=200)),
)
@FEW
def test_s20_a_dialed_stream_answered_with_anything_ends_well(kind: str, message: bytes) -> None:
    rig = node_rig()
    if kind == "join":
        (exchange,) = rig.node.join([address_of("ann")], rig.now)
    elif kind == "anti-entropy":
        exchange = rig.m.state_exchange.dial(address_of("ann"), rig.now, join=False)
    else:
        rig.advance(3)
        exchange = rig.node.take_dials()[0]
    exchange.connected(rig.now)

    exchange.receive_data(message, rig.now)
    while exchange.busy:
        exchange.work(rig.now)
    exchange.receive_eof(rig.now)

    assert exchange.done
    rig.advance(30)
    check_bounds(rig)


@pytest.mark.parametrize("seed", range(4))
def test_s13_a_flood_of_invented_members_intents_and_events_stays_within_bounds(seed: int) -> None:
    rig = node_rig()
    dice = random.Random(seed)
    for number in range(6_000):
        name = f"node-{dice.randrange(10**6)}"
        ltime = max(rig.node.event_clock.time + dice.randrange(-3, 2), 1)
        message: Message
        match number % 3:
            case 0:
                message = UserMessage(LeaveIntent(dice.randrange(1, 99), name).encode())
            case 1:
                message = UserMessage(UserEvent(ltime, name, b"", coalesce=True).encode())
            case _:
                message = alive(name) if number < 900 else Suspect(1, name, "ann")
        rig.hear(message)
        if number % 500 == 0:
            rig.advance(0.2)
            check_bounds(rig)
    rig.advance(5)
    check_bounds(rig)


def test_s13_without_any_input_nothing_is_held_for_ever() -> None:
    rig = node_rig()
    for number in range(50):
        rig.hear(UserMessage(LeaveIntent(5, f"node-{number}").encode()), IndirectPing(number, ip_of("x"), PORT, "x", True))  # fmt: skip

    rig.advance(400)

    assert len(rig.node.intents.early) == 0
    assert len(rig.m.prober._relayed) == 0
    assert len(rig.m.dissemination) == 0
    assert len(rig.m.timers) < 10
