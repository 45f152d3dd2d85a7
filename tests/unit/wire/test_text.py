"""Names are text by convention only: whatever bytes they have come back as they were."""

from __future__ import annotations

from gossip.wire.messages import Suspect, decode_message
from gossip.wire.values import decode_tags, encode_tags


def test_h9_a_name_that_is_not_utf8_round_trips() -> None:
    encoded = Suspect(1, "n\udcff", "m\udc80").encode()

    assert b"n\xff" in encoded
    assert decode_message(encoded) == Suspect(1, "n\udcff", "m\udc80")


def test_h9_tags_that_are_not_utf8_round_trip() -> None:
    tags = {"k\udcfe": "v\udcff"}

    assert decode_tags(encode_tags(tags)) == tags
