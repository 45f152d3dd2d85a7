"""Outbox: what a membership puts out until its driver takes it: datagrams, exchanges to open, log lines."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from gossip.wire.address import join_host_port
from gossip.wire.keyring import fingerprint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gossip.errors import WireError
    from gossip.swim.exchange import Exchange
    from gossip.wire.address import Address
    from gossip.wire.packet import PacketCodec

__all__ = ["Outbox"]

MAX_NOTICES = 64
"""Log lines kept between two drains; further ones are dropped and counted."""
KEY_NOTICE_INTERVAL = 60.0
"""Seconds between log lines about packets that no key of ours opens; all of them are counted."""


class Outbox:
    """The side of a `gossip.swim.membership.Membership` that its driver drains.

    Args:
        packet_codec: layers of datagrams.

    Attributes:
        stats: counters of the whole membership.
    """

    def __init__(self, packet_codec: PacketCodec) -> None:
        self.packet_codec = packet_codec
        self.stats: Counter[str] = Counter()
        self._packets: list[tuple[bytes, Address]] = []
        self._dials: list[Exchange] = []
        self._notices: list[str] = []
        self._next_key_notice = 0.0

    def take_packets(self) -> list[tuple[bytes, Address]]:
        """Datagrams to send, each given once."""
        packets, self._packets = self._packets, []
        return packets

    def take_notices(self) -> list[str]:
        """Lines for the operator's log, each given once."""
        notices, self._notices = self._notices, []
        return notices

    def take_dials(self) -> list[Exchange]:
        """Exchanges to open connections for, each given once."""
        dials, self._dials = self._dials, []
        return dials

    def send_packet(self, parts: Sequence[bytes], address: Address, *, crc: bool = False) -> None:
        """Queue one packet of these messages."""
        for packet in self.packet_codec.encode(parts, crc=crc):
            self._packets.append((packet, address))

    def dial(self, exchange: Exchange) -> None:
        """Queue an exchange whose connection the driver is to open."""
        self._dials.append(exchange)

    def notice(self, text: str) -> None:
        """Queue a line for the operator's log."""
        if len(self._notices) < MAX_NOTICES:
            self._notices.append(text)
        else:
            self.stats["notices_dropped"] += 1

    def notice_undecryptable(self, error: WireError, source: Address, now: float) -> None:
        """Queue one about a packet that no key opens, once in a while.

        A node that was away while keys changed, or has none, would find no other sign of it.
        """
        if now < self._next_key_notice:
            return
        self._next_key_notice = now + KEY_NOTICE_INTERVAL
        keys = ", ".join(map(fingerprint, self.packet_codec.keyring.keys))
        host = join_host_port(*source)
        self.notice(f"a packet from {host} cannot be decrypted: {error} (our keys: {keys})")
