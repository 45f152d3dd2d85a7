"""Sockets that are bound the way people mean it: ``::`` is everything, and zones are understood.

And the address by which others reach what is bound so.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket

from gossip.wire.address import join_host_port, normal_ip, plain_ip

__all__ = ["bound_socket", "own_ip", "stop_listening"]

HANDOVER_TURNS = 6
"""Turns of asyncio's loop until a connection that it has accepted is ours, and one that we abort is closed."""


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


async def stop_listening(*servers: asyncio.Server) -> None:
    """Stop accepting; connections that are on their way in have arrived when this returns.

    One that is caught on its way by the end of the loop would never be closed, and neither would one
    whose server has closed meanwhile (cpython issue 109564).
    """
    loop = asyncio.get_running_loop()
    for server in servers:
        for sock in server.sockets:
            loop.remove_reader(sock.fileno())  # of asyncio's own loop; uvloop has none
    for _ in range(HANDOVER_TURNS):
        await asyncio.sleep(0)
    for server in servers:
        server.close()


def own_ip(bind: str) -> str:
    """The address under which others see what is bound to one: itself unless it stands for all."""
    ip = normal_ip(bind)
    return _outbound_ip(ip) if ip in {"0.0.0.0", "::"} else ip  # noqa: S104 - compared, not bound


def _outbound_ip(bind: str) -> str:
    """The address that other machines see us under when all addresses are bound.

    It is IPv6 for ``::`` and IPv4 for ``0.0.0.0``. A machine that has a network of the other kind only
    is seen by that, since ``::`` takes both; one without a network has its loopback.
    """
    if ":" not in bind:
        return _routed_ip(socket.AF_INET) or "127.0.0.1"
    return _routed_ip(socket.AF_INET6) or _routed_ip(socket.AF_INET) or "::1"


def _routed_ip(family: int) -> str:
    """Our address on the way out, or nothing when there is no way.

    Nothing is sent: connecting a UDP socket only asks the routing table.
    """
    probe = "192.0.2.1" if family == socket.AF_INET else "2001:db8::1"
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect((probe, 9))
        except OSError:
            return ""
        return plain_ip(str(sock.getsockname()[0]))
