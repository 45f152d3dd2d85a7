"""A NAT that renumbers source ports, in a network namespace of our own.

It is the kernel's: one rule of nftables. Every flow that is opened gets another source port; what comes
back to that port is handed to the one who opened the flow, and then seems to come from where it was sent
to, as behind any home router.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from simulations.local.nftables import (
    APPEND,
    CREATE,
    NEW_CHAIN,
    NEW_RULE,
    NEW_TABLE,
    Transaction,
    attribute,
    expression,
    nest,
    number,
)

if TYPE_CHECKING:
    import socket

__all__ = ["FIRST_PORT", "LAST_PORT", "rewrite_source_ports"]

FIRST_PORT, LAST_PORT = 61_000, 65_000
"""The source ports that flows get; above those that Linux hands out by itself."""
_POSTROUTING, _SRCNAT_PRIORITY = 4, 100
_SNAT = 0
_PROTO_SPECIFIED, _PROTO_RANDOM_FULLY = 0x2, 0x10
_FIRST, _LAST = 1, 2
"""The registers that hold the ports."""
_TABLE, _CHAIN = b"renumber\0", b"postrouting\0"


def rewrite_source_ports(family: socket.AddressFamily) -> None:
    """From now on every flow of this network namespace leaves from another port than it was bound to.

    Call it only in a namespace of our own, see `simulations.bench.network.isolate`.

    Raises:
        OSError: the kernel has no NAT, or we may not set it up.
    """
    changes = Transaction(family)
    table = attribute(1, _TABLE)
    hook = nest(4, number(1, _POSTROUTING), number(2, _SRCNAT_PRIORITY))
    changes.add(NEW_TABLE, table)
    changes.add(NEW_CHAIN, table, attribute(3, _CHAIN), hook, attribute(7, b"nat\0"))
    changes.add(
        NEW_RULE, table, attribute(2, _CHAIN), nest(4, *_renumber(family)), flags=CREATE | APPEND
    )
    changes.commit()


def _renumber(family: int) -> list[bytes]:
    """``snat to :FIRST-LAST fully-random``."""
    return [
        _load(_FIRST, FIRST_PORT),
        _load(_LAST, LAST_PORT),
        expression(
            b"nat",
            number(1, _SNAT),
            number(2, family),
            number(5, _FIRST),
            number(6, _LAST),
            number(7, _PROTO_SPECIFIED | _PROTO_RANDOM_FULLY),
        ),
    ]


def _load(register: int, port: int) -> bytes:
    value = attribute(1, struct.pack(">H", port))
    return expression(b"immediate", number(1, register), nest(2, value))
