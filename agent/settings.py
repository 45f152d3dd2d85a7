"""The settings that flags and files know, and how their values are read and merged.

Every setting has one entry in `SETTINGS`: its key in a file, the flag of the same meaning if there is
one, and its kind. Sources are read in the order defaults, files as named on the command line, flags;
a later scalar replaces an earlier one, lists and maps grow. Nothing here decides whether a value makes
sense, only whether it has the right type; `agent.config` judges the result as a whole.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, TypeVar

from agent.addresses import announced_ip, bound_ip, bound_places
from agent.decode import Body
from agent.definitions import check_definition, service_definition
from agent.durations import parse_duration
from agent.flags import Flag, looks_secret, suggest
from agent.watches.plan import watch_definition
from gossip.errors import GossipError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = ["CONFIG_FLAGS", "DECLARED", "SETTINGS", "Kind", "Layers", "Setting", "config_files"]

T = TypeVar("T")
_MAX_FILE = 4 * 1024 * 1024  # bytes; a configuration is never near this


class Kind(Enum):
    """What a value looks like."""

    BOOL = auto()
    INT = auto()
    TEXT = auto()
    DURATION = auto()
    TEXTS = auto()
    MAP = auto()
    SERVICES = auto()
    CHECKS = auto()
    WATCHES = auto()


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: a dotted `key` for files, perhaps a `flag` with its help `text`."""

    key: str
    kind: Kind
    flag: str = ""
    text: str = ""
    value: str = "value"
    aliases: tuple[str, ...] = ()
    secret: bool = False
    file: bool = True
    normalise: Callable[[str], str] = str

    def as_flag(self) -> Flag:
        """The flag that sets this."""
        return Flag(
            self.flag,
            self.text,
            value="" if self.kind is Kind.BOOL else self.value,
            many=self.kind in {Kind.TEXTS, Kind.MAP},
            integer=self.kind is Kind.INT,
            secret=self.secret,
            aliases=self.aliases,
        )


def _gossip(block: str) -> tuple[Setting, ...]:
    """The tuning of one pool."""
    return (
        Setting(f"{block}.gossip_interval", Kind.DURATION),
        Setting(f"{block}.gossip_nodes", Kind.INT),
        Setting(f"{block}.probe_interval", Kind.DURATION),
        Setting(f"{block}.probe_timeout", Kind.DURATION),
        Setting(f"{block}.suspicion_mult", Kind.INT),
        Setting(f"{block}.retransmit_mult", Kind.INT),
    )


