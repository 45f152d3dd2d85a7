"""Sockets that are bound the way people mean it: ``::`` is everything, and zones are understood."""

from __future__ import annotations

import contextlib
import socket

from gossip.wire.address import join_host_port

__all__ = ["bound_socket"]


def bound_socket(
    kind: socket.SocketKind, ip: str, port: int, *, v6_only: bool = False
) -> socket.socket:
    """A socket that does not block, bound to an address; port 0 lets the system choose.

    Args:
        kind: datagrams or streams.
        ip: IPv4 or IPv6, a link-local one with its zone. ``::`` takes IPv4 as well where the system
            can: asyncio's own servers would not, and a member has to hear all of its pool.
        port: of this machine.
        v6_only: ``::`` is IPv6 alone, because IPv4 has a socket of its own.

    Raises:
        OSError: it cannot be bound; the text names the address.
    """
    host, _, zone = ip.partition("%")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, kind)
    try:
        sock.setblocking(False)  # noqa: FBT003 - the socket module's signature
        if kind == socket.SOCK_STREAM:  # or a port stays taken for a minute after a restart
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if host == "::":
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6_only)
        scope = _zone_number(zone) if zone else 0
        sock.bind((host, port, 0, scope) if family == socket.AF_INET6 else (host, port))
    except OSError as error:
        sock.close()
        reason = error.strerror or str(error)
        raise OSError(error.errno, f"{join_host_port(ip, port)}: {reason}") from error
    except BaseException:
        sock.close()
        raise
    return sock


def _zone_number(zone: str) -> int:
    return int(zone) if zone.isascii() and zone.isdigit() else socket.if_nametoindex(zone)
