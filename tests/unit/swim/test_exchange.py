"""TCP conversations: both ends of push/pull, the fallback ping, user messages, and all that breaks them."""

from __future__ import annotations

import random
from typing import Any

import pytest

from gossip.swim.exchange import Exchange, PingExchange, PushPullExchange
from gossip.swim.members import Status
from gossip.wire.keyring import Keyring
from gossip.wire.messages import Ack, ErrorReply, Message, Ping, PushPull, PushPullNode, UserMessage
from gossip.wire.packet import LayerSettings
from gossip.wire.stream import StreamCodec
from tests.rigs import PORT, STRANGER, VSN, SwimRig, address_of, ip_of, read_stream

KEY, OTHER_KEY = bytes(range(16)), bytes(16)


def row(name: str, state: int = Status.ALIVE, **fields: Any) -> PushPullNode:
    given: dict[str, Any] = {"addr": ip_of(name), "port": PORT, "meta": b"", "vsn": VSN}
    return PushPullNode(name=name, state=state, incarnation=1, **(given | fields))


def codec(*, key: bytes | None = None, label: str = "", compress: bool = False) -> StreamCodec:
    dice = random.Random(1)
    keyring = Keyring([key] if key else [])
    return StreamCodec(
        keyring=keyring, label=label, compress=compress, new_nonce=lambda: dice.randbytes(12)
    )


def accepted(rig: SwimRig) -> Exchange:
    exchange = rig.m.accept(STRANGER, rig.now)
    assert exchange is not None
    return exchange


def ended(exchange: Exchange) -> list[tuple[bool, str | None]]:
    """Collects how the exchange ends, each time it says so."""
    ends: list[tuple[bool, str | None]] = []
    exchange.on_done(lambda done, _now: ends.append((done.done, done.error)))
    return ends


def dialed(rig: SwimRig, *, join: bool = True, ignore_old: bool = False) -> PushPullExchange:
    exchange = rig.m.state_exchange.dial(
        address_of("ann"), rig.now, join=join, ignore_old=ignore_old
    )
    assert exchange in rig.dials()
    return exchange


def give(exchange: Exchange, rig: SwimRig, message: Message) -> None:
    """The peer sends a message."""
    encoded = message.encode_stream() if isinstance(message, UserMessage) else message.encode()
    exchange.receive_data(rig.stream_codec.encode(encoded, dialer=not exchange.dialer), rig.now)


# The end that dials


def test_our_state_goes_out_once_when_the_connection_is_open() -> None:
    rig = SwimRig()
    exchange = dialed(rig)
    before = exchange.data_to_send()

    exchange.connected(rig.now)

    sent = read_stream(rig.stream_codec, exchange.data_to_send(), dialer=False)
    assert before == b""
    assert sent == PushPull(True, [row("me")], b"")
    assert exchange.data_to_send() == b""


def test_the_answer_is_merged_and_ends_it() -> None:
    rig = SwimRig()
    exchange = dialed(rig, ignore_old=True)
    ends = ended(exchange)
    exchange.connected(rig.now)

    give(exchange, rig, PushPull(True, [row("ann")], b"clocks"))

    assert rig.status("ann") is Status.ALIVE
    assert rig.delegate.merged == [(b"clocks", True, True)]
    assert ends == [(True, None)]


def test_the_answer_may_come_byte_by_byte() -> None:
    rig = SwimRig()
    exchange = dialed(rig)
    exchange.connected(rig.now)
    answer = rig.stream_codec.encode(PushPull(True, [row("ann")], b"xyz").encode(), dialer=False)

    for position in range(len(answer)):
        assert not exchange.done
        exchange.receive_data(answer[position : position + 1], rig.now)

    assert exchange.done
    assert exchange.error is None


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (ErrorReply("no room"), "the peer refused: no room"),
        (Ack(1), "unexpected answer of type Ack"),
        (PushPull(True, [row("ann", vsn=bytes(6))], b""), "member 'ann' speaks memberlist 0 and"),
    ],
)
def test_any_other_answer_is_an_error_and_nothing_is_merged(answer: Message, error: str) -> None:
    rig = SwimRig()
    exchange = dialed(rig)
    exchange.connected(rig.now)

    give(exchange, rig, answer)

    assert exchange.done
    assert exchange.error is not None
    assert exchange.error.startswith(error)
    assert len(rig.m.table) == 1


