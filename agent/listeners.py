"""Sockets that listen: TCP ones whose connections keep little in the kernel, Unix ones for us alone."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from gossip.sockets import bound_socket

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["BACKLOG", "listen_tcp", "listen_unix", "remove_socket"]

BACKLOG = 512
SEND_BUFFER = 64 * 1024
"""Bytes that the kernel takes of what is sent; the rest stays where we see whether it is read."""


def listen_tcp(ip: str, port: int, *, v6_only: bool = False) -> socket.socket:
    """A socket on an address, see `gossip.sockets.bound_socket`; port 0 lets the system choose.

    Raises:
        OSError: it cannot be bound; the text names the address.
    """
    sock = bound_socket(socket.SOCK_STREAM, ip, port, v6_only=v6_only)
    try:
        sock.listen(BACKLOG)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    except BaseException:
        sock.close()
        raise
    return sock


def listen_unix(path: Path) -> socket.socket:
    """A socket at a path, with mode 0600; what a process that was killed left there is replaced.

    Raises:
        OSError: it cannot be bound.
    """
    remove_socket(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)  # the socket is never, not for a moment, open to others
    try:
        sock.bind(str(path))
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    finally:
        os.umask(mask)
    return sock


def remove_socket(path: Path) -> None:
    """Take away what was left at a path, and nothing but a socket."""
    if path.is_socket():
        path.unlink()
