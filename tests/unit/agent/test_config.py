"""The agent's configuration: flags, validation, and what it makes of the pool."""

from __future__ import annotations

import base64
import socket
import tomllib
from dataclasses import FrozenInstanceError, fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from agent.config import AgentConfig, AgentConfigError, Ports, decode_key
from agent.config_parse import AGENT_FLAGS, parse
from agent.settings import DECLARED, SETTINGS
from agent.version import VERSION
from gossip.errors import ConfigError

DATA = "-data-dir=/nonexistent/data"
KEY = base64.b64encode(bytes(range(32))).decode()
ID = "3d9a3f0a-5b6c-4f7e-9b3e-0123456789ab"


def errors_of(*argv: str) -> tuple[str, ...]:
    with pytest.raises(AgentConfigError) as caught:
        parse(argv)
    return caught.value.errors


def test_the_defaults_are_those_of_a_consul_client() -> None:
    config = parse([DATA])
    assert config.node_name == socket.gethostname()
    assert (config.server, config.dev, config.datacenter) == (False, False, "dc1")
    assert (config.bind_addr, config.client_addr) == ("0.0.0.0", "127.0.0.1")
    assert (config.ports.http, config.ports.serf_lan, config.ports.server) == (8500, 8301, 8300)
    assert (config.leave_on_terminate, config.skip_leave_on_interrupt) == (True, False)
    assert (config.retry_interval, config.retry_max) == (30.0, 0)
    assert config.reconnect_timeout == 72 * 3600
    assert config.log_level == "INFO"


def test_a_server_stays_in_the_cluster_when_stopped() -> None:
    config = parse([DATA, "-server"])
    assert (config.leave_on_terminate, config.skip_leave_on_interrupt) == (False, True)


def test_development_mode_is_a_fast_server_on_loopback_without_disk() -> None:
    config = parse(["-dev", "-data-dir=/ignored"])
    assert (config.server, config.bind_addr, config.data_dir) == (True, "127.0.0.1", "")
    pool = config.gossip_config(ID)
    assert (pool.probe_interval, pool.probe_timeout) == (0.1, 0.1)
    assert (pool.gossip_interval, pool.suspicion_mult) == (0.1, 3)


def test_flags_override_what_development_mode_sets() -> None:
    config = parse(["-dev", "-server=false", "-bind=127.0.0.9", "-log-level=warn"])
    assert (config.server, config.bind_addr, config.log_level) == (False, "127.0.0.9", "WARN")
    assert config.leave_on_terminate


@pytest.mark.parametrize(
    ("argv", "key", "value"),
    [
        (["-node=n1"], "node_name", "n1"),
        (["-node="], "node_name", socket.gethostname()),
        (["-datacenter=East_1-A"], "datacenter", "east_1-a"),
        (["--dc", "DC2"], "datacenter", "dc2"),
        (["-bind=[::1]"], "bind_addr", "::1"),
        (["-advertise=10.0.0.1"], "advertise_addr", "10.0.0.1"),
        (["-client=127.0.0.1 ::1"], "client_addr", "127.0.0.1 ::1"),
        (["-client", "unix:///run/g.sock"], "client_addr", "unix:///run/g.sock"),
        (["-http-port=-1"], "ports.http", -1),
        (["-serf-lan-port=0"], "ports.serf_lan", 0),
        (["-join=a", "-join=b:1"], "start_join", ("a", "b:1")),
        (["-retry-join=a"], "retry_join", ("a",)),
        (["-retry-interval=1m30s"], "retry_interval", 90.0),
        (["-server", "-join-wan=a", "-join-wan=b"], "start_join_wan", ("a", "b")),
        (["-server", "-retry-join-wan=a"], "retry_join_wan", ("a",)),
        (["-retry-interval-wan=5s"], "retry_interval_wan", 5.0),
        (["-retry-max-wan=2"], "retry_max_wan", 2),
        (["-advertise-wan=[::1]"], "advertise_addr_wan", "::1"),
        (["-retry-max=3"], "retry_max", 3),
        (["-rejoin"], "rejoin_after_leave", True),
        (["-encrypt", KEY], "encrypt", KEY),
        (["-log-level=error"], "log_level", "ERR"),
        (["-pid-file=/run/x.pid"], "pid_file", "/run/x.pid"),
        ([f"-node-id={ID.upper()}"], "node_id", ID),
        (["-disable-host-node-id"], "disable_host_node_id", True),
        (["-disable-keyring-file"], "disable_keyring_file", True),
        (
            ["-allow-write-http-from=10.0.0.0/8"],
            "http_config.allow_write_http_from",
            ("10.0.0.0/8",),
        ),
        (["-server", "-bootstrap"], "bootstrap", True),
        (["-server", "-bootstrap-expect=3"], "bootstrap_expect", 3),
        (["-server", "-bootstrap-expect=1"], "bootstrap", True),
        (["-server", "-bootstrap-expect=1"], "bootstrap_expect", 0),
        (["-server", "-bootstrap-expect=1"], "leads", True),
        (["-server", "-bootstrap"], "leads", True),
        (["-server", "-bootstrap-expect=3"], "leads", False),
        (["-dev"], "leads", True),
        ([], "leads", False),
        (["-protocol=3"], "protocol", 3),
    ],
)
def test_a_flag_sets_the_setting_of_the_same_meaning(argv: list[str], key: str, value: Any) -> None:
    found: Any = parse([DATA, *argv])
    for part in key.split("."):
        found = getattr(found, part)
    assert found == value