def test_each_step_has_the_whole_timeout_for_itself() -> None:
    rig = SwimRig(tcp_timeout=10.0)
    exchange = dialed(rig)
    to_connect = exchange.deadline

    exchange.connected(rig.now + 7)

    assert (to_connect, exchange.deadline) == (110.0, 117.0)


def test_a_deadline_that_passes_ends_it() -> None:
    rig = SwimRig()
    exchange = dialed(rig)
    ends = ended(exchange)

    exchange.handle_timeout(rig.now + 10)

    assert ends == [(True, "timed out")]


@pytest.mark.parametrize("received", [0, 1, 20])
def test_a_peer_that_closes_early_ends_it(received: int) -> None:
    rig = SwimRig()
    exchange = dialed(rig)
    exchange.connected(rig.now)
    answer = rig.stream_codec.encode(PushPull(True, [row("ann")], b"").encode(), dialer=False)
    exchange.receive_data(answer[:received], rig.now)

    exchange.receive_eof(rig.now)

    assert exchange.error == "the peer closed the connection"
    assert len(rig.m.table) == 1


def test_a_closed_connection_after_the_answer_is_no_error() -> None:
    rig = SwimRig()
    exchange = dialed(rig)
    exchange.connected(rig.now)
    give(exchange, rig, PushPull(True, [row("ann")], b""))

    exchange.receive_eof(rig.now)
    exchange.fail("reset", rig.now)
    exchange.handle_timeout(rig.now)

    assert exchange.error is None


def test_it_ends_once_whatever_follows() -> None:
    rig = SwimRig()
    exchange = dialed(rig)
    ends = ended(exchange)

    exchange.fail("refused", rig.now)
    exchange.fail("again", rig.now)
    exchange.connected(rig.now)
    give(exchange, rig, PushPull(True, [row("ann")], b""))

    assert ends == [(True, "refused")]
    assert rig.status("ann") is None


def test_garbage_in_an_answer_is_counted_and_not_answered() -> None:
    rig = SwimRig()
    exchange = dialed(rig)
    exchange.connected(rig.now)
    exchange.data_to_send()

    exchange.receive_data(b"\x06\xc1", rig.now)

    assert exchange.error is not None
    assert rig.stats["streams_refused_pushPull"] == 1
    assert exchange.data_to_send() == b""


# The fallback ping


def tcp_ping(rig: SwimRig) -> PingExchange:
    return PingExchange(rig.m, address_of("ann"), rig.now + 1, Ping(7, "ann").encode(), 7)


def test_the_ping_keeps_the_deadline_of_its_probe() -> None:
    rig = SwimRig()
    exchange = tcp_ping(rig)

    exchange.connected(rig.now + 0.9)

    assert exchange.deadline == rig.now + 1
    assert read_stream(rig.stream_codec, exchange.data_to_send(), dialer=False) == Ping(7, "ann")


def test_only_the_ack_of_this_ping_is_an_answer() -> None:
    rig = SwimRig()
    exchange = tcp_ping(rig)

    give(exchange, rig, Ack(7))

    assert exchange.answered
    assert exchange.error is None


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Ack(8), "the answer is no ack of our ping"),
        (ErrorReply("busy"), "the peer refused: busy"),
        (PushPull(False, [], b""), "the answer is no ack of our ping"),
    ],
)
def test_other_answers_to_a_ping_are_errors(answer: Message, error: str) -> None:
    rig = SwimRig()
    exchange = tcp_ping(rig)

    give(exchange, rig, answer)

    assert not exchange.answered
    assert exchange.error == error


# The end that accepts


