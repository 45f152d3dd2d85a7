"""Packet loss and cuts by the kernel's nftables, spoken to over netlink.

The rules of a namespace are one table, replaced as a whole in one transaction: what was in force before
stays so until the new rules are. The ``nft`` command is not needed, which few machines have; the
attributes are those of ``linux/netfilter/nf_tables.h``.
"""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["Among", "Rule", "batch_of", "replace_rules"]

_NETLINK_NETFILTER = 12
_SUBSYSTEM = 10
_BEGIN, _END = 0x10, 0x11
_NEW_TABLE, _DELETE_TABLE, _NEW_CHAIN, _NEW_RULE, _NEW_SET, _NEW_ELEMENTS = 0, 2, 3, 6, 9, 12
_REQUEST, _ACK, _CREATE, _APPEND = 0x1, 0x4, 0x400, 0x800
_ERROR = 2
_IPV4 = 2
_NESTED = 0x8000
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
    index = socket.if_nametoindex(passing) if passing else 0
    data, last = batch_of(rules, passing=index)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as kernel:
        kernel.settimeout(5)
        kernel.bind((0, 0))
        kernel.send(data)
        while True:
            answer = kernel.recv(1 << 16)
            while len(answer) >= 20:
                size, kind, _, number, _, error = struct.unpack_from("=IHHIIi", answer)
                if kind == _ERROR and error:
                    raise OSError(-error, f"nftables: {os.strerror(-error)}")
                if kind == _ERROR and number == last:
                    return
                answer = answer[size + 3 & ~3 :]


def batch_of(rules: Sequence[Rule], *, passing: int = 0) -> tuple[bytes, int]:
    """The transaction that puts these rules in place, and the number of its last message to confirm.

    Args:
        rules: see `replace_rules`.
        passing: index of the interface whose packets are not judged; 0 is none.
    """
    messages = [_message(_BEGIN, number=0, group=_SUBSYSTEM)]

    def add(kind: int, *attributes: bytes, flags: int = _CREATE | _ACK) -> None:
        messages.append(
            _message(_SUBSYSTEM << 8 | kind, *attributes, number=len(messages), flags=flags)
        )

    table = _attribute(1, _TABLE)
    add(_NEW_TABLE, table)  # so that there is one to delete
    add(_DELETE_TABLE, table, flags=_ACK)
    add(_NEW_TABLE, table)
    hook = _nest(4, _number(1, _FORWARD), _number(2, 0))
    add(
        _NEW_CHAIN,
        table,
        _attribute(3, _CHAIN),
        hook,
        _number(5, _ACCEPT),
        _attribute(7, b"filter\0"),
    )
    sets: dict[frozenset[str], int] = {}
    for rule in rules:
        for side in (rule.source, rule.target):
            if side is not None and side.addresses not in sets:
                number = sets[side.addresses] = len(sets) + 1
                name = _set_name(number)
                add(
                    _NEW_SET,
                    table,
                    _attribute(2, name),
                    _number(3, 0),
                    _number(4, 7),
                    _number(5, 4),
                    _number(10, number),
                )
                if side.addresses:
                    elements = [
                        _nest(1, _nest(1, _attribute(1, socket.inet_aton(ip))))
                        for ip in sorted(side.addresses)
                    ]
                    add(
                        _NEW_ELEMENTS,
                        _attribute(1, _TABLE),
                        _attribute(2, name),
                        _nest(3, *elements),
                        _number(4, number),
                    )
    expressions: list[Iterable[bytes]] = [_excepted(passing)] if passing else []
    expressions += [_judged(rule, sets) for rule in rules]
    for expression in expressions:
        add(
            _NEW_RULE,
            table,
            _attribute(2, _CHAIN),
            _nest(4, *expression),
            flags=_CREATE | _APPEND | _ACK,
        )
    last = len(messages) - 1
    messages.append(_message(_END, number=len(messages), group=_SUBSYSTEM))
    return b"".join(messages), last


# Rules are lists of expressions, which read into a register, compare it and give a verdict.


def _excepted(interface: int) -> Iterator[bytes]:
    yield _expression(b"meta", _number(2, _OUT_INTERFACE), _number(1, _REGISTER))
    yield _equals(struct.pack("=I", interface))
    yield _verdict(_ACCEPT)


def _judged(rule: Rule, sets: dict[frozenset[str], int]) -> Iterator[bytes]:
    for side, offset in ((rule.source, _SOURCE_OFFSET), (rule.target, _TARGET_OFFSET)):
        if side is not None:
            number = sets[side.addresses]
            yield _expression(
                b"payload", _number(1, _REGISTER), _number(2, 1), _number(3, offset), _number(4, 4)
            )
            yield _expression(
                b"lookup",
                _attribute(1, _set_name(number)),
                _number(2, _REGISTER),
                _number(4, number),
                _number(5, int(side.all_but)),
            )
    if rule.udp_only:
        yield _expression(b"meta", _number(2, _L4_PROTOCOL), _number(1, _REGISTER))
        yield _equals(bytes([socket.IPPROTO_UDP]))
    if rule.rate < 1:
        below = struct.pack(">I", round(rule.rate * _CHANCES))
        yield _expression(
            b"numgen", _number(1, _REGISTER), _number(2, _CHANCES), _number(3, 1), _number(4, 0)
        )
        # The number is in the order of the machine, comparison goes byte by byte.
        yield _expression(
            b"byteorder",
            _number(1, _REGISTER),
            _number(2, _REGISTER),
            _number(3, 1),
            _number(4, 4),
            _number(5, 4),
        )
        yield _expression(
            b"cmp", _number(1, _REGISTER), _number(2, 2), _nest(3, _attribute(1, below))
        )
    yield _verdict(_DROP)


def _equals(value: bytes) -> bytes:
    return _expression(b"cmp", _number(1, _REGISTER), _number(2, 0), _nest(3, _attribute(1, value)))


def _verdict(code: int) -> bytes:
    return _expression(b"immediate", _number(1, 0), _nest(2, _nest(2, _number(1, code))))


def _expression(name: bytes, *data: bytes) -> bytes:
    return _nest(1, _attribute(1, name + b"\0"), _nest(2, *data))


def _set_name(number: int) -> bytes:
    return b"addresses%d\0" % number


# Netlink


def _message(kind: int, *attributes: bytes, number: int, flags: int = 0, group: int = 0) -> bytes:
    body = struct.pack(">BBH", _IPV4 if attributes else 0, 0, group) + b"".join(attributes)
    return struct.pack("=IHHII", 16 + len(body), kind, _REQUEST | flags, number, 0) + body


def _attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), kind) + data + b"\0" * (-len(data) % 4)


def _nest(kind: int, *attributes: bytes) -> bytes:
    return _attribute(kind | _NESTED, b"".join(attributes))


def _number(kind: int, value: int) -> bytes:
    return _attribute(kind, struct.pack(">I", value))