@pytest.mark.parametrize(
    ("argv", "error"),
    [
        ([], "key data_dir: is required unless -dev is given"),
        (["-data-dir=/dev/null"], 'flag -data-dir: "/dev/null" is not a directory'),
        ([DATA, "-dc=a.b"], 'flag -datacenter: "a.b" may hold only letters, digits, dashes'),
        ([DATA, "-datacenter="], 'flag -datacenter: "" may hold only'),
        ([DATA, "-datacenter=k\u00f6ln"], "flag -datacenter: "),
        ([DATA, "-node=a\nb"], "flag -node: 'a\\nb' is empty or has control characters"),
        ([DATA, f"-node={'n' * 256}"], "flag -node: "),
        ([DATA, "-node-id=xyz"], 'flag -node-id: "xyz" is not a UUID'),
        ([DATA, "-disable-host-node-id=false"], "flag -disable-host-node-id: "),
        ([DATA, "-bind=foo"], 'flag -bind: "foo" is not an IP address'),
        ([DATA, "-bind=fe80::1"], 'flag -bind: "fe80::1" is link-local and needs its interface'),
        ([DATA, "-advertise=0.0.0.0"], 'flag -advertise: "0.0.0.0" is not an address of one host'),
        ([DATA, "-advertise=224.0.0.1"], "flag -advertise: "),
        ([DATA, "-client="], "flag -client: is empty"),
        ([DATA, "-client=localhost"], 'flag -client: "localhost" is not an IP address or unix:'),
        ([DATA, "-http-port=65536"], "flag -http-port: 65536 is not a port from -1 to 65535"),
        ([DATA, "-serf-lan-port=-1"], "flag -serf-lan-port: -1 is not a port from 0 to 65535"),
        ([DATA, "-serf-lan-port=8500"], "key ports.http: 8500 is the gossip port"),
        ([DATA, "-bootstrap"], "flag -bootstrap: needs server"),
        ([DATA, "-bootstrap-expect=3"], "flag -bootstrap-expect: needs server"),
        ([DATA, "-server", "-bootstrap-expect=-1"], "flag -bootstrap-expect: -1 is below 0"),
        (
            [DATA, "-server", "-bootstrap", "-bootstrap-expect=3"],
            "flag -bootstrap-expect: excludes",
        ),
        (["-dev", "-bootstrap-expect=3"], "flag -bootstrap-expect: is not allowed in development"),
        ([DATA, "-join="], "flag -join: an address is empty"),
        ([DATA, "-retry-interval=5"], 'flag -retry-interval: missing unit in duration "5"'),
        ([DATA, "-retry-interval=0s"], "flag -retry-interval: 0s is not above 0s"),
        ([DATA, "-retry-max=-1"], "flag -retry-max: -1 is below 0"),
        ([DATA, "-server", "-join-wan="], "flag -join-wan: an address is empty"),
        ([DATA, "-join-wan=a"], "flag -join-wan: needs a WAN pool: server, and ports.serf_wan"),
        (
            [DATA, "-server", "-serf-wan-port=-1", "-retry-join-wan=a"],
            "flag -retry-join-wan: needs a WAN pool",
        ),
        ([DATA, "-retry-interval-wan=0s"], "flag -retry-interval-wan: 0s is not above 0s"),
        ([DATA, "-retry-max-wan=-1"], "flag -retry-max-wan: -1 is below 0"),
        ([DATA, "-advertise-wan=x"], 'flag -advertise-wan: "x" is not an IP address'),
        (
            [DATA, "-server", "-serf-wan-port=8301"],
            "flag -serf-wan-port: 8301 is the port of ports.serf_lan already",
        ),
        ([DATA, "-server", "-http-port=8302"], "flag -http-port: 8302 is the gossip port"),
        (
            [DATA, "-server", f"-node={'n' * 252}"],
            "flag -node: name '",
        ),
        (
            [DATA, "-server", "-node=a.dc1", "-serf-wan-port=-1"],
            'flag -node: "a.dc1" is what a server is called in the WAN pool',
        ),
        ([DATA, "-log-level=loud"], 'flag -log-level: "LOUD" is not one of TRACE, DEBUG'),
        ([DATA, "-protocol=1"], "flag -protocol: 1 is not between 2 and 3"),
        ([DATA, "-allow-write-http-from=10"], "flag -allow-write-http-from: "),
        ([DATA, "stray"], "unexpected arguments: stray"),
        (
            [DATA, "-datacentre=x"],
            'unknown flag -datacentre (value "x"); did you mean -datacenter?',
        ),
    ],
)
def test_a_bad_value_is_reported_with_its_flag(argv: list[str], error: str) -> None:
    (found,) = errors_of(*argv)
    assert found.startswith(error)


