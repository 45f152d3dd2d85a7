"""R-28: each file of the corpus is one way in which a peer's bytes once did harm, or could."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gossip.errors import WireError
from gossip.wire.messages import decode_message
from gossip.wire.stream import StreamReader
from tests.wire_helpers import DATA, keys_of, packet_codec, read_all, stream_codec

CORPUS = sorted((DATA / "malformed").glob("*.json"))


def load(name: str) -> tuple[dict[str, Any], bytes]:
    case: dict[str, Any] = json.loads((DATA / "malformed" / f"{name}.json").read_text())
    return case, bytes.fromhex(case["hex"])


def names(transport: str, *, refused: bool) -> list[str]:
    cases = ((path.stem, json.loads(path.read_text())) for path in CORPUS)
    return [
        name
        for name, case in cases
        if case["transport"] == transport and bool(case["refused_by"]) == refused
    ]


def test_r28_corpus_is_there() -> None:
    assert len(CORPUS) >= 40


@pytest.mark.parametrize("name", names("udp", refused=True))
def test_r28_packet_is_refused_by_the_layer_at_fault(name: str) -> None:
    case, data = load(name)
    codec = packet_codec(*keys_of(case))

    with pytest.raises(WireError) as refusal:
        _ = [decode_message(leaf) for leaf in codec.decode(data)]

    assert refusal.value.layer == case["refused_by"]
    assert 0 <= refusal.value.offset <= len(data)


@pytest.mark.parametrize("name", names("udp", refused=False))
def test_r28_packet_is_used_as_far_as_it_is_good(name: str) -> None:
    case, data = load(name)
    codec = packet_codec()

    assert [decode_message(leaf) for leaf in codec.decode(data)]
    assert codec.dropped_parts == case.get("dropped_parts", 0)


@pytest.mark.parametrize("name", names("tcp", refused=True))
def test_r28_stream_is_refused_by_the_layer_at_fault(name: str) -> None:
    case, data = load(name)
    reader = StreamReader(stream_codec(*keys_of(case)), dialer=False)

    with pytest.raises(WireError) as refusal:
        read_all(reader, [data])

    assert refusal.value.layer == case["refused_by"]
    assert reader.done
