"""Our own tags, and the mark by which our nodes know one another."""

from __future__ import annotations

import pytest

from gossip.errors import ConfigError
from gossip.serf.tags import encode_own_tags, is_our_kind
from gossip.wire.serf import decode_tags, encode_tags


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 40])
def test_our_tags_read_back_and_carry_our_mark(count: int) -> None:
    tags = {f"key-{number}": str(number) for number in range(count)}

    meta = encode_own_tags(tags)

    assert decode_tags(meta) == tags
    assert is_our_kind(meta)


@pytest.mark.parametrize("count", [0, 1, 16])
def test_tags_of_genuine_members_do_not_carry_it(count: int) -> None:
    assert not is_our_kind(encode_tags({str(number): "" for number in range(count)}))


@pytest.mark.parametrize("meta", [b"", b"role", b"\xff"])
def test_neither_does_anything_else(meta: bytes) -> None:
    assert not is_our_kind(meta)


def test_r30_tags_may_have_512_bytes_and_not_one_more() -> None:
    overhead = len(encode_own_tags({"k": "v" * 300})) - 300

    assert len(encode_own_tags({"k": "v" * (512 - overhead)})) == 512
    with pytest.raises(ConfigError, match="tags of 513 bytes, encoded, exceed the limit of 512"):
        encode_own_tags({"k": "v" * (513 - overhead)})