# fmt: off
DECLARED = (
    Setting("dev", Kind.BOOL, "dev", "Development mode: a server in memory on loopback, with fast failure detection.", file=False),
    Setting("server", Kind.BOOL, "server", "Announce this agent as a server."),
    Setting("bootstrap", Kind.BOOL, "bootstrap", "Have this server lead its datacenter and keep its catalog; one server of each does."),
    Setting("bootstrap_expect", Kind.INT, "bootstrap-expect", "Announce how many servers are expected before the first election.", "count"),
    Setting("datacenter", Kind.TEXT, "datacenter", "Datacenter of this agent: letters, digits, dashes and underscores (default dc1).", "name", aliases=("dc",), normalise=str.lower),
    Setting("node_name", Kind.TEXT, "node", "Name of this node, unique in its datacenter (default: the host name).", "name"),
    Setting("node_id", Kind.TEXT, "node-id", "UUID of this node (default: a random one, kept in the data directory).", "uuid", normalise=str.lower),
    Setting("node_meta", Kind.MAP),
    Setting("disable_host_node_id", Kind.BOOL, "disable-host-node-id", "Node IDs are random and never derived from the host: only true is accepted."),
    Setting("tags", Kind.MAP, "tag", "Tag of this node that every member sees, besides Consul's own.", "name=value"),
    Setting("data_dir", Kind.TEXT, "data-dir", "Directory for the state of this agent; required unless -dev is given.", "path"),
    Setting("pid_file", Kind.TEXT, "pid-file", "File to which the process id is written.", "path"),
    Setting("bind_addr", Kind.TEXT, "bind", "IP address for gossip, UDP and TCP; :: takes IPv4 and IPv6 (default 0.0.0.0).", "ip", normalise=bound_ip),
    Setting("advertise_addr", Kind.TEXT, "advertise", "IP address that other members are told (default: -bind, or a private address).", "ip", normalise=announced_ip),
    Setting("advertise_addr_wan", Kind.TEXT, "advertise-wan", "IP address that members of the WAN pool are told (default: -advertise).", "ip", normalise=announced_ip),
    Setting("client_addr", Kind.TEXT, "client", "IP addresses for the HTTP interface, separated by spaces; :: takes IPv4 and IPv6 (default 127.0.0.1).", "ip", normalise=bound_places),
    Setting("addresses.http", Kind.TEXT, normalise=bound_places),
    Setting("ports.http", Kind.INT, "http-port", "Port of the HTTP interface; -1 turns it off, 0 lets the system choose (default 8500).", "port"),
    Setting("ports.serf_lan", Kind.INT, "serf-lan-port", "Port for gossip; 0 lets the system choose (default 8301).", "port"),
    Setting("ports.serf_wan", Kind.INT, "serf-wan-port", "Port for gossip among servers of all datacenters; -1 turns it off, 0 lets the system choose (default 8302 on servers).", "port"),
    Setting("ports.server", Kind.INT, "server-port", "Port on which a server takes requests that other agents forward; -1 turns it off, 0 lets the system choose (default 8300).", "port"),
    Setting("ports.dns", Kind.INT),
    Setting("ports.https", Kind.INT),
    Setting("ports.rpc", Kind.INT),
    Setting("start_join", Kind.TEXTS, "join", "Address to join at start; the agent stops when none of them answers.", "address"),
    Setting("retry_join", Kind.TEXTS, "retry-join", "Address to join at start, tried again until one answers.", "address"),
    Setting("retry_interval", Kind.DURATION, "retry-interval", "Time between attempts to join (default 30s).", "duration"),
    Setting("retry_max", Kind.INT, "retry-max", "Attempts to join before the agent stops; 0 goes on for ever (default 0).", "count"),
    Setting("start_join_wan", Kind.TEXTS, "join-wan", "Address of a server to join in the WAN pool at start; the agent stops when none of them answers.", "address"),
    Setting("retry_join_wan", Kind.TEXTS, "retry-join-wan", "Address of a server to join in the WAN pool at start, tried again until one answers.", "address"),
    Setting("retry_interval_wan", Kind.DURATION, "retry-interval-wan", "Time between attempts to join the WAN pool (default 30s).", "duration"),
    Setting("retry_max_wan", Kind.INT, "retry-max-wan", "Attempts to join the WAN pool before the agent stops; 0 goes on for ever (default 0).", "count"),
    Setting("strict_merge", Kind.BOOL),
    Setting("rejoin_after_leave", Kind.BOOL, "rejoin", "Join the members of the last run again even after a graceful leave, which otherwise forgets them."),
    Setting("encrypt", Kind.TEXT, "encrypt", "Gossip key: base64 of 16, 24 or 32 bytes, as `gossip keygen` prints it.", "key", secret=True),
    Setting("encrypt_verify_incoming", Kind.BOOL),
    Setting("encrypt_verify_outgoing", Kind.BOOL),
    Setting("disable_keyring_file", Kind.BOOL, "disable-keyring-file", "Keep the gossip keys in memory only."),
    Setting("log_level", Kind.TEXT, "log-level", "TRACE, DEBUG, INFO, WARN or ERR (default INFO).", "level", normalise=lambda level: "ERR" if level.upper() == "ERROR" else level.upper()),
    Setting("leave_on_terminate", Kind.BOOL),
    Setting("skip_leave_on_interrupt", Kind.BOOL),
    Setting("reconnect_timeout", Kind.DURATION),
    Setting("reconnect_timeout_wan", Kind.DURATION),
    *_gossip("gossip_lan"),
    *_gossip("gossip_wan"),
    Setting("http_config.allow_write_http_from", Kind.TEXTS, "allow-write-http-from", "Network that may change state over HTTP, besides loopback.", "cidr"),
    Setting("http_config.allow_hosts", Kind.TEXTS, "allow-host", "Name by which clients may reach the HTTP interface, besides localhost and the agent's addresses.", "name"),
    Setting("http_config.block_endpoints", Kind.TEXTS),
    Setting("http_config.response_headers", Kind.MAP),
    Setting("limits.http_max_conns_per_client", Kind.INT),
    Setting("rpc_addr", Kind.TEXT, "rpc-addr", "Where Serf's RPC listens, for the serf command line: IP:port, [IPv6]:port or unix:///path (default: nowhere).", "address"),
    Setting("rpc_auth", Kind.TEXT, "rpc-auth", "Key that clients of Serf's RPC have to know; required unless -rpc-addr is on loopback.", "key", secret=True),
    Setting("acl_token", Kind.TEXT, secret=True),
    Setting("strict_http_methods", Kind.BOOL),
    Setting("services", Kind.SERVICES, secret=True),
    Setting("checks", Kind.CHECKS, secret=True),
    Setting("check_update_interval", Kind.DURATION),
    Setting("watches", Kind.WATCHES, secret=True),
    Setting("enable_script_checks", Kind.BOOL, "enable-script-checks", "Allow checks that run programs, also those that clients on this machine register."),
    Setting("enable_local_script_checks", Kind.BOOL, "enable-local-script-checks", "Allow checks that run programs in configuration files only."),
    Setting("domain", Kind.TEXT, "domain", "Domain for names, reported and not served (default consul.).", "name"),
    Setting("protocol", Kind.INT, "protocol", "Consul protocol announced, 2 or 3 (default 2).", "number"),
    Setting("enable_debug", Kind.BOOL),
    Setting("disable_coordinates", Kind.BOOL),
)
# fmt: on

