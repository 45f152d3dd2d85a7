"""What a seed stands for: every address that its host name has."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

from gossip.errors import ConfigError
from gossip.wire.address import normal_ip, parse_seed

if TYPE_CHECKING:
    from gossip.wire.address import Address

__all__ = ["resolve"]


async def resolve(seed: str, default_port: int) -> list[Address]:
    """Every address of a seed, each once, in the order of the resolver.

    IPv4-mapped addresses are IPv4; a link-local one keeps its zone, so that it can be dialed.

    Raises:
        ConfigError: it is no address, see `gossip.wire.address.parse_seed`.
        OSError: the name has no address, or the resolver does not answer.
    """
    _, host, port = parse_seed(seed, default_port)
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:  # what a label may hold is only known when it has been encoded
        raise ConfigError(f"address {seed!r}: {host!r} is not a host name") from None
    return list(dict.fromkeys((_ip(info[4]), port) for info in found))


def _ip(address: tuple[Any, ...]) -> str:
    """The IP address of a socket's address, which has the zone of a link-local one apart."""
    ip, zone = str(address[0]), address[3] if len(address) > 3 else 0
    return normal_ip(f"{ip}%{zone}" if zone and "%" not in ip else ip)
