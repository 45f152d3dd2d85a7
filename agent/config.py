"""The configuration of an agent: all settings, checked as a whole.

The attributes of `AgentConfig` are named after Consul's configuration keys; `agent.config_parse` makes one
from flags and files. `AgentConfig.gossip_config` turns it into the settings of the LAN pool, with the member
tags by which Consul 1.8 recognises the agents of its datacenter; `AgentConfig.wan_gossip_config` makes those
of the WAN pool.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.addresses import decode_rpc_addr
from agent.config_rules import (
    decode_key,
    find_problems,
    find_warnings,
)
from agent.credentials import credentials
from agent.servers import FORWARD_TAG, FORWARD_VERSION
from agent.version import BUILD, PROTOCOL, PROTOCOL_MAX, PROTOCOL_MIN
from agent.watches.plan import HttpHandler
from gossip.config import Config
from gossip.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent.definitions import CheckDefinition, ServiceDefinition
    from agent.watches.plan import Plan

__all__ = [
    "Addresses",
    "AgentConfig",
    "AgentConfigError",
    "GossipTuning",
    "HttpConfig",
    "Limits",
    "Ports",
    "decode_key",
]


class AgentConfigError(ConfigError):
    """One or more settings cannot be used.

    Attributes:
        errors: one sentence each; the text of the exception is all of them, a line each.
        problems: (key, message) of those that concern a value, for `parse` to name their source.
    """

    def __init__(self, errors: Sequence[str], problems: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__("\n".join(errors))
        self.errors = tuple(errors)
        self.problems = tuple(problems)


@dataclass(frozen=True, kw_only=True)
class Ports:
    """Ports of the agent's interfaces; -1 turns one off."""

    http: int = 8500
    """HTTP interface; 0 lets the system choose."""
    serf_lan: int = 8301
    """LAN gossip, UDP and TCP; 0 lets the system choose."""
    serf_wan: int = -1
    """WAN gossip of a server (8302 by default), UDP and TCP; 0 lets the system choose."""
    server: int = 8300
    """On which a server takes requests that other agents forward, announced as ``port``, which is how
    Consul recognises a server; 0 lets the system choose."""
    dns: int = -1
    """Reported only; no DNS is served."""
    https: int = -1
    """Reported only; no TLS is served."""
    rpc: int = -1
    """Reported only; Serf's RPC is at `AgentConfig.rpc_addr`."""


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """Addresses of single interfaces where they differ from `AgentConfig.client_addr`."""

    http: str = ""
    """IP addresses or ``unix:///path``, separated by spaces."""


@dataclass(frozen=True, kw_only=True)
class GossipTuning:
    """Tuning of a pool, here with the values of the LAN; every member should use the same."""

    gossip_interval: float = 0.2
    """Seconds between gossip ticks; lower spreads news faster and costs packets."""
    gossip_nodes: int = 3
    """Members gossiped to in each tick."""
    probe_interval: float = 1.0
    """Seconds between probes; lower detects failures sooner and costs packets."""
    probe_timeout: float = 0.5
    """Seconds until a probe without an answer turns indirect; keep above the slowest round trip."""
    suspicion_mult: int = 4
    """Scales the time that a suspect has to refute; lower detects sooner and errs more often."""
    retransmit_mult: int = 4
    """Scales how often each piece of news is sent; higher survives more loss and costs packets."""


WAN_TUNING = GossipTuning(
    gossip_interval=0.5, gossip_nodes=4, probe_interval=5.0, probe_timeout=3.0, suspicion_mult=6
)


@dataclass(frozen=True, kw_only=True)
class HttpConfig:
    """Rules of the HTTP interface."""

    allow_write_http_from: tuple[str, ...] = ()
    """Networks that may change state besides loopback, in CIDR form."""
    allow_hosts: tuple[str, ...] = ()
    """Names in the Host header that are answered besides localhost and the agent's own addresses."""
    block_endpoints: tuple[str, ...] = ()
    """Path prefixes such as ``/v1/agent/join`` that answer 403."""
    response_headers: Mapping[str, str] = field(default_factory=dict)
    """Headers set on every response, for example for CORS."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds on what clients may take."""

    http_max_conns_per_client: int = 200
    """Concurrent HTTP connections of one client address; 0 sets no bound."""