SETTINGS: Mapping[str, Setting] = {setting.key: setting for setting in DECLARED}

CONFIG_FLAGS = (
    Flag("config-file", "JSON file with settings.", value="path", many=True),
    Flag("config-dir", "Directory whose *.json files are read in order.", value="path", many=True),
)

_SINGULAR = {"service": "services", "check": "checks"}
_BLOCKS = frozenset(key.partition(".")[0] for key in SETTINGS if "." in key)

# What Consul can turn on or off and this agent always or never does: saying so is no mistake.
_SETTLED: Mapping[str, bool] = {
    "disable_anonymous_signature": True,
    "disable_remote_exec": True,
    "disable_update_check": True,
    "enable_syslog": False,
    "ui": False,
}

# Consul's keys that are not misspelt; accepting them in silence would promise what is not done.
# fmt: off
_CONSUL_ONLY = frozenset({
    "acl", "acl_agent_master_token", "acl_agent_token", "acl_datacenter", "acl_default_policy",
    "acl_down_policy", "acl_master_token", "acl_replication_token", "acl_ttl",
    "advertise_addr_ipv4", "advertise_addr_ipv6",
    "advertise_reconnect_timeout", "alt_domain", "audit", "auto_config", "auto_encrypt",
    "autopilot", "ca_file", "ca_path", "cache", "cert_file", "cert_provider",
    "check_output_max_size", "config_entries", "connect",
    "default_query_time", "disable_http_unprintable_char_filter", "discard_check_output",
    "discovery_max_stale", "dns_config", "enable_acl_replication",
    "enable_agent_tls_for_checks", "enable_central_service_config", "encrypt_old",
    "http_api_response_headers", "key_file", "license_path", "log_file", "log_json",
    "log_rotate_bytes", "log_rotate_duration", "log_rotate_max_files", "max_query_time",
    "non_voting_server", "performance", "primary_datacenter", "primary_gateways",
    "raft_protocol", "raft_snapshot_interval", "raft_snapshot_threshold", "raft_trailing_logs",
    "read_replica", "recursor", "recursors",
    "rpc", "segment", "segments", "serf_lan",
    "serf_lan_allowed_cidrs", "serf_wan", "serf_wan_allowed_cidrs", "server_name", "session_ttl_min", "statsd_addr", "statsite_addr",
    "syslog_facility", "telemetry", "tls", "tls_cipher_suites", "tls_min_version",
    "translate_wan_addrs", "ui_config", "ui_dir", "unix_sockets", "use_streaming",
    "verify_incoming", "verify_incoming_https", "verify_incoming_rpc", "verify_outgoing",
    "verify_server_hostname",
})
# fmt: on


