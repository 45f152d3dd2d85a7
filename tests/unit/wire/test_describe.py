"""Descriptions for people: total, and honest about what was left out."""

from __future__ import annotations

import json

import pytest

from gossip.errors import WireError
from gossip.wire.codec import pack, pack_large
from gossip.wire.describe import describe_packet, describe_stream
from gossip.wire.messages import Ack, Alive, Ping, PushPull, PushPullNode, UserMessage
from gossip.wire.serf import JoinIntent, Query, QueryResponse, Relay, StateSync
from gossip.wire.values import NodeFilter
from tests.wire_helpers import KEY, OTHER_KEY, packet_codec, stream_codec

ADDR = b"\x0a\x00\x00\x01"
PING = Ping(1, "b").encode()


def user(payload: bytes) -> bytes:
    return UserMessage(payload).encode()


def test_keys_are_tried_and_layers_named() -> None:
    (packet,) = packet_codec(OTHER_KEY, label="prod").encode([PING, PING], crc=True)
    described = describe_packet(packet, keys=[KEY, OTHER_KEY], label="prod")
    assert described["layers"] == ["label", "encrypt-v1", "crc32", "compound"]
    assert (
        described["messages"]
        == [
            {"type": 0, "name": "ping", "body": {"Node": "b", "SeqNo": 1}},
        ]
        * 2
    )


def test_parts_that_were_left_out_are_counted() -> None:
    described = describe_packet(b"\x07\x02\x00\x02\xff\xff" + PING[:0] + b"\x0b\x80")
    assert described["messages"] == [{"type": 11, "name": "nackResp", "body": {}}]
    assert described["dropped_parts"] == 1


def test_relayed_message_is_shown_one_level_deep() -> None:
    relay = Relay(ADDR, 7946, "b", QueryResponse(1, 2, "a", 1, b"").encode())
    (message,) = describe_packet(user(relay.encode()))["messages"]
    assert message["body"] == {
        "DestAddr": {"IP": "0a000001", "Port": 7946, "Zone": ""},
        "DestName": "b",
    }
    assert message["relayed"]["serf_name"] == "queryResponse"

    packet = JoinIntent(1, "a").encode()
    for _ in range(500):
        packet = Relay(ADDR, 7946, "", packet).encode()
    (message,) = describe_packet(user(packet))["messages"]
    assert isinstance(message["relayed"], str)


def test_filters_and_answers_are_decoded_where_they_are_serfs() -> None:
    query = Query(1, 2, ADDR, 7946, "a", [NodeFilter(["a"]).encode()], 0, 0, 5, "q", b"\x07x")
    (message,) = describe_packet(user(query.encode()))["messages"]
    assert message["filters_decoded"] == [{"type": 0, "body": ["a"]}]
    assert "payload_decoded" not in message

    answer = QueryResponse(1, 2, "a", 0, b"\x06 is how this answer begins")
    (message,) = describe_packet(user(answer.encode()))["messages"]
    assert "payload_decoded" not in message


def test_event_slots_are_shown_by_their_index() -> None:
    state = StateSync(1, {"a": 1}, ["b"], 2, [(5, [("deploy", b"\x01")])], 3)
    data = PushPull(False, [], state.encode(slots=8)).encode()
    described = describe_stream(data)
    body = described["messages"][0]["user_state"]["body"]
    entry = {"Events": [{"Name": "deploy", "Payload": "01"}], "LTime": 5}
    assert body["Events"] == {"slots": 8, "non_nil": {"5": entry}}
    assert body["LeftMembers"] == ["b"]
    assert body["StatusLTimes"] == {"a": 1}


def test_state_of_many_members_is_described() -> None:
    state = StateSync(1, {}, [f"n{i}" for i in range(2000)], 2, [(i, []) for i in range(2000)], 3)
    node = PushPullNode("b", ADDR, 7946, b"\xff\x80", 1, 0, bytes(6))
    described = describe_stream(PushPull(True, [node] * 2000, state.encode()).encode())
    (message,) = described["messages"]
    assert len(message["nodes"]) == 2000
    assert len(message["user_state"]["body"]["LeftMembers"]) == 2000


def test_state_without_user_state_has_none() -> None:
    (message,) = describe_stream(PushPull(True, [], b"").encode())["messages"]
    assert message == {
        "type": 6,
        "name": "pushPull",
        "header": {"Join": True, "Nodes": 0, "UserStateLen": 0},
        "nodes": [],
    }


def test_other_agents_coordinates_are_left_as_bytes() -> None:
    (message,) = describe_packet(Ack(1, b"\x02xyz").encode())["messages"]
    assert message["body"]["Payload"] == "0278797a"
    assert "payload_decoded" not in message


def test_legacy_meta_is_a_role() -> None:
    alive = Alive(1, "b", ADDR, 7946, b"web", bytes(6)).encode()
    assert describe_packet(alive)["messages"][0]["tags"] == {"role": "web"}


def test_everything_can_be_written_as_json() -> None:
    odd = {
        "Node": b"\xff\xfe",
        "SeqNo": 1,
        "SourceAddr": [1, 2, 3, 4],
        "Addr": ["x", 2**40],
        "deep": None,
        "float": 1.5,
        "new": {"a": [b"\xff"]},
    }
    nested = pack_large(odd).replace(b"deep\xc0", b"deep" + b"\x91" * 400 + b"\x01")
    described = describe_packet(b"\x00" + nested)
    text = json.dumps(described)
    body = json.loads(text)["messages"][0]["body"]
    assert body["SourceAddr"] == "01020304"
    assert body["Node"].encode("utf-8", "surrogateescape") == b"\xff\xfe"
    assert "..." in text


def test_values_of_the_new_specification_are_shown_somehow() -> None:
    data = b"\x00\x81\xa3new\xd4\x05\x01"
    assert "ExtType" in describe_packet(data)["messages"][0]["body"]["new"]


@pytest.mark.parametrize(
    ("data", "layer"),
    [
        (b"", "packet"),
        (b"\x0c\x00\x00\x00\x00\x08", "crc32"),
        (b"\xf4\x03ab", "label"),
        (b"\x08", "serf"),
        (b"\x08\x63", "serf"),
        (b"\x08\x03\x81", "userEvent"),
        (b"\x02" + pack({"Payload": b"\x01\x81"}), "coordinate"),
        (b"\x04" + pack({"Node": "b", "Meta": b"\xff\x81"}), "tags"),
    ],
)
def test_bad_packet_is_refused_with_layer_and_offset(data: bytes, layer: str) -> None:
    with pytest.raises(WireError) as refusal:
        describe_packet(data)
    assert refusal.value.layer == layer
    assert 0 <= refusal.value.offset <= len(data)


def test_bad_stream_is_refused_with_layer_and_offset() -> None:
    whole = stream_codec(KEY).encode(Ack(1).encode(), dialer=True)
    for data, layer in ((b"", "stream"), (whole[:-1], "stream"), (whole[:-1] + b"x", "encrypt")):
        with pytest.raises(WireError) as refusal:
            describe_stream(data, keys=[KEY])
        assert refusal.value.layer == layer