def test_every_mistake_is_reported_at_once() -> None:
    found = errors_of("-dc=a.b", "-bind=foo", "-bogus", "-retry-interval=5", "-http-port=x", "more")
    assert len(found) == 6


def test_a_value_that_could_not_be_read_is_not_reported_as_missing_too() -> None:
    (found,) = errors_of("-data-dirr=/var/lib/gossip")
    assert "-data-dirr" in found


@pytest.mark.parametrize("size", [16, 24, 32])
def test_a_key_has_16_24_or_32_bytes(size: int) -> None:
    text = base64.b64encode(bytes(size)).decode()
    assert parse([DATA, f"-encrypt={text}"]).gossip_keys == (bytes(size),)


@pytest.mark.parametrize("size", [1, 15, 17, 33])
def test_a_key_of_another_size_is_refused_without_showing_it(size: int) -> None:
    text = base64.b64encode(b"\xa7" * size).decode()
    (found,) = errors_of(DATA, f"-encrypt={text}")
    assert found == f"flag -encrypt: the key has {size} bytes, not 16, 24 or 32"


@pytest.mark.parametrize("text", ["not/base64!", "c2VjcmV0", "=", "\u00fc"])
def test_no_text_about_a_bad_key_quotes_it(text: str) -> None:
    (found,) = errors_of(DATA, f"-encrypt={text}")
    assert text not in found.removeprefix("flag -encrypt")


def test_no_representation_shows_a_secret() -> None:
    config = parse([DATA, f"-encrypt={KEY}"]).replace(acl_token="t0psecret")
    pool = config.gossip_config(ID)
    assert KEY not in repr(config) + repr(pool)
    assert "t0psecret" not in repr(config)
    assert repr(bytes(range(32)))[2:-1] not in repr(pool)


def test_a_configuration_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        parse([DATA]).server = True  # type: ignore[misc]


def test_a_configuration_made_by_hand_is_checked_too() -> None:
    with pytest.raises(AgentConfigError, match="datacenter") as caught:
        AgentConfig(node_name="n", data_dir="/x", datacenter="A B", ports=Ports(http=70000))
    assert [key for key, _ in caught.value.problems] == ["datacenter", "ports.http"]


def test_verification_of_what_nobody_encrypts_is_refused() -> None:
    with pytest.raises(AgentConfigError, match="encrypt_verify_incoming"):
        AgentConfig(node_name="n", data_dir="/x", encrypt=KEY, encrypt_verify_outgoing=False)


def test_what_the_pool_refuses_is_reported_with_its_key() -> None:
    with pytest.raises(AgentConfigError, match=r"gossip_lan\.probe_timeout: probe_timeout 5"):
        parse([DATA]).replace(gossip_lan=type(parse([DATA]).gossip_lan)(probe_timeout=5.0))


def test_http_listens_where_addresses_http_says_or_else_on_client_addr() -> None:
    config = parse([DATA, "-client=127.0.0.1 127.0.0.2"])
    assert config.http_binds == ("127.0.0.1", "127.0.0.2")
    moved = config.replace(addresses=type(config.addresses)(http="unix:///run/g.sock"))
    assert moved.http_binds == ("unix:///run/g.sock",)
    assert config.replace(ports=Ports(http=-1)).http_binds == ()


