"""Addresses of the wire and addresses that users type (R-35)."""

from __future__ import annotations

import pytest

from gossip.errors import ConfigError, WireError
from gossip.wire.address import format_address, is_usable, join_host_port, parse_ip, parse_seed

SPELLINGS = {
    # host names
    "localhost": (None, "localhost", 7946),
    "localhost:8301": (None, "localhost", 8301),
    "node-1.example.org": (None, "node-1.example.org", 7946),
    "node-1.example.org:1": (None, "node-1.example.org", 1),
    "node-1.example.org.": (None, "node-1.example.org.", 7946),
    "my_service": (None, "my_service", 7946),
    "my_service.default.svc:65535": (None, "my_service.default.svc", 65535),
    "UPPER.example": (None, "UPPER.example", 7946),
    "bücher.example:80": (None, "bücher.example", 80),
    "1password.example": (None, "1password.example", 7946),
    "3com": (None, "3com", 7946),
    "10.example": (None, "10.example", 7946),
    "a": (None, "a", 7946),
    # IPv4
    "10.0.0.1": (None, "10.0.0.1", 7946),
    "10.0.0.1:8301": (None, "10.0.0.1", 8301),
    "127.0.0.1:07946": (None, "127.0.0.1", 7946),
    "255.255.255.255": (None, "255.255.255.255", 7946),
    "0.0.0.0:9": (None, "0.0.0.0", 9),
    # IPv6, bare: everything is address, never a port
    "::1": (None, "::1", 7946),
    "::": (None, "::", 7946),
    "fe80::1": (None, "fe80::1", 7946),
    "2001:db8::1": (None, "2001:db8::1", 7946),
    "2001:DB8:0:0:0:0:0:1": (None, "2001:db8::1", 7946),
    "2001:db8::1:7946": (None, "2001:db8::1:7946", 7946),
    "::1:8301": (None, "::1:8301", 7946),
    # IPv6 in brackets
    "[::1]": (None, "::1", 7946),
    "[::1]:8301": (None, "::1", 8301),
    "[2001:db8::1]:65535": (None, "2001:db8::1", 65535),
    "[2001:0db8:0000::0001]:1": (None, "2001:db8::1", 1),
    # zone ids
    "fe80::1%eth0": (None, "fe80::1%eth0", 7946),
    "fe80::1%2": (None, "fe80::1%2", 7946),
    "[fe80::1%eth0]": (None, "fe80::1%eth0", 7946),
    "[fe80::1%eth0]:8301": (None, "fe80::1%eth0", 8301),
    "[::1%lo]:8301": (None, "::1", 8301),
    "2001:db8::1%eth0": (None, "2001:db8::1", 7946),
    # IPv4-mapped IPv6
    "::ffff:10.0.0.1": (None, "10.0.0.1", 7946),
    "::ffff:a00:1": (None, "10.0.0.1", 7946),
    "[::ffff:10.0.0.1]:8301": (None, "10.0.0.1", 8301),
    # node name in front
    "web-1/10.0.0.1": ("web-1", "10.0.0.1", 7946),
    "web-1/10.0.0.1:8301": ("web-1", "10.0.0.1", 8301),
    "web 1/host:8301": ("web 1", "host", 8301),
    "ünï/[::1]:8301": ("ünï", "::1", 8301),
    "web-1/::1": ("web-1", "::1", 7946),
    "web-1.dc1/fe80::1%eth0": ("web-1.dc1", "fe80::1%eth0", 7946),
}

