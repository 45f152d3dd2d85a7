"""Who may ask, and for what: the defences of an interface that has no passwords by default.

Host names. A page that a browser loaded from a foreign name can point that name at 127.0.0.1 and read
every answer (DNS rebinding). Only names known to be ours are answered.

Other sites. A page of another site can send requests that it cannot read; one that changes state is
refused when the browser says where it comes from, whatever its method.

Networks. What changes state is taken from this machine, and from the networks that are listed.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urlsplit

from agent.http.errors import HttpError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["LOCAL_NAMES", "Guard", "host_name", "is_local", "parse_ip"]

REMEMBERED = 64
"""Spellings of hosts whose meaning is kept: a client names itself and us the same way every time."""
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")

MISDIRECTED = (
    "This host name is not served here: ask for the agent's address,"
    " or list the name in http_config.allow_hosts"
)
CROSS_SITE = "Requests of other sites may not change state"
NOT_LOCAL = (
    "Changing state is allowed from this machine only:"
    " list the network of the client in http_config.allow_write_http_from"
)

_Ip: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


class Guard:
    """The rules of one listening agent.

    Args:
        hosts: names and addresses that are ours besides `LOCAL_NAMES`.
        write_from: networks in CIDR form whose clients may change state, besides loopback.
    """

    def __init__(self, *, hosts: Iterable[str] = (), write_from: Iterable[str] = ()) -> None:
        self._hosts = frozenset(_normal(name) for name in (*LOCAL_NAMES, *hosts))
        self._networks = tuple(ipaddress.ip_network(cidr, strict=False) for cidr in write_from)

    def check_host(self, host: str | None, local: str | None = None) -> None:
        """Refuse a request for somebody else's name.

        Args:
            host: value of the Host header. None, which only HTTP/1.0 allows, comes from no browser.
            local: address on which the connection came in; asking for it by number is fine.

        Raises:
            HttpError: 421.
        """
        if host is None:
            return
        name = host_name(host)
        if name not in self._hosts and (not local or name != _normal(local)):
            raise HttpError(421, MISDIRECTED)

    def check_write(self, headers: Mapping[str, str], remote: str | None) -> None:
        """Refuse a request that changes state and comes from another site or network.

        Args:
            headers: of the request, keys in any case.
            remote: IP address of the client; None when it came through a Unix socket.

        Raises:
            HttpError: 403.
        """
        if headers.get("Sec-Fetch-Site", "").lower() == "cross-site":
            raise HttpError(403, CROSS_SITE)
        origin = headers.get("Origin")
        if origin is not None and _origin_host(origin) != host_name(headers.get("Host", "")):
            raise HttpError(403, CROSS_SITE)
        if remote is not None and not self._may_write(parse_ip(remote)):
            raise HttpError(403, NOT_LOCAL)

    def _may_write(self, address: _Ip | None) -> bool:
        if address is None:
            return False
        return address.is_loopback or any(address in network for network in self._networks)


@lru_cache(maxsize=REMEMBERED)
def host_name(host: str) -> str | None:
    """The name in a Host header, in one spelling; None when it is malformed."""
    host = host.strip()
    if host.startswith("["):
        name, bracket, port = host[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            return None
        port = port[1:]
    else:
        name, _, port = host.partition(":")
    if port and not (port.isascii() and port.isdigit()):
        return None
    return _normal(name) or None


def is_local(remote: str | None) -> bool:
    """Tell whether a client is on this machine.

    Args:
        remote: its IP address; None when it came through a Unix socket.
    """
    address = None if remote is None else parse_ip(remote)
    return remote is None or (address is not None and address.is_loopback)


@lru_cache(maxsize=REMEMBERED)
def parse_ip(text: str) -> _Ip | None:
    """The address, an IPv4 one when it is mapped into IPv6; None when it is no address."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address


@lru_cache(maxsize=REMEMBERED)
def _normal(name: str) -> str:
    """Addresses in canonical form, names in lower case without the root's dot."""
    address = parse_ip(name)
    return str(address) if address else name.lower().removesuffix(".")


def _origin_host(origin: str) -> str | None:
    """Host of an Origin header; "null" and what does not parse belong to nobody."""
    try:
        netloc = urlsplit(origin).netloc
    except ValueError:
        return ""
    return host_name(netloc) if netloc else ""
