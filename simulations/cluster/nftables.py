"""Packet loss and cuts by the kernel's nftables.

The rules of a namespace are one table, replaced as a whole in one transaction: what was in force before
stays so until the new rules are.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from simulations.local.nftables import (
    APPEND,
    CREATE,
    DELETE_TABLE,
    NEW_CHAIN,
    NEW_ELEMENTS,
    NEW_RULE,
    NEW_SET,
    NEW_TABLE,
    Transaction,
    attribute,
    expression,
    nest,
    number,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["Among", "Rule", "replace_rules"]

_DROP, _ACCEPT = 0, 1
_FORWARD = 2
_TABLE, _CHAIN = b"experiment\0", b"forward\0"
_REGISTER: Final = 1
_SOURCE_OFFSET, _TARGET_OFFSET = 12, 16
"""Of the addresses in an IPv4 header."""
_OUT_INTERFACE, _L4_PROTOCOL = 5, 16
"""Keys of ``meta``."""
_CHANCES = 1_000_000
"""A rate is rounded to so many parts."""


@dataclass(frozen=True, slots=True)
class Among:
    """Some IPv4 addresses, or all but some."""

    addresses: frozenset[str]
    all_but: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """Packets that are dropped.

    Attributes:
        source: where they come from; None is anywhere.
        target: where they go; None is anywhere.
        udp_only: streams pass.
        rate: the probability that one is dropped.
    """

    source: Among | None = None
    target: Among | None = None
    udp_only: bool = False
    rate: float = 1.0


def replace_rules(rules: Sequence[Rule], *, passing: str = "") -> None:
    """Let these rules, and no others, hold for packets that this network namespace forwards.

    Args:
        rules: each packet is judged by all of them.
        passing: an interface; what leaves by it is not judged, since it comes back.

    Raises:
        OSError: the kernel refuses; the rules before are then still in force.
    """
    changes = Transaction(socket.AF_INET)
    table = attribute(1, _TABLE)
    changes.add(NEW_TABLE, table)  # so that there is one to delete
    changes.add(DELETE_TABLE, table, flags=0)
    changes.add(NEW_TABLE, table)
    hook = nest(4, number(1, _FORWARD), number(2, 0))
    changes.add(
        NEW_CHAIN,
        table,
        attribute(3, _CHAIN),
        hook,
        number(5, _ACCEPT),
        attribute(7, b"filter\0"),
    )
    sets: dict[frozenset[str], int] = {}
    for rule in rules:
        for side in (rule.source, rule.target):
            if side is not None and side.addresses not in sets:
                identity = sets[side.addresses] = len(sets) + 1
                name = _set_name(identity)
                changes.add(
                    NEW_SET,
                    table,
                    attribute(2, name),
                    number(3, 0),
                    number(4, 7),
                    number(5, 4),
                    number(10, identity),
                )
                if side.addresses:
                    elements = [
                        nest(1, nest(1, attribute(1, socket.inet_aton(ip))))
                        for ip in sorted(side.addresses)
                    ]
                    changes.add(
                        NEW_ELEMENTS,
                        attribute(1, _TABLE),
                        attribute(2, name),
                        nest(3, *elements),
                        number(4, identity),
                    )
    written: list[Iterable[bytes]] = []
    if passing:
        written.append(_excepted(socket.if_nametoindex(passing)))
    written += [_judged(rule, sets) for rule in rules]
    for steps in written:
        changes.add(
            NEW_RULE,
            table,
            attribute(2, _CHAIN),
            nest(4, *steps),
            flags=CREATE | APPEND,
        )
    changes.commit()


# Rules are lists of expressions, which read into a register, compare it and give a verdict.


def _excepted(interface: int) -> Iterator[bytes]:
    yield expression(b"meta", number(2, _OUT_INTERFACE), number(1, _REGISTER))
    yield _equals(struct.pack("=I", interface))
    yield _verdict(_ACCEPT)


def _judged(rule: Rule, sets: dict[frozenset[str], int]) -> Iterator[bytes]:
    for side, offset in ((rule.source, _SOURCE_OFFSET), (rule.target, _TARGET_OFFSET)):
        if side is not None:
            identity = sets[side.addresses]
            yield expression(
                b"payload", number(1, _REGISTER), number(2, 1), number(3, offset), number(4, 4)
            )
            yield expression(
                b"lookup",
                attribute(1, _set_name(identity)),
                number(2, _REGISTER),
                number(4, identity),
                number(5, int(side.all_but)),
            )
    if rule.udp_only:
        yield expression(b"meta", number(2, _L4_PROTOCOL), number(1, _REGISTER))
        yield _equals(bytes([socket.IPPROTO_UDP]))
    if rule.rate < 1:
        below = struct.pack(">I", round(rule.rate * _CHANCES))
        yield expression(
            b"numgen", number(1, _REGISTER), number(2, _CHANCES), number(3, 1), number(4, 0)
        )
        # The number is in the order of the machine, comparison goes byte by byte.
        yield expression(
            b"byteorder",
            number(1, _REGISTER),
            number(2, _REGISTER),
            number(3, 1),
            number(4, 4),
            number(5, 4),
        )
        yield expression(b"cmp", number(1, _REGISTER), number(2, 2), nest(3, attribute(1, below)))
    yield _verdict(_DROP)


def _equals(value: bytes) -> bytes:
    return expression(b"cmp", number(1, _REGISTER), number(2, 0), nest(3, attribute(1, value)))


def _verdict(code: int) -> bytes:
    return expression(b"immediate", number(1, 0), nest(2, nest(2, number(1, code))))


def _set_name(identity: int) -> bytes:
    return b"addresses%d\0" % identity
