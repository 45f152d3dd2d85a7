"""Addresses: packed bytes of the wire, the text that people read, and what users type as a seed.

The wire carries 4 or 16 bytes. Members compare and pass on those bytes as they came, so nothing here
is applied to what is stored; text is for display, for sockets and for the application.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TypeAlias

from gossip.errors import ConfigError, WireError

__all__ = [
    "Address",
    "format_address",
    "is_usable",
    "join_host_port",
    "normal_ip",
    "parse_ip",
    "parse_seed",
    "plain_ip",
]

Address: TypeAlias = tuple[str, int]
"""IP address as text and port, as sockets take them."""

_V4_MAPPED = bytes(10) + b"\xff\xff"
_BROADCAST = b"\xff\xff\xff\xff"


@lru_cache(maxsize=4096)
def format_address(raw: bytes, port: int) -> Address:
    """Turn packed bytes and a port into an address; IPv4-mapped IPv6 is shown as IPv4.

    Raises:
        WireError: `raw` has neither 4 nor 16 bytes.
    """
    if len(raw) == 4:
        return f"{raw[0]}.{raw[1]}.{raw[2]}.{raw[3]}", port
    if len(raw) == 16:
        if raw.startswith(_V4_MAPPED):
            return str(IPv4Address(raw[12:])), port
        return str(IPv6Address(raw)), port
    raise WireError(f"an address of {len(raw)} bytes is neither IPv4 nor IPv6", layer="address")


def parse_ip(text: str) -> bytes:
    """Pack an IP address given as text: 4 bytes for IPv4 and IPv4-mapped IPv6, else 16.

    A zone id is left out: it means something on one machine only.

    Raises:
        ConfigError: the text is not an IP address.
    """
    return ip_address(normal_ip(text)).packed


def normal_ip(text: str) -> str:
    """The one spelling of an IP address: IPv4-mapped IPv6 as IPv4, a zone id only where it says something.

    Link-local addresses keep theirs. With others the system's resolver would not take it.

    Raises:
        ConfigError: the text is not an IP address.
    """
    try:
        parsed = ip_address(text)
    except ValueError:
        raise ConfigError(f"{text!r} is not an IP address") from None
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        if parsed.scope_id and not parsed.is_link_local:
            return str(parsed).partition("%")[0]
    return str(parsed)


@lru_cache(maxsize=4096)
def plain_ip(text: str) -> str:
    """An IP address as members know it: in its one spelling and without a zone id.

    Raises:
        ConfigError: the text is not an IP address.
    """
    return normal_ip(text).partition("%")[0]


def is_usable(raw: bytes, port: int) -> bool:
    """Tell whether a packet may be sent to an address that a peer named.

    False for anything but 4 or 16 bytes, ports outside 1 to 65535, and unspecified, multicast and
    broadcast addresses. (A bad destination can close an asyncio transport for good.)
    """
    if not 1 <= port <= 65535:
        return False
    if len(raw) == 16:
        if not raw.startswith(_V4_MAPPED):
            return raw[0] != 0xFF and any(raw)
        raw = raw[12:]
    return len(raw) == 4 and raw[0] != 0 and not 224 <= raw[0] < 240 and raw != _BROADCAST


def join_host_port(host: str, port: int) -> str:
    """Write host and port as people do, IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_seed(text: str, default_port: int) -> tuple[str | None, str, int]:
    """Read an address to join as a user types it: node name if given, host, port.

    Understood are ``host``, ``host:port``, ``[v6]``, ``[v6]:port``, bare IPv6, zone ids, IPv4-mapped
    IPv6 (returned as IPv4) and ``name/`` in front of any of these. Nothing is resolved.

    Raises:
        ConfigError: the text is none of these; it names the text and what is wrong with it.
    """
    name, slash, rest = text.partition("/")
    if not slash:
        return None, *_host_and_port(text, text, default_port)
    if not name:
        raise _bad_seed(text, "the node name in front of the slash is empty")
    return name, *_host_and_port(rest, text, default_port)


def _host_and_port(rest: str, text: str, default_port: int) -> tuple[str, int]:
    if rest.startswith("["):
        inside, bracket, after = rest[1:].partition("]")
        if not bracket:
            raise _bad_seed(text, "the bracket is not closed")
        if ":" not in inside:
            raise _bad_seed(text, f"{inside!r} in brackets is not an IPv6 address")
        if not after:
            return _ipv6(inside, text), default_port
        if not after.startswith(":"):
            raise _bad_seed(text, f"{after!r} follows the bracket instead of a port")
        return _ipv6(inside, text), _port(after[1:], text)
    if rest.count(":") > 1:
        return _ipv6(rest, text), default_port
    host, colon, port = rest.partition(":")
    return _host(host, text), _port(port, text) if colon else default_port


def _ipv6(text: str, seed: str) -> str:
    try:
        return normal_ip(text)
    except ConfigError:
        raise _bad_seed(seed, f"{text!r} is not an IPv6 address") from None


def _host(host: str, seed: str) -> str:
    if not host:
        raise _bad_seed(seed, "the host is empty")
    labels = host.removesuffix(".").split(".")
    if len(host) > 253 or not all(_is_label(label) for label in labels):
        raise _bad_seed(seed, f"{host!r} is not a host name")
    if labels[-1].isascii() and labels[-1].isdigit():  # no top level domain is a number
        try:
            return str(IPv4Address(host))
        except ValueError:
            raise _bad_seed(seed, f"{host!r} is not an IPv4 address") from None
    return host


def _is_label(label: str) -> bool:
    inner = label.replace("-", "").replace("_", "")  # underscores occur in container names
    return 1 <= len(label) <= 63 and inner.isalnum() and label[0] != "-" and label[-1] != "-"


def _port(text: str, seed: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65535):
        raise _bad_seed(seed, f"port {text!r} is not between 1 and 65535")
    return int(text)


def _bad_seed(seed: str, reason: str) -> ConfigError:
    return ConfigError(f"address {seed!r}: {reason}")
