"""A NAT that renumbers source ports, in a network namespace of our own.

It is the kernel's: one rule of nftables, told over netlink, since its ``nft`` command is often not
installed. Every flow that is opened gets another source port; what comes back to that port is handed to
the one who opened the flow, and then seems to come from where it was sent to, as behind any home router.
"""

from __future__ import annotations

import os
import socket
import struct

__all__ = ["FIRST_PORT", "LAST_PORT", "rewrite_source_ports"]

FIRST_PORT, LAST_PORT = 61_000, 65_000
"""The source ports that flows get; above those that Linux hands out by itself."""

# Numbers of linux/netfilter/nf_tables.h and its neighbours, named as there.
_NETLINK_NETFILTER = 12
_NFNL_SUBSYS_NFTABLES = 10
_BATCH_BEGIN, _BATCH_END = 16, 17
_NEW_TABLE, _NEW_CHAIN, _NEW_RULE = 0, 3, 6
_REQUEST, _ACK, _CREATE, _APPEND = 0x1, 0x4, 0x400, 0x800
_POSTROUTING, _SRCNAT_PRIORITY = 4, 100
_SNAT = 0
_PROTO_SPECIFIED, _PROTO_RANDOM_FULLY = 0x2, 0x10
_NESTED = 0x8000
_ERROR = 2

_TABLE, _CHAIN = b"renumber\0", b"postrouting\0"


def rewrite_source_ports(family: socket.AddressFamily) -> None:
    """From now on every flow of this network namespace leaves from another port than it was bound to.

    Call it only in a namespace of our own, see `simulations.bench.network.isolate`.

    Raises:
        OSError: the kernel has no NAT, or we may not set it up.
    """
    requests = [
        (_NEW_TABLE, _attribute(1, _TABLE)),
        (_NEW_CHAIN, _chain()),
        (_NEW_RULE, _rule(family)),
    ]
    subsystem = _NFNL_SUBSYS_NFTABLES << 8
    flags = _REQUEST | _ACK | _CREATE | _APPEND
    batch = [_message(_BATCH_BEGIN, _REQUEST, 0, b"")]
    batch += [_message(subsystem | kind, flags, family, body) for kind, body in requests]
    batch.append(_message(_BATCH_END, _REQUEST, 0, b""))
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as netlink:
        netlink.settimeout(5.0)
        netlink.bind((0, 0))
        netlink.send(b"".join(batch))
        answers = 0
        while answers < len(requests):
            answers += _check(netlink.recv(65536))


def _chain() -> bytes:
    hook = _attribute(1, _number(_POSTROUTING)) + _attribute(2, _number(_SRCNAT_PRIORITY))
    return (
        _attribute(1, _TABLE)
        + _attribute(3, _CHAIN)
        + _attribute(4 | _NESTED, hook)
        + _attribute(7, b"nat\0")
    )


def _rule(family: int) -> bytes:
    """``snat to :FIRST-LAST fully-random``."""
    nat = (
        _attribute(1, _number(_SNAT))
        + _attribute(2, _number(family))
        + _attribute(5, _number(1))  # the registers that hold the ports
        + _attribute(6, _number(2))
        + _attribute(7, _number(_PROTO_SPECIFIED | _PROTO_RANDOM_FULLY))
    )
    steps = _load(1, FIRST_PORT) + _load(2, LAST_PORT) + _expression(b"nat\0", nat)
    return _attribute(1, _TABLE) + _attribute(2, _CHAIN) + _attribute(4 | _NESTED, steps)


def _load(register: int, port: int) -> bytes:
    value = _attribute(1, struct.pack(">H", port))
    return _expression(
        b"immediate\0", _attribute(1, _number(register)) + _attribute(2 | _NESTED, value)
    )


def _expression(name: bytes, data: bytes) -> bytes:
    return _attribute(1 | _NESTED, _attribute(1, name) + _attribute(2 | _NESTED, data))


def _attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def _number(value: int) -> bytes:
    return struct.pack(">I", value)


def _message(kind: int, flags: int, family: int, body: bytes) -> bytes:
    subsystem = 0 if family else socket.htons(_NFNL_SUBSYS_NFTABLES)  # a batch names it here
    return struct.pack("=IHHIIBBH", 20 + len(body), kind, flags, 0, 0, family, 0, subsystem) + body


def _check(data: bytes) -> int:
    """How many requests were carried out; an OSError when one was not."""
    done = 0
    while data:
        size, kind, _, _, _ = struct.unpack_from("=IHHII", data)
        if kind == _ERROR:
            (error,) = struct.unpack_from("=i", data, 16)
            if error:
                raise OSError(-error, f"nftables: {os.strerror(-error)}")
            done += 1
        data = data[(size + 3) & ~3 :]
    return done