def test_the_tags_of_a_client_are_consuls() -> None:
    tags = parse([DATA, "-dc=east"]).gossip_config(ID).tags
    assert tags == {
        "role": "node",
        "dc": "east",
        "segment": "",
        "id": ID,
        "vsn": "2",
        "vsn_min": "2",
        "vsn_max": "3",
        "build": "0.1.0:pygossip",
        "acls": "0",
    }


def test_the_tags_of_a_server_are_consuls() -> None:
    client = parse([DATA]).member_tags(ID)
    server = parse([DATA, "-server", "-server-port=7300"]).member_tags(ID)
    assert server == client | {
        "role": "consul",
        "port": "7300",
        "raft_vsn": "3",
        "ft_fs": "1",
        "gapi": "1",
    }
    assert parse([DATA, "-server", "-bootstrap"]).member_tags(ID)["bootstrap"] == "1"
    assert parse([DATA, "-server", "-bootstrap-expect=5"]).member_tags(ID)["expect"] == "5"


def test_a_server_announces_its_wan_pool_in_the_lan_pool_only() -> None:
    config = parse([DATA, "-server", "-serf-wan-port=9302"])
    assert config.gossip_config(ID).tags == config.member_tags(ID) | {"wan_join_port": "9302"}
    assert config.wan_gossip_config(ID).tags == config.member_tags(ID)
    for argv in (["-server", "-serf-wan-port=-1"], ["-serf-wan-port=9302"]):
        assert "wan_join_port" not in parse([DATA, *argv]).gossip_config(ID).tags


@pytest.mark.parametrize(
    ("argv", "port", "runs"),
    [
        ([], -1, False),
        (["-server"], 8302, True),
        (["-dev"], 8302, True),
        (["-server", "-serf-wan-port=0"], 0, True),
        (["-server", "-serf-wan-port=-1"], -1, False),
        (["-serf-wan-port=8302"], 8302, False),
    ],
)
def test_servers_run_a_wan_pool_unless_it_is_off(argv: list[str], port: int, runs: bool) -> None:
    config = parse([DATA, *argv])
    assert (config.ports.serf_wan, config.runs_wan) == (port, runs)


def test_the_wan_pool_has_consuls_values() -> None:
    argv = [DATA, "-node=n1", "-server", "-bind=127.0.0.1", "-advertise=10.0.0.1", "-dc=east"]
    pool = parse([*argv, f"-encrypt={KEY}"]).wan_gossip_config(ID)
    assert (pool.name, pool.bind, pool.port, pool.advertise) == (
        "n1.east",
        "127.0.0.1",
        8302,
        "10.0.0.1",
    )
    assert (pool.probe_interval, pool.probe_timeout, pool.suspicion_mult) == (5.0, 3.0, 6)
    assert (pool.gossip_interval, pool.gossip_nodes, pool.push_pull_interval) == (0.5, 4, 60.0)
    assert (pool.tcp_timeout, pool.gossip_to_the_dead_time) == (30.0, 60.0)
    assert (pool.reconnect_timeout, pool.leave_propagate_delay) == (72 * 3600, 3.0)
    assert (pool.protocol_version, pool.keys) == (4, (bytes(range(32)),))
    assert parse([*argv, "-advertise-wan=8.8.8.8"]).wan_gossip_config(ID).advertise == "8.8.8.8"


def test_development_mode_hurries_in_the_wan_pool_too() -> None:
    config = parse(["-dev"])
    lan, wan = config.gossip_config(ID), config.wan_gossip_config(ID)
    for name in ("probe_interval", "probe_timeout", "gossip_interval", "suspicion_mult"):
        assert getattr(wan, name) == getattr(lan, name)


def test_the_pool_has_consuls_values() -> None:
    pool = parse([DATA, "-node=n1", "-bind=127.0.0.1", "-advertise=10.0.0.1"]).gossip_config(ID)
    assert (pool.name, pool.bind, pool.port, pool.advertise) == (
        "n1",
        "127.0.0.1",
        8301,
        "10.0.0.1",
    )
    assert (pool.probe_interval, pool.probe_timeout, pool.suspicion_mult) == (1.0, 0.5, 4)
    assert (pool.gossip_interval, pool.gossip_nodes, pool.push_pull_interval) == (0.2, 3, 30.0)
    assert (pool.reconnect_timeout, pool.leave_propagate_delay) == (72 * 3600, 3.0)
    assert (pool.dead_node_reclaim_time, pool.min_queue_depth) == (30.0, 4096)
    assert pool.protocol_version == 4
    assert not pool.resolve_name_conflicts
    assert pool.keys == ()


