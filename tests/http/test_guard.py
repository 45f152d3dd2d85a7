"""Who may ask: host names, other sites, other networks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.http.errors import HttpError
from agent.http.guard import Guard, host_name, parse_ip

guard = Guard(hosts=["10.1.2.3", "Agent.Example"], write_from=["192.168.1.0/24", "fd00::/8"])


def status(check: object, *args: object) -> int:
    try:
        check(*args)  # type: ignore[operator]
    except HttpError as error:
        return error.status
    return 200


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:8500",
        "localhost.",
        "127.0.0.1:8500",
        "[::1]:8500",
        "[::1]",
        "[0:0:0:0:0:0:0:1]:1",
        "10.1.2.3:80",
        "agent.example:8500",
        "agent.example.:8500",
        "[::ffff:127.0.0.1]:8500",
        "localhost:",
    ],
)
def test_h10_our_own_names_are_answered(host: str) -> None:
    assert status(guard.check_host, host) == 200


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "localhost.evil.example",
        "evil.example:8500",
        "127.0.0.1.evil.example",
        "127.0.0.2",
        "0.0.0.0",
        "[::2]",
        "[::1",
        "[::1]x",
        "::1",
        "localhost:x",
        "localhost:8500:1",
        "a@localhost",
        "localhost@evil.example",
        "localhost evil",
        "2130706433",
        "0x7f.1",
        "localhost:٨",
    ],
)
def test_h10_other_names_are_misdirected(host: str) -> None:
    with pytest.raises(HttpError) as caught:
        guard.check_host(host)
    assert caught.value.status == 421
    assert "http_config.allow_hosts" in caught.value.text


def test_h10_the_address_the_connection_came_in_on_is_ours_by_number() -> None:
    assert status(guard.check_host, "192.0.2.7:8500", "192.0.2.7") == 200
    assert status(guard.check_host, "192.0.2.8:8500", "192.0.2.7") == 421
    assert status(guard.check_host, "[2001:db8::1]", "2001:DB8:0::1") == 200


def test_h10_a_request_of_http_1_0_may_lack_a_host() -> None:
    assert status(guard.check_host, None) == 200


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "Cross-Site"}, 403),
        ({"Origin": "http://localhost:8500"}, 200),
        ({"Origin": "http://LocalHost:3000"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "http://localhost.evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:8500"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({"Origin": "http://["}, 403),
        ({"Origin": "http://localhost", "Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
def test_h10_other_sites_do_not_change_state(headers: dict[str, str], expected: int) -> None:
    assert status(guard.check_write, {"Host": "localhost:8500"} | headers, "127.0.0.1") == expected


@pytest.mark.parametrize(
    ("remote", "expected"),
    [
        ("127.0.0.1", 200),
        ("127.9.9.9", 200),
        ("::1", 200),
        ("::ffff:127.0.0.1", 200),
        (None, 200),
        ("192.168.1.77", 200),
        ("::ffff:192.168.1.77", 200),
        ("fd12::1", 200),
        ("fe80::1%eth0", 403),
        ("192.168.2.1", 403),
        ("8.8.8.8", 403),
        ("2001:db8::1", 403),
        ("", 403),
        ("nonsense", 403),
    ],
)
def test_other_networks_do_not_change_state(remote: str | None, expected: int) -> None:
    assert status(guard.check_write, {"Host": "localhost"}, remote) == expected


def test_a_refused_network_is_told_which_key_to_set() -> None:
    with pytest.raises(HttpError, match=r"http_config\.allow_write_http_from"):
        Guard().check_write({"Host": "localhost"}, "10.0.0.1")


def test_names_are_compared_in_one_spelling() -> None:
    assert host_name("[2001:DB8:0:0::1]:80") == "2001:db8::1"
    assert host_name("  Host.  ") == "host"
    assert parse_ip("::ffff:1.2.3.4") == parse_ip("1.2.3.4")
    assert parse_ip("fe80::1%eth0") == parse_ip("fe80::1")


@given(st.text(max_size=60))
def test_any_host_header_is_a_name_or_nothing(text: str) -> None:
    name = host_name(text)
    assert name is None or (name and "/" not in name) or "/" in text
