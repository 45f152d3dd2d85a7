"""Settings from JSON files and directories."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from agent.config import AgentConfig, AgentConfigError
from agent.config_parse import parse

if TYPE_CHECKING:
    from pathlib import Path

KEY = "MDEyMzQ1Njc4OWFiY2RlZg=="


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def load(tmp_path: Path, content: Any, *argv: str) -> AgentConfig:
    file = write(tmp_path / "a.json", content)
    return parse([f"-config-file={file}", "-data-dir=/nonexistent", *argv])


def errors_of(tmp_path: Path, content: Any, *argv: str) -> list[str]:
    with pytest.raises(AgentConfigError) as caught:
        load(tmp_path, content, *argv)
    prefix = f"file {tmp_path / 'a.json'}: "
    return [error.removeprefix(prefix) for error in caught.value.errors]


FULL: dict[str, Any] = {
    "server": True,
    "bootstrap": True,
    "bootstrap_expect": 0,
    "datacenter": "East",
    "node_name": "n1",
    "node_id": "3D9A3F0A-5B6C-4F7E-9B3E-0123456789AB",
    "disable_host_node_id": True,
    "data_dir": "/nonexistent",
    "pid_file": "/run/g.pid",
    "bind_addr": "127.0.0.1",
    "advertise_addr": "127.0.0.2",
    "advertise_addr_wan": "127.0.0.3",
    "client_addr": "127.0.0.1",
    "addresses": {"http": "127.0.0.3 unix:///run/g.sock"},
    "ports": {
        "http": 1,
        "dns": -1,
        "https": -1,
        "rpc": 8400,
        "serf_lan": 2,
        "serf_wan": 3,
        "server": 4,
    },
    "start_join": ["a"],
    "retry_join": ["b"],
    "retry_interval": "10s",
    "retry_max": 4,
    "start_join_wan": ["c"],
    "retry_join_wan": ["d"],
    "retry_interval_wan": "20s",
    "retry_max_wan": 5,
    "strict_merge": True,
    "rejoin_after_leave": True,
    "encrypt": KEY,
    "encrypt_verify_incoming": False,
    "encrypt_verify_outgoing": False,
    "disable_keyring_file": True,
    "log_level": "debug",
    "leave_on_terminate": True,
    "skip_leave_on_interrupt": False,
    "reconnect_timeout": "8h",
    "reconnect_timeout_wan": "9h",
    "gossip_lan": {
        "gossip_interval": "100ms",
        "gossip_nodes": 4,
        "probe_interval": "2s",
        "probe_timeout": "1s",
        "suspicion_mult": 5,
        "retransmit_mult": 6,
    },
    "gossip_wan": {"probe_interval": "7s", "retransmit_mult": 3},
    "http_config": {
        "allow_write_http_from": ["10.0.0.0/8", "::1/128"],
        "block_endpoints": ["/v1/agent/join"],
        "response_headers": {"X-Frame-Options": "DENY"},
    },
    "limits": {"http_max_conns_per_client": 7},
    "acl_token": "t0psecret",
    "strict_http_methods": True,
    "watches": [{"type": "event", "args": ["a", "b"]}, {"type": "nodes", "handler": "c"}],
    "domain": "example.",
    "protocol": 3,
    "enable_debug": True,
    "disable_coordinates": True,
}


def test_every_key_of_a_file_arrives(tmp_path: Path) -> None:
    config = load(tmp_path, FULL)
    assert (config.datacenter, config.node_name, config.log_level) == ("east", "n1", "DEBUG")
    assert config.node_id == "3d9a3f0a-5b6c-4f7e-9b3e-0123456789ab"
    assert config.http_binds == ("127.0.0.3", "unix:///run/g.sock")
    assert (config.ports.http, config.ports.serf_lan, config.ports.serf_wan) == (1, 2, 3)
    assert (config.retry_interval, config.reconnect_timeout) == (10.0, 8 * 3600)
    assert (config.gossip_lan.probe_interval, config.gossip_lan.retransmit_mult) == (2.0, 6)
    assert (config.gossip_wan.probe_interval, config.gossip_wan.retransmit_mult) == (7.0, 3)
    assert (config.gossip_wan.probe_timeout, config.gossip_wan.gossip_nodes) == (3.0, 4)
    assert (config.start_join_wan, config.retry_join_wan) == (("c",), ("d",))
    assert (config.retry_interval_wan, config.reconnect_timeout_wan) == (20.0, 9 * 3600)
    assert config.advertise_addr_wan == "127.0.0.3"
    assert config.http_config.response_headers == {"X-Frame-Options": "DENY"}
    assert config.http_config.allow_write_http_from == ("10.0.0.0/8", "::1/128")
    assert (config.limits.http_max_conns_per_client, config.acl_token) == (7, "t0psecret")
    assert (config.leave_on_terminate, config.skip_leave_on_interrupt) == (True, False)
    assert [plan.path for plan in config.watches] == ["/v1/event/list", "/v1/catalog/nodes"]
    assert "t0psecret" not in repr(config)
    for key, value in FULL.items():
        if isinstance(value, (bool, int)):
            assert getattr(config, key) == value, key


def test_flags_override_files_and_lists_append(tmp_path: Path) -> None:
    content = {"datacenter": "a", "retry_join": ["x"], "ports": {"http": 1}}
    config = load(tmp_path, content, "-dc=b", "-retry-join=y", "-http-port=2")
    assert (config.datacenter, config.retry_join, config.ports.http) == ("b", ("x", "y"), 2)


def test_files_are_merged_in_the_order_of_the_command_line(tmp_path: Path) -> None:
    one = write(
        tmp_path / "1.json", {"node_name": "one", "start_join": ["one"], "ports": {"http": 1}}
    )
    folder = tmp_path / "d"
    folder.mkdir()
    write(folder / "b.json", {"node_name": "b", "start_join": ["b"]})
    write(folder / "a.json", {"node_name": "a", "start_join": ["a"], "ports": {"server": 9}})
    write(folder / "c.txt", "not read")
    (folder / "d.json").mkdir()
    argv = [f"-config-dir={folder}", f"-config-file={one}", "-data-dir=/nonexistent"]
    config = parse(argv)
    assert (config.node_name, config.start_join) == ("one", ("a", "b", "one"))
    assert (config.ports.http, config.ports.server) == (1, 9)
    swapped = parse([argv[1], argv[0], argv[2]])
    assert (swapped.node_name, swapped.start_join) == ("b", ("one", "a", "b"))


def test_response_headers_of_several_files_are_merged(tmp_path: Path) -> None:
    extra = write(tmp_path / "b.json", {"http_config": {"response_headers": {"B": "2", "A": "3"}}})
    content = {"http_config": {"response_headers": {"A": "1", "C": "4"}}}
    config = load(tmp_path, content, f"-config-file={extra}")
    assert config.http_config.response_headers == {"A": "3", "B": "2", "C": "4"}


def test_services_and_checks_of_several_files_are_all_there(tmp_path: Path) -> None:
    more = write(
        tmp_path / "b.json",
        {
            "services": [{"name": "db", "id": "db1", "port": 5432}],
            "check": {"id": "mem", "name": "memory", "args": ["free"], "interval": "10s"},
            "checks": [
                {"name": "up", "tcp": "127.0.0.1:1", "interval": "10s", "service_id": "db1"}
            ],
            "enable_local_script_checks": True,
        },
    )
    content = {"service": {"name": "web", "tags": ["a"], "checks": [{"ttl": "1s"}], "token": "t0k"}}
    config = load(tmp_path, content, f"-config-file={more}")
    assert [one.service.id for one in config.services] == ["web", "db1"]
    assert config.services[0].checks[0].id == "service:web"
    assert [(check.id, check.kind) for check in config.checks] == [("mem", "script"), ("up", "tcp")]
    assert "t0k" in config.secrets
    assert "t0k" not in repr(config)
    assert not any("twice" in warning for warning in config.warnings())


def test_what_is_defined_twice_is_warned_about(tmp_path: Path) -> None:
    content = {"services": [{"name": "web"}, {"name": "web", "port": 1}]}
    assert "services are defined twice, the last definition counts: web" in (
        load(tmp_path, content).warnings()
    )


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ({"datacentre": "x"}, 'unknown key datacentre (value "x"); did you mean "datacenter"?'),
        ({"port": {}}, 'unknown key port (value {}); did you mean "ports"?'),
        ({"ports": {"htp": 1}}, 'unknown key ports.htp (value 1); did you mean "http"?'),
        ({"ports.http": 1}, 'unknown key ports.http (value 1); did you mean "'),
        ({"dev": True}, "unknown key dev (value true)"),
        ({"gossip_lan": {"probe_intervall": "1s"}}, "unknown key gossip_lan.probe_intervall"),
        ({"ports": 5}, "key ports: expects an object"),
        ({"server": "yes"}, 'key server: "yes" is not true or false'),
        ({"server": 1}, "key server: 1 is not true or false"),
        ({"retry_max": True}, "key retry_max: true is not a whole number"),
        ({"retry_max": 1.5}, "key retry_max: 1.5 is not a whole number"),
        ({"retry_interval": 30}, 'key retry_interval: 30 is not a duration such as "30s"'),
        ({"retry_interval": "30"}, 'key retry_interval: missing unit in duration "30"'),
        ({"retry_join": "a"}, 'key retry_join: "a" is not a list of strings'),
        ({"retry_join": [1]}, "key retry_join: [1] is not a list of strings"),
        ({"node_name": None}, "key node_name: null is not a string"),
        ({"http_config": {"response_headers": {"A": 1}}}, "key http_config.response_headers: "),
        (
            {"http_config": {"response_headers": {"A": "x\r\ny"}}},
            "key http_config.response_headers: ",
        ),
        ({"acl_token": "t0p\nsecret"}, "key acl_token: it has control characters, or more than"),
        ({"acl_token": "t" * 8193}, "key acl_token: it has control characters, or more than"),
        ({"http_config": {"block_endpoints": ["v1"]}}, "key http_config.block_endpoints: "),
        (
            {"reconnect_timeout": "7h59m"},
            "key reconnect_timeout: 7h59m0s is below the minimum of 8h",
        ),
        (
            {"gossip_lan": {"probe_interval": "1ms"}},
            "key gossip_lan.probe_interval: probe_interval",
        ),
        ({"gossip_lan": {"gossip_nodes": 0}}, "key gossip_lan.gossip_nodes: gossip_nodes 0 is not"),
        (
            {"server": True, "gossip_wan": {"probe_interval": "1s"}},
            "key gossip_wan.probe_timeout: probe_timeout 3",
        ),
        ({"reconnect_timeout_wan": "1h"}, "key reconnect_timeout_wan: 1h0m0s is below the minimum"),
        ({"limits": {"http_max_conns_per_client": -1}}, "key limits.http_max_conns_per_client: -1"),
        ({"connect": {}}, "key connect is Consul's and has no meaning for this agent"),
        ({"disable_remote_exec": False}, "key disable_remote_exec: false is not supported here"),
        ({"services": {}}, "key services: (hidden) is not a list of services"),
        ({"service": {"port": 1}}, "key service: Missing service name"),
        ({"services": [{"name": "a"}, {}]}, "key services: number 2: Missing service name"),
        ({"service": {"name": "a", "port": "x"}}, "key service: Port is not a whole number"),
        (
            {"service": {"name": "a", "chek": {}, "check": {"ttl": "1s", "intervall": "1s"}}},
            "key service: unknown or unsupported keys: chek, Check.intervall",
        ),
        ({"check": {"name": "a"}}, "key check: Invalid check: TTL must be > 0 for TTL checks"),
        ({"check": 1}, "key check: expects an object"),
        ({"tags": [1]}, "key tags: [1] is not an object of strings"),
        ({"node_meta": [["a=b"]]}, "key node_meta: "),
        ({"checks": [1]}, "key checks: expects an object"),
        (
            {"check": {"name": "a", "args": ["true"], "interval": "1s"}},
            "key check: Scripts are disabled on this agent; to enable, configure",
        ),
        ([], "the settings are not a JSON object"),
        ("{", "not JSON: "),
        ('{"server": true,}', "not JSON: "),
        ('{"server": true, "server": false}', "key server appears twice"),
        ("[" * 100_000, "not JSON: nested too deeply"),
    ],
)
def test_a_mistake_in_a_file_names_file_key_and_value(
    tmp_path: Path, content: Any, error: str
) -> None:
    (found,) = errors_of(tmp_path, content)
    assert found.startswith(error)


def test_all_mistakes_of_all_files_are_reported(tmp_path: Path) -> None:
    other = write(tmp_path / "b.json", {"foo": 1, "bar": 2})
    content = {"server": "x", "nod": "y"}
    found = errors_of(tmp_path, content, f"-config-file={other}", "-dc=a.b", "-nope")
    assert len(found) == 6


@pytest.mark.parametrize(
    "key", ["encrypt", "encrpyt", "acl_token", "acl_tokn", "aclToken", "rpc_auth", "rpc_auht"]
)
def test_a_secret_in_a_file_is_not_quoted_even_when_misspelt(tmp_path: Path, key: str) -> None:
    found = errors_of(tmp_path, {key: ["s3cr3tvalue"]})
    assert "s3cr3tvalue" not in "".join(found)


def test_a_syntax_error_does_not_quote_the_file(tmp_path: Path) -> None:
    (found,) = errors_of(tmp_path, '{"encrypt": "s3cr3tvalue" oops}')
    assert "line 1, column" in found
    assert "s3cr3t" not in found


def test_what_is_always_so_may_be_said(tmp_path: Path) -> None:
    content = {"disable_update_check": True, "disable_remote_exec": True, "enable_syslog": False}
    assert load(tmp_path, content).datacenter == "dc1"


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    assert load(tmp_path, '\ufeff{"node_name": "n"}').node_name == "n"


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_bytes(b"\xff\xfe")
    (tmp_path / "x.hcl").write_text("server = true")
    missing = tmp_path / "none.json"
    with pytest.raises(AgentConfigError) as caught:
        parse(
            [
                "-dev",
                f"-config-file={missing}",
                f"-config-file={tmp_path}",
                f"-config-file={tmp_path / 'bad.json'}",
                f"-config-file={tmp_path / 'x.hcl'}",
                f"-config-dir={tmp_path / 'nodir'}",
            ]
        )
    assert caught.value.errors == (
        f"flag -config-dir: {tmp_path / 'nodir'}: No such file or directory",
        f"file {missing}: No such file or directory",
        f"file {tmp_path}: Is a directory",
        f"file {tmp_path / 'bad.json'}: not JSON: not UTF-8",
        f"file {tmp_path / 'x.hcl'}: HCL is not supported, use JSON",
    )


def test_a_long_value_is_shortened_in_the_report(tmp_path: Path) -> None:
    (found,) = errors_of(tmp_path, {"foo": "x" * 500})
    assert len(found) < 120


def test_a_file_without_end_is_refused(tmp_path: Path) -> None:
    (found,) = errors_of(tmp_path, "[" + " " * (4 * 1024 * 1024))
    assert "exceeds the limit" in found


def test_an_agent_has_so_many_watches_and_no_more(tmp_path: Path) -> None:
    watch = {"type": "event", "args": ["a"]}
    assert len(load(tmp_path, {"watches": [watch] * 64}).watches) == 64
    assert errors_of(tmp_path, {"watches": [watch] * 65}) == [
        "key watches: there are 65, which exceeds the limit of 64"
    ]


def test_headers_that_are_credentials_are_secrets_and_others_are_not(tmp_path: Path) -> None:
    headers = {
        "Authorization": ["Bearer t0psecret"],
        "X-Api-Token": ["al5o"],
        "Accept": ["application/json"],
    }
    url = {"http": "http://127.0.0.1/", "interval": "10s", "header": headers}
    hook = {"path": "http://127.0.0.1/hook", "header": headers}
    watch = {"type": "nodes", "handler_type": "http", "http_handler_config": hook}
    for content in ({"check": {"name": "a"} | url}, {"watches": [watch]}):
        secrets = load(tmp_path, content).secrets
        assert {"Bearer t0psecret", "t0psecret", "al5o"} <= set(secrets)
        assert "application/json" not in secrets


def test_tokens_of_watches_are_secrets(tmp_path: Path) -> None:
    watch = {"type": "nodes", "args": ["a"], "token": "t0psecret"}
    config = load(tmp_path, {"watches": [watch]})
    assert "t0psecret" in config.secrets
    assert "t0psecret" not in repr(config)
    (error,) = errors_of(tmp_path, {"watches": {"token": "t0psecret"}})
    assert error == "key watches: (hidden) is not a list of watches"