def test_snapshots_are_where_consul_keeps_them_and_nowhere_in_development_mode() -> None:
    config = parse(["-data-dir=/var/lib/gossip", "-rejoin"])
    assert config.snapshot_path("local") == Path("/var/lib/gossip/serf/local.snapshot")
    assert config.snapshot_path("remote") == Path("/var/lib/gossip/serf/remote.snapshot")
    assert parse(["-dev", "-data-dir=/var/lib/gossip"]).snapshot_path("local") is None
    assert config.gossip_config(ID).rejoin_after_leave
    assert not parse([DATA]).gossip_config(ID).rejoin_after_leave


def test_keys_and_settings_given_by_the_caller_win() -> None:
    config = parse([DATA, f"-encrypt={KEY}"])
    assert config.gossip_config(ID).keys == (bytes(range(32)),)
    ring = [bytes(16), bytes(32)]
    assert config.gossip_config(ID, keys=ring, port=1234).keys == tuple(ring)
    assert config.gossip_config(ID, port=1234).port == 1234


@pytest.mark.parametrize(
    ("argv", "word"),
    [
        (["-bind=0.0.0.0"], "not encrypted"),
        (["-advertise=8.8.8.8"], "not encrypted"),
        (["-node=a_b"], "DNS"),
        (["-advertise=fd00::1"], "advertise_addr fd00::1 is not of the family of bind_addr 127"),
        (["-bind=::1", "-advertise=10.0.0.1"], "advertise_addr 10.0.0.1 is not of the family"),
        (["-server", "-advertise-wan=fd00::1"], "advertise_addr_wan fd00::1 is not of the family"),
        (["-server"], "Raft"),
    ],
)
def test_what_is_allowed_and_doubtful_is_warned_about(argv: list[str], word: str) -> None:
    quiet = ["-node=n1", "-bind=127.0.0.1", DATA]
    assert parse(quiet).warnings() == []
    assert any(word in warning for warning in parse([*quiet, *argv]).warnings())


@pytest.mark.parametrize("advertise", ["10.0.0.1", "fd00::1"])
def test_an_agent_on_all_addresses_may_advertise_either_family(advertise: str) -> None:
    assert parse(["-node=n1", "-bind=::", f"-advertise={advertise}", DATA]).warnings() == []


def test_R49_verification_that_is_off_is_warned_about() -> None:  # noqa: N802 - the rule's own name
    config = parse(["-node=n1", "-bind=127.0.0.1", DATA, f"-encrypt={KEY}"])
    assert config.warnings() == []
    config = config.replace(encrypt_verify_incoming=False, encrypt_verify_outgoing=False)
    assert len(config.warnings()) == 2


def test_a_public_address_with_a_key_is_not_warned_about() -> None:
    config = parse(["-node=n1", DATA, "-advertise=8.8.8.8", f"-encrypt={KEY}"])
    assert config.warnings() == []


def test_every_setting_has_a_field_and_every_field_a_setting() -> None:
    def keys(kind: Any, prefix: str = "") -> list[str]:
        found = []
        for f in fields(kind):
            value = getattr(kind, f.name)
            nested = is_dataclass(value)
            found += keys(value, f"{prefix}{f.name}.") if nested else [f"{prefix}{f.name}"]
        return found

    assert sorted(keys(parse([DATA]))) == sorted(SETTINGS)


def test_every_flag_has_a_help_text_and_a_name_of_its_own() -> None:
    names = [name for flag in AGENT_FLAGS for name in (flag.name, *flag.aliases)]
    assert len(names) == len(set(names))
    assert all(flag.text.endswith((".", ")")) or flag.text[-1] == "." for flag in AGENT_FLAGS)


def test_the_version_is_that_of_the_project() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    assert project["version"] == VERSION


def test_decoding_a_key_fails_with_a_config_error() -> None:
    with pytest.raises(ConfigError, match="not base64"):
        decode_key("?")


@pytest.mark.parametrize("port", ["0", "-1"])
def test_a_server_without_a_port_announces_none(port: str) -> None:
    config = parse([DATA, "-server", f"-server-port={port}"])
    assert not config.member_tags(ID).keys() & {"port", "gapi"}
    assert config.member_tags(ID, server_port=4711).items() >= {"port": "4711", "gapi": "1"}.items()