@dataclass(frozen=True, kw_only=True)
class AgentConfig:
    """All settings of one agent. Durations are seconds.

    The defaults are those of a client; `parse` applies what Consul sets differently for servers and
    for ``-dev``.

    Raises:
        AgentConfigError: from the constructor, with every value that is out of range or contradicts
            another.
    """

    node_name: str
    """Name of this node, unique in its datacenter."""
    dev: bool = False
    """Development mode: nothing is written to disk."""
    server: bool = False
    """Announce a server. This agent has no Raft, so keep it away from a pool of Consul servers."""
    bootstrap: bool = False
    """Lead the datacenter: keep its catalog, which the other agents ask for here."""
    bootstrap_expect: int = 0
    """Servers expected before a first election, announced as ``expect``; 0 announces nothing. `parse`
    takes 1 for `bootstrap`."""
    datacenter: str = "dc1"
    """Datacenter, lower case; members of another one are refused."""
    node_id: str = ""
    """UUID of this node; empty takes the one kept in the data directory, or makes one."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Tags of this node besides Consul's own; all of them together take at most 512 bytes, encoded."""
    node_meta: Mapping[str, str] = field(default_factory=dict)
    """Free text by key that the catalog shows with this node."""
    disable_host_node_id: bool = True
    """Node IDs are never derived from the host; False is refused."""
    data_dir: str = ""
    """Directory for snapshot, keyring and node ID; empty only in development mode."""
    pid_file: str = ""
    """File that receives the process id; empty writes none."""
    bind_addr: str = "0.0.0.0"  # noqa: S104 - Consul's default: a member listens to its cluster
    """IP address for gossip."""
    advertise_addr: str = ""
    """IP address that others are told; empty takes `bind_addr`, or a private address."""
    advertise_addr_wan: str = ""
    """The same for the WAN pool; empty takes `advertise_addr`."""
    client_addr: str = "127.0.0.1"
    """IP addresses of the HTTP interface, separated by spaces."""
    addresses: Addresses = field(default_factory=Addresses)
    ports: Ports = field(default_factory=Ports)
    start_join: tuple[str, ...] = ()
    """Addresses joined once at start; when none answers the agent stops with exit code 1."""
    retry_join: tuple[str, ...] = ()
    """Addresses joined at start, again and again until one answers."""
    retry_interval: float = 30.0
    """Seconds between those attempts."""
    retry_max: int = 0
    """Attempts before the agent gives up with exit code 1; 0 never gives up."""
    start_join_wan: tuple[str, ...] = ()
    """As `start_join`, for a server's WAN pool."""
    retry_join_wan: tuple[str, ...] = ()
    """As `retry_join`, for a server's WAN pool."""
    retry_interval_wan: float = 30.0
    """As `retry_interval`, for a server's WAN pool."""
    retry_max_wan: int = 0
    """As `retry_max`, for a server's WAN pool."""
    strict_merge: bool = False
    """Refuse also plain Serf nodes, which have no datacenter, in the LAN pool."""
    rejoin_after_leave: bool = False
    """Join the members of the last run again even after a graceful leave."""
    encrypt: str = field(default="", repr=False)
    """Base64 of the gossip key; empty sends plain text."""
    encrypt_verify_incoming: bool = True
    """Refuse plain text; False only while encryption is rolled out."""
    encrypt_verify_outgoing: bool = True
    """Send cipher text; False only while encryption is rolled out."""
    disable_keyring_file: bool = False
    """Keep keys in memory only; a rotated key is then lost at a restart."""
    log_level: str = "INFO"
    """TRACE, DEBUG, INFO, WARN or ERR."""
    leave_on_terminate: bool = True
    """Leave gracefully on SIGTERM (servers: False)."""
    skip_leave_on_interrupt: bool = False
    """Stop without leaving on SIGINT (servers: True)."""
    reconnect_timeout: float = 72 * 3600.0
    """A failed member is forgotten after so long; at least 8 hours."""
    reconnect_timeout_wan: float = 72 * 3600.0
    """The same for the WAN pool."""
    gossip_lan: GossipTuning = GossipTuning()
    gossip_wan: GossipTuning = WAN_TUNING
    http_config: HttpConfig = field(default_factory=HttpConfig)
    limits: Limits = field(default_factory=Limits)
    rpc_addr: str = ""
    """Where Serf's RPC listens: ``IP:port``, ``[IPv6]:port`` or ``unix:///path``; empty is nowhere."""
    rpc_auth: str = field(default="", repr=False)
    """Key that clients of Serf's RPC have to know; empty asks for none."""
    acl_token: str = field(default="", repr=False)
    """Token that stands in for requests without one."""
    strict_http_methods: bool = False
    """Refuse the state-changing GETs of Consul's first API."""
    services: tuple[ServiceDefinition, ...] = ()
    """Services of this node."""
    checks: tuple[CheckDefinition, ...] = ()
    """Checks of this node, or of its services."""
    check_update_interval: float = 300.0
    """What a check prints while its status stays the same is told to the catalog after about so long; 0
    tells it at once, which costs a write for every run."""
    watches: tuple[Plan, ...] = ()
    """What this agent watches, and what handles the news."""
    enable_script_checks: bool = False
    """Run programs as checks, also those that clients on this machine register: whoever may do that may
    run anything here."""
    enable_local_script_checks: bool = False
    """Run programs as checks that the configuration defines."""
    domain: str = "consul."
    """Reported only; no DNS is served."""
    protocol: int = PROTOCOL
    """Consul protocol announced in the ``vsn`` tag."""
    enable_debug: bool = False
    """Serve debugging endpoints."""
    disable_coordinates: bool = False
    """Keep no network coordinates: acks are shorter, and round trips cannot be estimated."""

    def __post_init__(self) -> None:
        problems = list(find_problems(self))
        if problems:
            raise AgentConfigError([f"{key}: {text}" for key, text in problems], problems)

    def replace(self, **changes: Any) -> AgentConfig:
        """A copy with some settings changed, checked again."""
        return replace(self, **changes)

    @property
    def http_binds(self) -> tuple[str, ...]:
        """Where the HTTP interface listens: IP addresses and ``unix://`` paths; empty when off."""
        if self.ports.http < 0:
            return ()
        return tuple((self.addresses.http or self.client_addr).split())

    @property
    def runs_wan(self) -> bool:
        """Whether this agent is in the WAN pool: servers are unless that is turned off."""
        return self.server and self.ports.serf_wan >= 0

    @property
    def leads(self) -> bool:
        """Whether this agent leads its datacenter, and keeps its catalog."""
        return self.server and (self.bootstrap or self.dev)

    @property
    def catalog_path(self) -> Path | None:
        """Where the catalog is kept; None keeps it in memory."""
        if self.dev or not self.data_dir:
            return None
        return Path(self.data_dir) / "catalog.db"

    @property
    def local_dir(self) -> Path | None:
        """Where services and checks of clients are kept; None keeps them in memory."""
        return None if self.dev or not self.data_dir else Path(self.data_dir)

    @property
    def rpc_bind(self) -> tuple[str, int] | Path | None:
        """Where Serf's RPC listens: IP address and port, the path of a socket, or None for nowhere."""
        return decode_rpc_addr(self.rpc_addr) if self.rpc_addr else None

    @property
    def secrets(self) -> tuple[str, ...]:
        """The values that appear nowhere outside, empty ones included."""
        checks = [*self.checks, *(check for one in self.services for check in one.checks)]
        tokens = [*(one.token for one in self.services), *(check.token for check in checks)]
        tokens += [plan.token for plan in self.watches]
        headers = [
            (k, v) for check in checks for k, values in check.headers.items() for v in values
        ]
        for plan in self.watches:
            if isinstance(plan.handler, HttpHandler):
                headers += plan.handler.headers
        return (self.encrypt, self.acl_token, self.rpc_auth, *tokens, *credentials(headers))

    @property
    def gossip_keys(self) -> tuple[bytes, ...]:
        """The configured gossip key, if any; a keyring file takes precedence over it."""
        return (decode_key(self.encrypt),) if self.encrypt else ()

    def snapshot_path(self, pool: str) -> Path | None:
        """Where the members and clocks of a pool are kept; None when nothing is written to disk.

        Args:
            pool: ``local`` or ``remote``, which is what Consul calls LAN and WAN here.
        """
        if self.dev or not self.data_dir:
            return None
        return Path(self.data_dir) / "serf" / f"{pool}.snapshot"

    def keyring_path(self, pool: str) -> Path | None:
        """Where the gossip keys of a pool are kept; None when they stay in memory.

        A file that exists wins over `encrypt`, as in Consul: it has followed every rotation since.

        Args:
            pool: ``local`` or ``remote``, which is what Consul calls LAN and WAN here.
        """
        if self.dev or not self.data_dir or self.disable_keyring_file:
            return None
        return Path(self.data_dir) / "serf" / f"{pool}.keyring"

    def member_tags(
        self, node_id: str, *, wan_port: int = 0, server_port: int | None = None
    ) -> dict[str, str]:
        """The member tags that Consul 1.8 gives such an agent, one of our own, and the configured ones.

        Args:
            node_id: UUID of this node.
            wan_port: of its WAN pool, announced in the LAN pool; 0 announces none.
            server_port: the port that the system chose, for a server whose configured one is 0. A
                server without a port is none for others.
        """
        tags = dict(self.tags) | {
            "role": "consul" if self.server else "node",
            "dc": self.datacenter,
            "segment": "",
            "id": node_id,
            "vsn": str(self.protocol),
            "vsn_min": str(PROTOCOL_MIN),
            "vsn_max": str(PROTOCOL_MAX),
            "build": BUILD,
            "acls": "0",
        }
        if self.server:
            tags |= {"raft_vsn": "3", "ft_fs": "1"}
            if (port := server_port or self.ports.server) > 0:
                tags |= {"port": str(port), FORWARD_TAG: str(FORWARD_VERSION)}
            if self.bootstrap:
                tags["bootstrap"] = "1"
            if self.bootstrap_expect:
                tags["expect"] = str(self.bootstrap_expect)
            if wan_port:
                tags["wan_join_port"] = str(wan_port)
        return tags

    def gossip_config(
        self, node_id: str, *, keys: Sequence[bytes] | None = None, **settings: Any
    ) -> Config:
        """The settings of the LAN pool, with Consul's values where they differ from Serf's.

        Args:
            node_id: UUID of this node, see `agent.node_id.ensure_node_id`.
            keys: gossip keys, primary first; None takes the configured one.
            settings: further fields of `gossip.config.Config`, which win.

        Raises:
            ConfigError: a setting given here is out of range.
        """
        values = self._gossip_values(self.gossip_lan, keys) | {
            "port": self.ports.serf_lan,
            "advertise": self.advertise_addr or None,
            "tags": self.member_tags(node_id, wan_port=self.ports.serf_wan if self.runs_wan else 0),
            "reconnect_timeout": self.reconnect_timeout,
        }
        return Config.lan(self.node_name, **(values | settings))

    def wan_gossip_config(
        self, node_id: str, *, keys: Sequence[bytes] | None = None, **settings: Any
    ) -> Config:
        """The settings of a server's WAN pool; see `gossip_config`."""
        values = self._gossip_values(self.gossip_wan, keys) | {
            "port": self.ports.serf_wan,
            "advertise": self.advertise_addr_wan or self.advertise_addr or None,
            "tags": self.member_tags(node_id),
            "reconnect_timeout": self.reconnect_timeout_wan,
        }
        return Config.wan(f"{self.node_name}.{self.datacenter}", **(values | settings))

    def _gossip_values(self, tuning: GossipTuning, keys: Sequence[bytes] | None) -> dict[str, Any]:
        """What is said alike in both pools."""
        values: dict[str, Any] = {
            "bind": self.bind_addr,
            "keys": tuple(keys) if keys is not None else self.gossip_keys,
            "verify_incoming": self.encrypt_verify_incoming,
            "verify_outgoing": self.encrypt_verify_outgoing,
            "rejoin_after_leave": self.rejoin_after_leave,
            "coordinates": not self.disable_coordinates,
            "leave_propagate_delay": 3.0,
            "dead_node_reclaim_time": 30.0,
            "protocol_version": 4,
            "min_queue_depth": 4096,
            "resolve_name_conflicts": False,
        }
        return values | {f.name: getattr(tuning, f.name) for f in fields(tuning)}

    def warnings(self, *, encrypted: bool | None = None) -> list[str]:
        """What is allowed and yet worth a line in the log, a sentence each.

        Args:
            encrypted: whether the LAN pool has a key, which may come from its keyring file; None goes
                by `encrypt` alone.
        """
        return list(find_warnings(self, bool(self.encrypt) if encrypted is None else encrypted))