@pytest.mark.parametrize("join", [False, True])
def test_a_state_is_answered_with_ours_and_the_same_flag_and_then_merged(*, join: bool) -> None:
    rig = SwimRig()
    rig.delegate.state = b"ours"
    exchange = accepted(rig)

    give(exchange, rig, PushPull(join, [row("ann")], b"theirs"))

    answer = read_stream(rig.stream_codec, exchange.data_to_send(), dialer=True)
    assert answer == PushPull(join, [row("me")], b"ours")  # as it was before
    assert rig.status("ann") is Status.ALIVE
    assert rig.delegate.merged == [(b"theirs", join, False)]
    assert exchange.done
    assert exchange.error is None


def test_a_state_that_we_refuse_is_answered_too() -> None:
    rig = SwimRig()
    rig.delegate.refused["ann"] = "not ours"
    exchange = accepted(rig)

    give(exchange, rig, PushPull(True, [row("ann")], b""))

    assert isinstance(read_stream(rig.stream_codec, exchange.data_to_send(), dialer=True), PushPull)
    assert exchange.error == "not ours"
    assert rig.status("ann") is None


@pytest.mark.parametrize("node", ["me", ""])
def test_a_ping_is_acked_on_the_same_connection_without_a_payload(node: str) -> None:
    rig = SwimRig()
    rig.delegate.payload = b"coordinate"
    exchange = accepted(rig)

    give(exchange, rig, Ping(7, node))

    assert read_stream(rig.stream_codec, exchange.data_to_send(), dialer=True) == Ack(7)
    assert exchange.done


def test_a_ping_for_another_name_is_not_answered() -> None:
    rig = SwimRig()
    exchange = accepted(rig)

    give(exchange, rig, Ping(7, "somebody"))

    assert exchange.data_to_send() == b""
    assert exchange.error == "ping for 'somebody'"


def test_a_user_message_reaches_the_layer_above_and_is_not_answered() -> None:
    rig = SwimRig()
    exchange = accepted(rig)

    give(exchange, rig, UserMessage(b"x" * 5000))

    assert rig.delegate.messages == [(b"x" * 5000, None)]
    assert exchange.data_to_send() == b""
    assert exchange.done


def test_an_error_from_a_dialer_ends_it_unanswered() -> None:
    rig = SwimRig()
    exchange = accepted(rig)

    give(exchange, rig, ErrorReply("nothing works"))

    assert exchange.error == "the peer reports: nothing works"
    assert exchange.data_to_send() == b""


@pytest.mark.parametrize(
    ("data", "layer"),
    [
        (b"\x06\xc1", "pushPull"),
        (b"\x63", "stream"),
        (b"\x06\x83\xa5Nodes\xd2\x7f\xff\xff\xff\xacUserStateLen\0\xa4Join\xc2", "pushPull"),
        (b"\x06\x83\xa5Nodes\xff\xacUserStateLen\0\xa4Join\xc2", "pushPull"),
        (b"\x08\x81\xaaUserMsgLen\xce\x01\x40\x00\x01", "user"),
        (b"\xf4\x02ab", "label"),
        (b"\x0a\0\0\0\x20", "encrypt"),
    ],
)
def test_r27_what_does_not_parse_or_announces_too_much_is_refused_at_once(
    data: bytes, layer: str
) -> None:
    rig = SwimRig()
    exchange = accepted(rig)

    exchange.receive_data(data, rig.now)

    assert exchange.done
    assert rig.stats[f"streams_refused_{layer}"] == 1
    reply = exchange.data_to_send()
    if layer in {"label", "stream"}:
        assert reply == b""  # as in memberlist
    else:
        assert read_stream(rig.stream_codec, reply, dialer=True) == ErrorReply(exchange.error or "")


def test_the_acceptor_waits_for_a_dialer_no_longer_than_the_timeout() -> None:
    rig = SwimRig(tcp_timeout=10.0)
    exchange = accepted(rig)
    data = rig.stream_codec.encode(PushPull(True, [row("ann")], b"").encode(), dialer=True)

    for position in range(9):  # a byte now and then does not buy time
        rig.now += 1
        exchange.receive_data(data[position : position + 1], rig.now)

    assert not exchange.done
    assert exchange.deadline == 110.0