@dataclass(slots=True)
class Layers:
    """The values of all sources so far.

    Attributes:
        values: dotted key to merged value.
        origins: dotted key to the flag or file that spoke last.
        errors: one sentence per value that could not be used.
    """

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def add_flags(self, given: Mapping[str, Any]) -> None:
        """Merge parsed flags, keyed by the flag's name."""
        for setting in SETTINGS.values():
            if setting.flag and setting.flag in given:
                self._add(setting, given[setting.flag], f"flag -{setting.flag}")

    def add_file(self, path: Path) -> None:
        """Merge one JSON file."""
        try:
            with path.open("rb") as file:
                data = file.read(_MAX_FILE + 1)
        except OSError as error:
            self.errors.append(f"file {path}: {error.strerror or error}")
            return
        if path.suffix == ".hcl":
            self.errors.append(f"file {path}: HCL is not supported, use JSON")
            return
        if len(data) > _MAX_FILE:
            self.errors.append(f"file {path}: exceeds the limit of {_MAX_FILE} bytes")
            return
        duplicates: list[str] = []

        def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
            seen: set[str] = set()
            for key, _ in pairs:
                if key in seen:
                    duplicates.append(key)
                seen.add(key)
            return dict(pairs)

        try:
            document = json.loads(data.decode("utf-8-sig"), object_pairs_hook=unique)
        except json.JSONDecodeError as error:  # its message does not quote the document
            self.errors.append(
                f"file {path}: not JSON: {error.msg} in line {error.lineno}, column {error.colno}"
            )
            return
        except (UnicodeDecodeError, RecursionError, ValueError) as error:
            reason = "not UTF-8" if isinstance(error, UnicodeDecodeError) else "nested too deeply"
            self.errors.append(f"file {path}: not JSON: {reason}")
            return
        if not isinstance(document, dict):
            self.errors.append(f"file {path}: the settings are not a JSON object")
            return
        self.errors += [f"file {path}: key {key} appears twice" for key in duplicates]
        self._add_block(document, "", path)

    def _add_block(self, block: Mapping[str, Any], prefix: str, path: Path) -> None:
        for name, value in block.items():
            key = prefix + name
            if key in _SINGULAR:
                values = value if isinstance(value, list) else [value]
                self._add(SETTINGS[_SINGULAR[key]], values, f"file {path}: key {key}")
                continue
            setting = SETTINGS.get(key)
            if setting is not None and setting.file and "." not in name:
                self._add(setting, value, f"file {path}: key {key}")
            elif not prefix and name in _BLOCKS:
                if isinstance(value, dict):
                    self._add_block(value, f"{name}.", path)
                else:
                    self.errors.append(f"file {path}: key {key}: expects an object")
            elif not (key in _SETTLED and value is _SETTLED[key]):
                self.errors.append(self._unusable(key, value, prefix, path))

    @staticmethod
    def _unusable(key: str, value: object, prefix: str, path: Path) -> str:
        if key in _SETTLED:
            only = "true" if _SETTLED[key] else "false"
            return f"file {path}: key {key}: {_shown(value)} is not supported here, only {only}"
        if key in _CONSUL_ONLY:
            return f"file {path}: key {key} is Consul's and has no meaning for this agent"
        choices = [k.removeprefix(prefix) for k in SETTINGS if k.startswith(prefix)]
        choices = [k for k in choices if "." not in k] + ([] if prefix else sorted(_BLOCKS))
        shown = "" if looks_secret(key) else f" (value {_shown(value)})"
        near = suggest(key.removeprefix(prefix), choices)
        return f"file {path}: unknown key {key}{shown}{near}"

    def _add(self, setting: Setting, value: Any, origin: str) -> None:
        try:
            value = _read(setting, value)
        except ValueError as error:
            self.errors.append(f"{origin}: {error}")
            return
        if setting.kind is Kind.TEXTS or setting.kind in _DEFINITIONS:
            value = self.values.get(setting.key, ()) + value
        elif setting.kind is Kind.MAP:
            value = self.values.get(setting.key, {}) | value
        self.values[setting.key] = value
        self.origins[setting.key] = origin


