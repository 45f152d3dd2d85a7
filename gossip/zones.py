"""Link-local IPv6 addresses and the interfaces on which they live.

``fe80::1`` may be somebody else on every link, so that a socket needs a zone to send there. Members do
not tell theirs, because a zone means something on one machine only. Here it is what the socket was
bound to, or what was seen where the address came from: in a packet, a connection, or typed by a user.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gossip.wire.address import plain_ip

if TYPE_CHECKING:
    from gossip.wire.address import Address

__all__ = ["LINK_LOCAL", "Zones"]

MAX_ZONES = 4096
"""Addresses whose zone is remembered; beyond, the one learned first is forgotten."""
LINK_LOCAL = ("fe8", "fe9", "fea", "feb")
"""What link-local addresses begin with, in their one spelling."""


class Zones:
    """Zones of link-local addresses, as the numbers that sockets take.

    Attributes:
        own: the zone of our own address, for peers that were not heard yet; 0 when it has none.
    """

    def __init__(self) -> None:
        self.own = 0
        self._known: dict[str, int] = {}

    def of(self, ip: str) -> int:
        """The zone to send to an address with; 0 where none is needed or known."""
        return self._known.get(ip, self.own) if ip.startswith(LINK_LOCAL) else 0

    def member_address(self, peer: tuple[Any, ...]) -> Address:
        """The address by which members know the peer of a socket.

        It has no zone, which is learned instead, and IPv4 that came through an IPv6 socket is IPv4.
        """
        ip, port = peer[0], peer[1]
        if ":" not in ip:
            return ip, port
        ip = plain_ip(ip)
        if len(peer) > 3 and peer[3] and self.of(ip) != peer[3]:
            self._learn(ip, peer[3])
        return ip, port

    def with_zone(self, ip: str) -> str:
        """The address as text with its zone, for a connection to be opened to it."""
        zone = self.of(ip)
        return f"{ip}%{zone}" if zone and "%" not in ip else ip

    def _learn(self, ip: str, zone: int) -> None:
        if ip.startswith(LINK_LOCAL):
            if len(self._known) >= MAX_ZONES:
                del self._known[next(iter(self._known))]
            self._known[ip] = zone