@pytest.mark.parametrize(
    ("argv", "problem"),
    [
        (["-server", "-server-port=8301"], "8301 is the gossip port (ports.serf_lan) already"),
        (["-server", "-server-port=8500"], "8500 is the HTTP port (ports.http) already"),
    ],
)
def test_a_server_has_a_port_of_its_own(argv: list[str], problem: str) -> None:
    with pytest.raises(AgentConfigError) as caught:
        parse([DATA, *argv])
    assert caught.value.errors == (f"flag -server-port: {problem}",)
    parse([DATA, *argv[1:]])


def test_tags_of_flags_and_files_stand_beside_the_agents_own(tmp_path: Path) -> None:
    path = tmp_path / "tags.json"
    path.write_text('{"tags": {"zone": "eu", "rack": "1"}}')

    config = parse([DATA, f"-config-file={path}", "-tag=rack=2", "--tag", "empty="])

    assert config.tags == {"zone": "eu", "rack": "2", "empty": ""}
    assert config.gossip_config(ID).tags.items() >= {"zone": "eu", "dc": "dc1"}.items()


@pytest.mark.parametrize(
    ("tag", "problem"),
    [
        ("dc=x", '"dc" is a tag that the agent sets itself'),
        ("gapi=1", '"gapi" is a tag that the agent sets itself'),
        ("a\tb=1", "or its value is empty or has control characters"),
        ("=1", "or its value is empty or has control characters"),
        (f"long={'x' * 512}", "encoded, exceed the limit of 512"),
        ("lonely", "is not an object of strings (as a flag: name=value)"),
    ],
)
def test_tags_that_cannot_be_are_refused(tag: str, problem: str) -> None:
    with pytest.raises(AgentConfigError, match="tag") as refused:
        parse([DATA, f"-tag={tag}"])
    assert problem in str(refused.value)


# Serf's RPC


@pytest.mark.parametrize(
    ("text", "bind"),
    [
        ("127.0.0.1:7373", ("127.0.0.1", 7373)),
        ("127.0.0.1:0", ("127.0.0.1", 0)),
        ("[::1]:7373", ("::1", 7373)),
        ("unix:///run/gossip/rpc", Path("/run/gossip/rpc")),
    ],
)
def test_serfs_rpc_listens_at_an_address_or_a_path(text: str, bind: object) -> None:
    assert parse([DATA, f"-rpc-addr={text}"]).rpc_bind == bind


def test_serfs_rpc_is_off_unless_it_has_an_address() -> None:
    assert parse([DATA]).rpc_bind is None
    assert parse([DATA, "-rpc-auth=s3cret-key"]).rpc_bind is None


@pytest.mark.parametrize(
    "text",
    ["7373", "127.0.0.1", "localhost:7373", "127.0.0.1:65536", "127.0.0.1:-1", "unix://", "::1:x"],
)
def test_a_wrong_rpc_address_is_named(text: str) -> None:
    assert errors_of(DATA, f"-rpc-addr={text}") == (
        f'flag -rpc-addr: "{text}" is not IP:port, [IPv6]:port or unix:///path',
    )


@pytest.mark.parametrize("text", ["0.0.0.0:7373", "[::]:7373", "10.0.0.1:7373"])
def test_serfs_rpc_away_from_loopback_needs_a_key_and_is_warned_about(text: str) -> None:
    assert errors_of(DATA, f"-rpc-addr={text}") == (
        f'flag -rpc-addr: "{text}" is not on loopback and needs rpc_auth',
    )
    config = parse([DATA, f"-rpc-addr={text}", "-rpc-auth=s3cret-key"])
    assert any("plain text" in warning for warning in config.warnings())
    assert "s3cret-key" not in f"{config!r}{config.warnings()}"
    assert "s3cret-key" in config.secrets


def test_the_leader_keeps_its_catalog_in_its_data_directory_or_in_memory(tmp_path: Path) -> None:
    data = f"-data-dir={tmp_path}"
    assert parse([data, "-server", "-bootstrap"]).catalog_path == tmp_path / "catalog.db"
    assert parse(["-dev"]).catalog_path is None


def test_every_setting_and_every_flag_is_declared_once() -> None:
    assert len({setting.key for setting in DECLARED}) == len(DECLARED)
    flags = [setting.flag for setting in DECLARED if setting.flag]
    assert len(set(flags)) == len(flags)
