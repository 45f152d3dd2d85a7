"""Every spelling of an address in the agent's flags and keys (R-35)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from agent.addresses import announced_ip, bound_ip, bound_places
from agent.client import ApiError, Client
from agent.config import AgentConfig, AgentConfigError
from agent.config_parse import parse

if TYPE_CHECKING:
    from pathlib import Path

DATA = "-data-dir=/nonexistent/data"

BOUND = {
    "10.0.0.1": "10.0.0.1",
    "0.0.0.0": "0.0.0.0",
    "::": "::",
    "[::]": "::",
    "::1": "::1",
    "[::1]": "::1",
    "0:0:0:0:0:0:0:1": "::1",
    "2001:DB8:0::0001": "2001:db8::1",
    "[2001:DB8::1]": "2001:db8::1",
    "::ffff:10.0.0.1": "10.0.0.1",
    "[::ffff:10.0.0.1]": "10.0.0.1",
    "::ffff:a00:1": "10.0.0.1",
    "fe80::1%eth0": "fe80::1%eth0",
    "[FE80::1%eth0]": "fe80::1%eth0",
    "fe80::1%2": "fe80::1%2",
    "::1%lo": "::1",
    "2001:db8::1%eth0": "2001:db8::1",
}
"""What is typed for an address that is bound here, and its one spelling."""

NOT_BOUND = [
    "localhost",
    "host:8301",
    "10.0.0",
    "10.0.0.256",
    "010.0.0.1",
    "[10.0.0.1]",
    "[localhost]",
    "[::1",
    "::1]",
    "[]",
    "::g",
    "1:2:3",
    "fe80::1%",
    "name/10.0.0.1:80",
    "10.0.0.1/8",
    "http://10.0.0.1",
]

WITH_PORT = ["10.0.0.1:8301", "[::1]:8301", "[fe80::1%eth0]:8301", "[::ffff:10.0.0.1]:8301"]


def error_of(*argv: str) -> str:
    with pytest.raises(AgentConfigError) as caught:
        parse([DATA, *argv])
    (error,) = caught.value.errors
    return error


def load(tmp_path: Path, **settings: object) -> AgentConfig:
    file = tmp_path / "agent.json"
    file.write_text(json.dumps(settings))
    return parse([DATA, f"-config-file={file}"])


@pytest.mark.parametrize(("typed", "ip"), BOUND.items())
def test_r35_every_spelling_of_an_address_is_understood(
    typed: str, ip: str, tmp_path: Path
) -> None:
    assert bound_ip(typed) == ip
    assert parse([DATA, f"-bind={typed}"]).bind_addr == ip
    assert parse([DATA, f"-client={typed}"]).http_binds == (ip,)
    config = load(tmp_path, bind_addr=typed, client_addr=typed, addresses={"http": typed})
    assert (config.bind_addr, config.client_addr, config.addresses.http) == (ip, ip, ip)


@pytest.mark.parametrize(("typed", "ip"), BOUND.items())
def test_r35_an_announced_address_has_no_zone(typed: str, ip: str, tmp_path: Path) -> None:
    plain = ip.partition("%")[0]
    assert announced_ip(typed) == plain
    if plain in {"::", "0.0.0.0"}:
        assert error_of(f"-advertise={typed}").endswith("is not an address of one host")
        return
    config = parse([DATA, "-server", f"-advertise={typed}", f"-advertise-wan={typed}"])
    assert (config.advertise_addr, config.advertise_addr_wan) == (plain, plain)
    assert config.gossip_config("").advertise == plain
    assert load(tmp_path, advertise_addr=typed).advertise_addr == plain


@pytest.mark.parametrize("flag", ["bind", "advertise", "advertise-wan"])
@pytest.mark.parametrize("typed", NOT_BOUND)
def test_r35_what_is_no_address_is_refused_as_it_was_typed(flag: str, typed: str) -> None:
    assert error_of(f"-{flag}={typed}") == f'flag -{flag}: "{typed}" is not an IP address'


@pytest.mark.parametrize("typed", NOT_BOUND)
def test_r35_what_is_no_http_address_is_refused_as_it_was_typed(typed: str, tmp_path: Path) -> None:
    wanted = f'"{typed}" is not an IP address or unix:///path'
    assert error_of(f"-client=127.0.0.1 {typed}") == f"flag -client: {wanted}"
    with pytest.raises(AgentConfigError) as caught:
        load(tmp_path, addresses={"http": typed})
    assert caught.value.errors[0].endswith(f"key addresses.http: {wanted}")


@pytest.mark.parametrize("typed", WITH_PORT)
@pytest.mark.parametrize(
    ("flag", "port"),
    [
        ("bind", "ports.serf_lan"),
        ("advertise", "ports.serf_lan"),
        ("advertise-wan", "ports.serf_wan"),
        ("client", "ports.http"),
    ],
)
def test_r35_a_port_behind_an_address_is_told_its_own_setting(
    flag: str, port: str, typed: str
) -> None:
    assert error_of(f"-{flag}={typed}") == (
        f'flag -{flag}: "{typed}" has a port, which is a setting of its own: {port}'
    )


@pytest.mark.parametrize("flag", ["bind", "client", "rpc-addr"])
def test_a_link_local_address_without_its_interface_is_refused(flag: str) -> None:
    typed = "[fe80::1]:7373" if flag == "rpc-addr" else "fe80::1"
    assert error_of(f"-{flag}={typed}") == (
        f'flag -{flag}: "fe80::1" is link-local and needs its interface, as in fe80::1%eth0'
    )


def test_places_are_separated_by_any_space_and_bound_once() -> None:
    typed = " 127.0.0.1  [::1]\tunix:///run/Gossip.sock ::ffff:127.0.0.1 "
    assert bound_places(typed) == "127.0.0.1 ::1 unix:///run/Gossip.sock"


@pytest.mark.parametrize(
    ("typed", "bind"),
    [
        ("[::1]:7373", ("::1", 7373)),
        ("[0:0::1]:1", ("::1", 1)),
        ("[::ffff:127.0.0.1]:7373", ("127.0.0.1", 7373)),
    ],
)
def test_r35_every_spelling_of_the_rpc_address_is_understood(typed: str, bind: object) -> None:
    assert parse([DATA, f"-rpc-addr={typed}"]).rpc_bind == bind


def test_r35_the_rpc_may_listen_on_one_link() -> None:
    config = parse([DATA, "-rpc-addr=[fe80::1%eth0]:7373", "-rpc-auth=s3cret-key"])
    assert config.rpc_bind == ("fe80::1%eth0", 7373)


@pytest.mark.parametrize("typed", ["::1:7373", "::1", "[::1]", "[127.0.0.1]:1", "[::1]7373", ":1"])
def test_r35_ipv6_of_the_rpc_address_stands_in_brackets(typed: str) -> None:
    assert error_of(f"-rpc-addr={typed}") == (
        f'flag -rpc-addr: "{typed}" is not IP:port, [IPv6]:port or unix:///path'
    )


SEEDS = (
    "10.0.0.1", "10.0.0.1:8301", "::1", "[::1]", "[::1]:8301", "fe80::1%eth0",
    "[fe80::1%eth0]:8301", "[::ffff:10.0.0.1]:8301", "web-1/[::1]:8301", "seed.example:8301",
)  # fmt: skip
SEED_FLAGS = ["join", "retry-join", "join-wan", "retry-join-wan"]


@pytest.mark.parametrize("flag", SEED_FLAGS)
def test_r35_every_spelling_of_a_seed_is_kept_as_it_was_typed(flag: str) -> None:
    config = parse([DATA, "-server", *(f"-{flag}={seed}" for seed in SEEDS)])
    assert SEEDS in {
        config.start_join,
        config.retry_join,
        config.start_join_wan,
        config.retry_join_wan,
    }


@pytest.mark.parametrize("flag", SEED_FLAGS)
@pytest.mark.parametrize(
    "typed", ["10.0.0.1:x", "10.0.0.1:0", "[::1", "[::1]8301", "1:2:3", "a b", "fe80::1%"]
)
def test_r35_a_seed_that_can_never_answer_is_refused_at_the_start(flag: str, typed: str) -> None:
    assert error_of("-server", f"-{flag}={typed}").startswith(f"flag -{flag}: address {typed!r}: ")


# The address of an agent that commands ask


@pytest.mark.parametrize(
    ("typed", "url"),
    [
        ("", "http://127.0.0.1:8500"),
        ("localhost", "http://localhost:8500"),
        ("10.0.0.1:80", "http://10.0.0.1:80"),
        ("http://10.0.0.1", "http://10.0.0.1:80"),
        (":9500", "http://localhost:9500"),
        ("::1", "http://[::1]:8500"),
        ("2001:db8::1:8500", "http://[2001:db8::1:8500]:8500"),
        ("[::1]", "http://[::1]:8500"),
        ("[::1]:9500", "http://[::1]:9500"),
        ("http://[::1]:9500/", "http://[::1]:9500"),
        ("http://[::1]", "http://[::1]:80"),
        ("::ffff:10.0.0.1", "http://[::ffff:10.0.0.1]:8500"),
        ("fe80::1%eth0", "http://[fe80::1%eth0]:8500"),
        ("[fe80::1%eth0]:9500", "http://[fe80::1%eth0]:9500"),
        ("http://[fe80::1%25eth0]:9500", "http://[fe80::1%eth0]:9500"),
        ("unix:///run/g.sock", "unix:///run/g.sock"),
    ],
)
def test_r35_every_spelling_of_the_agents_address_is_understood(typed: str, url: str) -> None:
    assert Client(typed).address == url


@pytest.mark.parametrize(
    "typed",
    [
        "::g", "1:2:3", "host:1:2", "[::1", "::1]", "[::1]x", "[::1]:x", "[host]:80", "fe80::1%",
        "[fe80::1%]:80", "[10.0.0.1]:80", ":", "http://", "ftp://[::1]",
    ],
)  # fmt: skip
def test_r35_a_wrong_address_of_the_agent_is_named(typed: str) -> None:
    with pytest.raises(ApiError) as caught:
        Client(typed)
    assert str(caught.value) == (
        f'address "{typed}" is not host:port, http://host:port or unix:///path'
    )