def config_files(directory: Path) -> list[Path]:
    """The ``*.json`` files of a directory in lexical order.

    Raises:
        OSError: it cannot be read.
    """
    return sorted(path for path in directory.iterdir() if path.suffix == ".json" and path.is_file())


def _read(setting: Setting, value: Any) -> Any:
    """The value in the type of its setting; a ValueError says what was expected."""
    shown = "(hidden)" if setting.secret else _shown(value)
    match setting.kind:
        case Kind.BOOL if isinstance(value, bool):
            return value
        case Kind.INT if isinstance(value, int) and not isinstance(value, bool):
            return value
        case Kind.TEXT if isinstance(value, str):
            return setting.normalise(value)
        case Kind.DURATION if isinstance(value, str):
            return parse_duration(value)
        case Kind.TEXTS if isinstance(value, list) and all(isinstance(v, str) for v in value):
            return tuple(value)
        case Kind.MAP if isinstance(value, dict) and all(
            isinstance(v, str) for v in value.values()
        ):
            return dict(value)
        case Kind.MAP if isinstance(value, list) and all(
            isinstance(v, str) and "=" in v for v in value
        ):
            return dict(v.split("=", 1) for v in value)  # from a flag given once or more
        case kind if kind in _DEFINITIONS and isinstance(value, list):
            return _definitions(_DEFINITIONS[kind], value)
    raise ValueError(f"{shown} is not {_EXPECTED[setting.kind]}")


def _definitions(read: Callable[[Body], T], values: list[Any]) -> tuple[T, ...]:
    """Definitions of services, checks or watches, all of whose keys mean something."""
    found = []
    for position, value in enumerate(values):
        where = f"number {position + 1}: " if len(values) > 1 else ""
        if not isinstance(value, dict):
            raise ValueError(f"{where}expects an object")
        body = Body(value)
        try:
            found.append(read(body))
        except GossipError as error:
            raise ValueError(f"{where}{error}") from None
        if unknown := body.unknown():
            raise ValueError(f"{where}unknown or unsupported keys: {', '.join(unknown)}")
    return tuple(found)


_DEFINITIONS: Mapping[Kind, Callable[[Body], Any]] = {
    Kind.SERVICES: service_definition,
    Kind.CHECKS: check_definition,
    Kind.WATCHES: watch_definition,
}
_EXPECTED = {
    Kind.BOOL: "true or false",
    Kind.INT: "a whole number",
    Kind.TEXT: "a string",
    Kind.DURATION: 'a duration such as "30s"',
    Kind.TEXTS: "a list of strings",
    Kind.MAP: "an object of strings (as a flag: name=value)",
    Kind.SERVICES: "a list of services",
    Kind.CHECKS: "a list of checks",
    Kind.WATCHES: "a list of watches",
}


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
