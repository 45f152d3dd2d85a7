"""Addresses in flags and files: every spelling that people use, read into one.

An address to bind or to announce is an IP address and nothing else; ports are settings of their own. It
may stand in brackets, as in a URL, and be IPv4 written as IPv6. A zone (``fe80::1%eth0``) is kept where
it decides something: for a link-local address that is bound here. What cannot be read stays as it was
typed, for `agent.config_rules` to refuse with the flag or key that it came from.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path

from gossip.errors import ConfigError
from gossip.wire.address import normal_ip, parse_seed, plain_ip

__all__ = [
    "UNIX",
    "announced_ip",
    "bind_problem",
    "bound_ip",
    "bound_places",
    "decode_rpc_addr",
    "ip_problem",
]

UNIX = "unix://"
"""What the path of a Unix socket begins with."""


def bound_ip(text: str) -> str:
    """The one spelling of an IP address that is bound here; anything else as it is."""
    try:
        return normal_ip(_bare(text))
    except ConfigError:
        return text


def announced_ip(text: str) -> str:
    """The one spelling of an IP address that others are told, to whom a zone says nothing."""
    ip = bound_ip(text)
    return plain_ip(ip) if _is_ip(ip) else text


def bound_places(text: str) -> str:
    """IP addresses and ``unix://`` paths, separated by spaces, each in its one spelling and once."""
    return " ".join(dict.fromkeys(map(bound_ip, text.split())))


def bind_problem(text: str, port_key: str, wanted: str = "an IP address") -> str | None:
    """Why an address cannot be bound here, or None; see `ip_problem`."""
    if (problem := ip_problem(text, port_key, wanted)) is not None:
        return problem
    if _is_link_local(text) and "%" not in text:
        return f'"{text}" is link-local and needs its interface, as in {text}%eth0'
    return None


def ip_problem(text: str, port_key: str, wanted: str = "an IP address") -> str | None:
    """Why a text is no IP address, or None.

    Args:
        text: as `bound_ip` or `announced_ip` gives it.
        port_key: the setting for those who wrote a port behind the address.
        wanted: what is said to be expected.
    """
    if _is_ip(text):
        return None
    try:
        name, host, port = parse_seed(text, default_port=0)
    except ConfigError:
        name, host, port = None, "", 0
    if port and name is None and _is_ip(host):
        return f'"{text}" has a port, which is a setting of its own: {port_key}'
    return f'"{text}" is not {wanted}'


def decode_rpc_addr(text: str) -> tuple[str, int] | Path:
    """An IP address and a port, or the path of a socket, from their text.

    Raises:
        ConfigError: it is neither. IPv6 has to be in brackets, or its end could be a port.
    """
    if text.startswith(UNIX) and text != UNIX:
        return Path(text.removeprefix(UNIX))
    host, _, port = text.rpartition(":")
    ip = bound_ip(host)
    is_port = port.isascii() and port.isdigit() and len(port) < 6 and int(port) < 65536
    if not (is_port and _is_ip(ip)) or (":" in host and not host.startswith("[")):
        raise ConfigError(f'"{text}" is not IP:port, [IPv6]:port or {UNIX}/path')
    if (problem := bind_problem(ip, port_key="")) is not None:
        raise ConfigError(problem)
    return ip, int(port)


def _bare(text: str) -> str:
    """Without brackets, which IPv6 alone has."""
    inside = text[1:-1]
    return inside if text.startswith("[") and text.endswith("]") and ":" in inside else text


def _is_ip(text: str) -> bool:
    try:
        normal_ip(text)
    except ConfigError:
        return False
    return True


def _is_link_local(ip: str) -> bool:
    parsed = ipaddress.ip_address(ip)
    return parsed.version == 6 and parsed.is_link_local
