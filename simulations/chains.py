"""Chains: how many packets a message has come through with nobody on its way waiting for a clock.

A packet that is sent while another one is read may be its consequence, and the consequence of that one may
be a third. What counts is messages, since a packet takes along what else there is to tell: news that had
been waiting for a tick or for a token begins anew, with whatever packet it travels. What is made while a
packet is read continues the longest chain of that packet: an answer, a refutation, an accusation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from gossip.errors import WireError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulations.host import Host

__all__ = ["NOTHING", "Depths", "depths_of"]

Depths: TypeAlias = "Mapping[bytes, int]"
"""By message."""
NOTHING: Depths = {}


def depths_of(host: Host, data: bytes, now: float) -> dict[bytes, int]:
    """How many packets each message in a packet has come through, this one included.

    Args:
        host: who sends it.
        data: the packet.
        now: virtual time.
    """
    heard_at, heard = host.heard
    reading = heard if heard_at == now else NOTHING
    if not reading:
        return dict.fromkeys(_messages(host, data), 1)
    made_now = 1 + max(reading.values())
    depths = {}
    for message in _messages(host, data):
        if depth := reading.get(message):
            depths[message] = depth + 1
        else:
            depths[message] = 1 if _waited(host, message) else made_now
    return depths


def _messages(host: Host, data: bytes) -> list[bytes]:
    try:
        return host.node.membership.packet_codec.decode(data)
    except WireError:  # it has just lost the key
        return [data]


def _waited(host: Host, message: bytes) -> bool:
    """Whether it came from somebody before."""
    broadcast = host.node.membership.dissemination._index.get(message)  # noqa: SLF001
    return broadcast is not None and bool(broadcast.known)