WRONG = [
    "",
    " ",
    ":",
    ":7946",
    "host:",
    "host:http",
    "host:0",
    "host:-1",
    "host:65536",
    "host:999999999999",
    "host: 80",
    "host:٣",
    "host name",
    "-host",
    "host-",
    "a..b",
    ".a",
    "a" * 64,
    "a." * 130 + "a",
    "10.0.0.256",
    "10.0.0",
    "10.0.0.1.2",
    "127.1",
    "010.0.0.1",
    "12345",
    "[::1",
    "::1]",
    "[::1]8301",
    "[::1]:",
    "[::1]:0",
    "[10.0.0.1]:80",
    "[localhost]:80",
    "[]:80",
    "1:2:3",
    "::g",
    "fe80::1%",
    "[fe80::1%]:80",
    "/host",
    "name/",
    "name//host",
    "name/host/x",
    "http://host:80",
    "host\n",
    "host\x00",
]


@pytest.mark.parametrize(("text", "parsed"), SPELLINGS.items())
def test_r35_spelling_of_an_address_is_understood(
    text: str, parsed: tuple[str | None, str, int]
) -> None:
    assert parse_seed(text, 7946) == parsed


def test_r35_table_has_forty_spellings() -> None:
    assert len(SPELLINGS) >= 40


@pytest.mark.parametrize("text", WRONG)
def test_r35_wrong_address_is_refused_by_its_text(text: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        parse_seed(text, 7946)
    assert repr(text) in str(refusal.value)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"\x7f\x00\x00\x01", "127.0.0.1"),
        (bytes(10) + b"\xff\xff\x0a\x00\x00\x01", "10.0.0.1"),
        (bytes(15) + b"\x01", "::1"),
        (bytes.fromhex("20010db8000000000000000000000001"), "2001:db8::1"),
    ],
)
def test_packed_address_is_shown_as_text(raw: bytes, text: str) -> None:
    assert format_address(raw, 7946) == (text, 7946)
    assert format_address(parse_ip(text), 1) == (text, 1)


@pytest.mark.parametrize("size", [0, 1, 3, 5, 15, 17])
def test_h1_address_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(WireError, match=f"{size} bytes"):
        format_address(bytes(size), 1)


def test_mapped_and_zoned_text_is_packed_without_them() -> None:
    assert parse_ip("::ffff:10.0.0.1") == b"\x0a\x00\x00\x01"
    assert parse_ip("fe80::1%eth0") == b"\xfe\x80" + bytes(13) + b"\x01"


@pytest.mark.parametrize("text", ["", "host", "10.0.0", "10.0.0.1:80", "[::1]"])
def test_text_that_is_no_ip_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not an IP address"):
        parse_ip(text)


@pytest.mark.parametrize(
    "host",
    ["10.0.0.1", "127.0.0.1", "255.255.255.254", "240.0.0.1", "::1", "fe80::1", "2001:db8::1"],
)
@pytest.mark.parametrize("port", [1, 65535])
def test_h1_unicast_address_is_usable(host: str, port: int) -> None:
    assert is_usable(parse_ip(host), port)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        bytes(3),
        bytes(5),
        bytes(15) + b"\x01\x01",
        parse_ip("0.0.0.0"),
        parse_ip("0.0.0.1"),
        parse_ip("224.0.0.1"),
        parse_ip("239.255.255.255"),
        parse_ip("255.255.255.255"),
        parse_ip("::"),
        parse_ip("ff02::1"),
        bytes(10) + b"\xff\xff" + parse_ip("224.0.0.1"),
        bytes(10) + b"\xff\xff" + bytes(4),
    ],
    ids=bytes.hex,
)
def test_h1_address_that_harms_a_socket_is_not_usable(raw: bytes) -> None:
    assert not is_usable(raw, 7946)


@pytest.mark.parametrize("port", [-1, 0, 65536, 2**63])
def test_h1_port_that_harms_a_socket_is_not_usable(port: int) -> None:
    assert not is_usable(b"\x0a\x00\x00\x01", port)


def test_host_and_port_are_written_as_they_are_read() -> None:
    for host in ("10.0.0.1", "::1", "fe80::1%eth0", "node.example"):
        assert parse_seed(join_host_port(host, 8301), 1) == (None, host, 8301)
