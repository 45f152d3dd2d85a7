"""Tags of our own, and how our nodes know one another.

Tags travel as a msgpack map in the member's meta. A genuine agent writes the shortest map header; we
write the longest (``map 32``), which every decoder reads alike and nobody passes on changed. So a member
of our kind is known without a tag that users would see. It matters where genuine agents have to be
waited for: see `gossip.serf.leave`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossip.errors import ConfigError, WireError
from gossip.wire.limits import META_MAX
from gossip.wire.values import decode_tags, encode_tags

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["encode_own_tags", "is_our_kind", "tags_of"]

OUR_HEADER = b"\xff\xdf"
FIXMAP_LIMIT = 16


def encode_own_tags(tags: Mapping[str, str]) -> bytes:
    """Our meta.

    Raises:
        ConfigError: it exceeds 512 bytes.
    """
    plain = encode_tags(dict(tags))
    header = 2 if len(tags) < FIXMAP_LIMIT else 4  # magic and fixmap, or magic and map 16
    meta = OUR_HEADER + len(tags).to_bytes(4, "big") + plain[header:]
    if len(meta) > META_MAX:
        raise ConfigError(f"tags of {len(meta)} bytes, encoded, exceed the limit of {META_MAX}")
    return meta


def tags_of(meta: bytes) -> dict[str, str]:
    """A member's tags; none when they do not parse, which must not keep the member out."""
    try:
        return decode_tags(meta)
    except WireError:
        return {}


def is_our_kind(meta: bytes) -> bool:
    """Whether a member with this meta runs this software."""
    return meta[:2] == OUR_HEADER
