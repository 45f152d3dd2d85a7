"""Every bound on what arrives from the network, in one table.

A peer that exceeds one is refused with a `WireError` that names the limit; nothing is allocated from
a length that a peer merely declares. "memberlist" and "Serf" mark bounds that genuine members apply
themselves, so no genuine member is refused by them; "ours" marks stricter ones, with the reason.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "COMPOUND_PARTS_MAX",
    "ENCRYPTED_STREAM_MAX",
    "EVENTS_MAX",
    "FILTER_NODES_MAX",
    "KEY_SIZES",
    "LABEL_MAX",
    "LIST_MAX",
    "META_MAX",
    "NAME_MAX",
    "NESTING_MAX",
    "PACKET_DECOMPRESSED_MAX",
    "PACKET_MAX",
    "PUSH_PULL_NODES_MAX",
    "RECORD_MAX",
    "STREAM_COMPRESSED_MAX",
    "STREAM_DECOMPRESSED_MAX",
    "STREAM_SLICE",
    "U8_MAX",
    "U16_MAX",
    "U32_MAX",
    "U64_MAX",
    "USER_MESSAGE_MAX",
    "USER_STATE_MAX",
]

KIB: Final = 1024
MIB: Final = 1024 * 1024

# Packets
PACKET_MAX: Final = 65_535
"""Bytes of one datagram or compound part (UDP and the compound's 16-bit lengths)."""
PACKET_DECOMPRESSED_MAX: Final = 64 * KIB
"""Bytes that all compressed parts of one packet may expand to together (ours: no datagram of a
genuine member holds more, and a small bomb would otherwise cost seconds)."""
NESTING_MAX: Final = 4
"""Compound and compression layers inside each other (ours: genuine packets have two)."""
COMPOUND_PARTS_MAX: Final = 255
"""Messages of one compound (memberlist: the count is one byte)."""
LABEL_MAX: Final = 255
"""Bytes of a label (memberlist: the length is one byte)."""

# Streams
ENCRYPTED_STREAM_MAX: Final = 20 * MIB
"""Bytes of an encrypted stream message's envelope (memberlist)."""
STREAM_COMPRESSED_MAX: Final = 20 * MIB
"""Bytes of a compressed stream message before expansion (ours: as when it is encrypted)."""
STREAM_DECOMPRESSED_MAX: Final = 40 * MIB
"""Bytes that a compressed stream message may expand to (memberlist: twice its largest state)."""
PUSH_PULL_NODES_MAX: Final = 1_048_576
"""Node records of one push/pull (memberlist)."""
USER_STATE_MAX: Final = 20 * MIB
"""Bytes of the user state of one push/pull (memberlist)."""
USER_MESSAGE_MAX: Final = 20 * MIB
"""Bytes of one user message on a stream (memberlist)."""
RECORD_MAX: Final = 64 * KIB
"""Bytes of one header or node record on a stream (ours: a genuine record has less than 1,000)."""
STREAM_SLICE: Final = 32 * KIB
"""Bytes of a stream message handled per call, so that one exchange cannot hold up the others."""

# Values
META_MAX: Final = 512
"""Bytes of a member's meta, that is, of its encoded tags (memberlist)."""
NAME_MAX: Final = 255
"""Bytes of a node name (ours: memberlist has no bound of its own, Serf and Consul allow 128 and 63)."""
LIST_MAX: Final = 512
"""Elements of a list inside a message (ours: msgpack reserves the declared size at each nesting level)."""
EVENTS_MAX: Final = 65_536
"""Slots, and events in all of them, in one Serf state (ours: Serf's ring has 512 slots)."""
FILTER_NODES_MAX: Final = 65_536
"""Node names in one filter of a query (ours; a packet cannot hold more)."""
KEY_SIZES: Final = (16, 24, 32)
"""Bytes of an AES key."""
U8_MAX: Final = 2**8 - 1
U16_MAX: Final = 2**16 - 1
U32_MAX: Final = 2**32 - 1
U64_MAX: Final = 2**64 - 1