def test_r52_connections_over_the_limit_are_closed_and_counted() -> None:
    rig = SwimRig(max_streams=3)
    exchanges = [rig.m.accept(STRANGER, rig.now) for _ in range(5)]

    opened = [exchange for exchange in exchanges if exchange is not None]
    assert len(opened) == 3
    assert rig.stats["streams_over_limit"] == 2


@pytest.mark.parametrize("end", ["timeout", "eof", "answered", "garbage"])
def test_r52_every_way_to_end_makes_room_again(end: str) -> None:
    rig = SwimRig(max_streams=1)
    exchange = accepted(rig)

    match end:
        case "timeout":
            exchange.handle_timeout(rig.now)
        case "eof":
            exchange.receive_eof(rig.now)
        case "answered":
            give(exchange, rig, Ping(7, "me"))
        case _:
            exchange.receive_data(b"\xff", rig.now)

    assert rig.m.accept(STRANGER, rig.now) is not None
    assert rig.m.accept(STRANGER, rig.now) is None


# Layers


def test_a_large_compressed_state_is_unpacked_in_slices() -> None:
    rig = SwimRig()
    exchange = accepted(rig)
    dice = random.Random(1)
    rows = [row(f"node-{number}", meta=dice.randbytes(80)) for number in range(3_000)]
    data = codec(compress=True).encode(PushPull(False, rows, b"").encode(), dialer=True)

    exchange.receive_data(data, rig.now)
    slices = 0
    while exchange.busy:
        exchange.work(rig.now)
        slices += 1

    assert slices > 3
    assert exchange.error is None
    assert len(rig.m.table) == 3_001


def test_a_peer_that_closes_after_sending_a_large_state_is_heard_to_the_end() -> None:
    rig = SwimRig()
    exchange = accepted(rig)
    rows = [row(f"node-{number}", meta=bytes(300)) for number in range(1_000)]
    data = codec(compress=True).encode(PushPull(False, rows, b"").encode(), dialer=True)
    exchange.receive_data(data, rig.now)

    exchange.receive_eof(rig.now)

    assert exchange.error is None
    assert len(rig.m.table) == 1_001


@pytest.mark.parametrize(
    ("ours", "theirs", "error"),
    [
        ({"key": KEY}, {}, "Encryption is configured but remote state is not encrypted"),
        ({}, {"key": KEY}, "Remote state is encrypted and encryption is not configured"),
        ({"key": KEY}, {"key": OTHER_KEY}, "No installed keys could decrypt the message"),
        ({"label": "east"}, {}, "label: b'' is not b'east'"),
        ({"label": "east"}, {"label": "west"}, "label: b'west' is not b'east'"),
        ({}, {"label": "west"}, "label: b'west' is not b''"),
    ],
)
def test_r24_states_of_another_pool_are_refused(
    ours: dict[str, Any], theirs: dict[str, Any], error: str
) -> None:
    keys = (ours["key"],) if "key" in ours else ()
    rig = SwimRig(keys=keys, label=ours.get("label", ""))
    exchange = accepted(rig)
    data = codec(**theirs).encode(PushPull(True, [row("ann")], b"").encode(), dialer=True)

    exchange.receive_data(data, rig.now)

    assert error in (exchange.error or "")
    assert len(rig.m.table) == 1


@pytest.mark.parametrize(
    "settings", [{"key": KEY}, {"label": "east"}, {"key": KEY, "label": "east"}]
)
def test_states_of_the_same_pool_pass(settings: dict[str, Any]) -> None:
    keys = (settings["key"],) if "key" in settings else ()
    rig = SwimRig(keys=keys, label=settings.get("label", ""))
    exchange = accepted(rig)
    peer = codec(**settings)
    assert isinstance(peer, LayerSettings)

    exchange.receive_data(
        peer.encode(PushPull(True, [row("ann")], b"").encode(), dialer=True), rig.now
    )

    assert exchange.error is None
    answer = read_stream(peer, exchange.data_to_send(), dialer=True)
    assert isinstance(answer, PushPull)
