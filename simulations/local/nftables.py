"""The kernel's nftables, spoken to over netlink, since its ``nft`` command is often not installed.

Changes are made in transactions: what was in force before stays so until all of the new is. What they are
made of are attributes, numbered and named as in ``linux/netfilter/nf_tables.h``.
"""

from __future__ import annotations

import os
import socket
import struct

__all__ = [
    "APPEND", "CREATE", "DELETE_TABLE", "NEW_CHAIN", "NEW_ELEMENTS", "NEW_RULE", "NEW_SET", "NEW_TABLE",
    "Transaction", "attribute", "expression", "nest", "number",
]  # fmt: skip

NEW_TABLE, DELETE_TABLE, NEW_CHAIN, NEW_RULE, NEW_SET, NEW_ELEMENTS = 0, 2, 3, 6, 9, 12
CREATE, APPEND = 0x400, 0x800
ANSWER_WITHIN = 5.0
"""Seconds."""
_NETLINK_NETFILTER = 12
_SUBSYSTEM = 10
_BEGIN, _END = 0x10, 0x11
_REQUEST, _ACK = 0x1, 0x4
_ERROR = 2
_NESTED = 0x8000


class Transaction:
    """Changes to the rules of this network namespace that are made all together or not at all.

    Args:
        family: whose packets they are about, IPv4's or IPv6's.
    """

    def __init__(self, family: int) -> None:
        self._family = family
        self._messages = [_message(_BEGIN, 0, group=_SUBSYSTEM)]

    def add(self, kind: int, *attributes: bytes, flags: int = CREATE) -> None:
        """One more change."""
        self._messages.append(
            _message(
                _SUBSYSTEM << 8 | kind,
                len(self._messages),
                *attributes,
                flags=flags | _ACK,
                family=self._family,
            )
        )

    def commit(self) -> None:
        """Make the changes; raises OSError when the kernel refuses, and then nothing has changed."""
        last = len(self._messages) - 1
        end = _message(_END, len(self._messages), group=_SUBSYSTEM)
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as kernel:
            kernel.settimeout(ANSWER_WITHIN)
            kernel.bind((0, 0))
            kernel.send(b"".join([*self._messages, end]))
            while not confirms(kernel.recv(1 << 16), last):
                pass


def confirms(answer: bytes, last: int) -> bool:
    """Whether the kernel says that the message of this number is done; an OSError when it refuses any."""
    while len(answer) >= 20:
        size, kind, _, numbered, _, error = struct.unpack_from("=IHHIIi", answer)
        if kind == _ERROR and error:
            raise OSError(-error, f"nftables: {os.strerror(-error)}")
        if kind == _ERROR and numbered == last:
            return True
        answer = answer[size + 3 & ~3 :]
    return False


def attribute(kind: int, data: bytes) -> bytes:
    """An attribute of bytes."""
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def nest(kind: int, *attributes: bytes) -> bytes:
    """An attribute of attributes."""
    return attribute(kind | _NESTED, b"".join(attributes))


def number(kind: int, value: int) -> bytes:
    """An attribute that is a number of 32 bits."""
    return attribute(kind, struct.pack(">I", value))


def expression(name: bytes, *data: bytes) -> bytes:
    """A step of a rule, which reads into a register, compares it, changes a packet or gives a verdict."""
    return nest(1, attribute(1, name + b"\0"), nest(2, *data))


def _message(
    kind: int, numbered: int, *attributes: bytes, flags: int = 0, family: int = 0, group: int = 0
) -> bytes:
    body = struct.pack(">BBH", family, 0, group) + b"".join(attributes)
    return struct.pack("=IHHII", 16 + len(body), kind, _REQUEST | flags, numbered, 0) + body
