"""What seeds stand for: every address that their host names have."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

from gossip.errors import ConfigError
from gossip.wire.address import normal_ip, parse_seed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gossip.wire.address import Address

__all__ = ["resolve", "resolve_all"]

MAX_RESOLVED = 256
"""Addresses tried in one join, all names together."""


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


async def resolve_all(seeds: Iterable[str], default_port: int) -> tuple[list[Address], list[str]]:
    """The addresses of several seeds, each once and `MAX_RESOLVED` at most, and what failed."""
    found: dict[Address, None] = {}
    errors: list[str] = []
    for seed in seeds:
        try:
            found.update(dict.fromkeys(await resolve(seed, default_port)))
        except ConfigError as error:
            errors.append(f"Failed to resolve {seed}: {error}")
        except OSError as error:
            errors.append(f"Failed to resolve {seed}: {error.strerror or error}")
    return list(found)[:MAX_RESOLVED], errors


def _ip(address: tuple[Any, ...]) -> str:
    """The IP address of a socket's address, which has the zone of a link-local one apart."""
    ip, zone = str(address[0]), address[3] if len(address) > 3 else 0
    return normal_ip(f"{ip}%{zone}" if zone and "%" not in ip else ip)
