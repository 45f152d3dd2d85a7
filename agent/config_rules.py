"""The rules that the settings of an agent have to keep, and what deserves a warning.

Each group of rules looks at one part of an `agent.config.AgentConfig` and yields the dotted key of a
value together with what is wrong with it; the caller knows where the value came from.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
import uuid
from collections import Counter
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from agent.addresses import UNIX, bind_problem, decode_rpc_addr, ip_problem
from agent.credentials import MAX_TOKEN, can_be_sent
from agent.definitions import MAX_CHECKS, MAX_SERVICES
from agent.durations import format_duration
from agent.metadata import meta_problem
from agent.version import PROTOCOL_MAX, PROTOCOL_MIN
from agent.watches.plan import MAX_WATCHES
from gossip.errors import ConfigError
from gossip.serf.tags import encode_own_tags
from gossip.wire.address import parse_seed
from gossip.wire.limits import KEY_SIZES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from agent.config import AgentConfig

__all__ = ["decode_key", "find_problems", "find_warnings"]

LOG_LEVELS = ("TRACE", "DEBUG", "INFO", "WARN", "ERR")
MIN_RECONNECT_TIMEOUT = 8 * 3600.0  # Consul's floor: a maintenance window must not erase members
SCRIPTS_OFF = (
    "Scripts are disabled on this agent; to enable, configure"
    " 'enable_script_checks' or 'enable_local_script_checks' to true"
)
MISSING_DATA_DIR = ("data_dir", "is required unless -dev is given")
_UNSPECIFIED = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, not bound to
RESERVED_TAGS = frozenset(
    [
        "acls",
        "bootstrap",
        "build",
        "dc",
        "expect",
        "ft_fs",
        "ft_si",
        "gapi",
        "grpc_port",
        "grpc_tls_port",
        "id",
        "nonvoter",
        "port",
        "raft_vsn",
        "rc_tm",
        "read_replica",
        "role",
        "segment",
        "use_tls",
        "vsn",
        "vsn_max",
        "vsn_min",
        "wan_join_port",
    ]
)
"""Tags that agents, ours and Consul's, give themselves and read in one another."""
_NO_NODE_ID = "00000000-0000-0000-0000-000000000000"


def decode_key(text: str) -> bytes:
    """A gossip key from its base64 text.

    Raises:
        ConfigError: it is not base64 of 16, 24 or 32 bytes. The message does not quote it.
    """
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ConfigError("the key is not base64; `gossip keygen` makes a good one") from None
    if len(key) not in KEY_SIZES:
        raise ConfigError(f"the key has {len(key)} bytes, not 16, 24 or 32")
    return key


def find_problems(config: AgentConfig) -> Iterator[tuple[str, str]]:
    """Every value that is out of range or contradicts another, as its dotted key and a reason."""
    found = False
    for rules in _RULES:
        for problem in rules(config):
            found = True
            yield problem
    if not found:
        yield from _pool_problems(config)


def _own_problems(config: AgentConfig) -> Iterator[tuple[str, str]]:
    if config.encrypt:
        try:
            decode_key(config.encrypt)
        except ConfigError as error:
            yield "encrypt", str(error)
    if not can_be_sent(config.acl_token):  # and it is a secret, so it is not shown
        yield "acl_token", f"it has control characters, or more than the limit of {MAX_TOKEN} bytes"
    if config.log_level not in LOG_LEVELS:
        yield "log_level", f'"{config.log_level}" is not one of {", ".join(LOG_LEVELS)}'
    for key in ("reconnect_timeout", "reconnect_timeout_wan"):
        if (timeout := getattr(config, key)) < MIN_RECONNECT_TIMEOUT:
            yield key, f"{format_duration(timeout)} is below the minimum of 8h0m0s"


def _identity_problems(config: AgentConfig) -> Iterator[tuple[str, str]]:
    if not re.fullmatch(r"[a-z0-9_-]+", config.datacenter):
        yield (
            "datacenter",
            f'"{config.datacenter}" may hold only letters, digits, dashes and underscores',
        )
    if not config.node_name or not config.node_name.isprintable():
        # Names stand in the lines of the snapshot file, where a line break would forge others.
        yield "node_name", f"{config.node_name!r} is empty or has control characters"
    if config.node_id:
        try:
            canonical = str(uuid.UUID(config.node_id))
        except ValueError:
            canonical = ""
        if canonical != config.node_id:
            yield "node_id", f'"{config.node_id}" is not a UUID of the form {_NO_NODE_ID}'
    if not config.disable_host_node_id:
        yield "disable_host_node_id", "node IDs derived from the host are not supported, only true"
    if not config.dev and not config.data_dir:
        yield MISSING_DATA_DIR
    elif config.data_dir and Path(config.data_dir).exists() and not Path(config.data_dir).is_dir():
        yield "data_dir", f'"{config.data_dir}" is not a directory'


def _tag_problems(config: AgentConfig) -> Iterator[tuple[str, str]]:
    for name, value in config.tags.items():
        if name in RESERVED_TAGS:
            yield "tags", f'"{name}" is a tag that the agent sets itself'
        elif not name or not name.isprintable() or not value.isprintable():
            yield "tags", f"{name!r} or its value is empty or has control characters"
    # With ports of the largest size, because some are known only when the agent runs.
    tags = config.member_tags(_NO_NODE_ID, wan_port=65535, server_port=65535)
    try:
        encode_own_tags(tags)
    except ConfigError as error:
        yield "tags", str(error)


def _meta_problems(config: AgentConfig) -> Iterator[tuple[str, str]]:
    """Consul's rules, so that what our nodes say may stand in its catalogs too."""
    if problem := meta_problem(config.node_meta):
        yield "node_meta", problem


def _address_problems(config: AgentConfig) -> Iterator[tuple[str, str]]:
    if problem := bind_problem(config.bind_addr, "ports.serf_lan"):
        yield "bind_addr", problem
    for key, port_key in (
        ("advertise_addr", "ports.serf_lan"),
        ("advertise_addr_wan", "ports.serf_wan"),
    ):
        if not (text := getattr(config, key)):
            continue
        if problem := ip_problem(text, port_key):
            yield key, problem
        elif (ip := ipaddress.ip_address(text)).is_unspecified or ip.is_multicast:
            yield key, f'"{text}" is not an address of one host'


def _http_address_problems(config: AgentConfig) -> Iterator[tuple[str, str]]:
    if not config.client_addr.split():
        yield "client_addr", "is empty"
    for key, text in (
        ("client_addr", config.client_addr),
        ("addresses.http", config.addresses.http),
    ):
        for word in text.split():
            if word.startswith(UNIX) and word != UNIX:
                continue
            if problem := bind_problem(word, "ports.http", f"an IP address or {UNIX}/path"):
                yield key, problem


def _port_problems(config: AgentConfig) -> Iterator[tuple[str, str]]:
    for f in fields(config.ports):
        port = getattr(config.ports, f.name)
        low = 0 if f.name == "serf_lan" else -1
        if not low <= port <= 65535:
            yield f"ports.{f.name}", f"{port} is not a port from {low} to 65535"
    shares_an_address = any(
        bind == config.bind_addr or bind in _UNSPECIFIED or config.bind_addr in _UNSPECIFIED
        for bind in config.http_binds
        if not bind.startswith(UNIX)
    )
    ports = config.ports
    gossip = {"ports.serf_lan": ports.serf_lan}
    if config.runs_wan:
        if ports.serf_wan == ports.serf_lan > 0:
            yield "ports.serf_wan", f"{ports.serf_wan} is the port of ports.serf_lan already"
        gossip["ports.serf_wan"] = ports.serf_wan
    for key, port in gossip.items():
        if ports.http == port > 0 and shares_an_address:
            yield "ports.http", f"{port} is the gossip port ({key}) already"
        if config.server and ports.server == port > 0:
            yield "ports.server", f"{port} is the gossip port ({key}) already"
    if config.server and ports.server == ports.http > 0 and shares_an_address:
        yield "ports.server", f"{ports.server} is the HTTP port (ports.http) already"


def _role_problems(config: AgentConfig) -> Iterator[tuple[str, str]]:
    if config.bootstrap and not config.server:
        yield "bootstrap", "needs server"
    if config.bootstrap_expect < 0:
        yield "bootstrap_expect", f"{config.bootstrap_expect} is below 0"
    if config.bootstrap_expect > 0:
        if not config.server:
            yield "bootstrap_expect", "needs server"
        if config.bootstrap:
            yield "bootstrap_expect", "excludes bootstrap"
        if config.dev:
            yield "bootstrap_expect", "is not allowed in development mode"
    if config.server and not config.runs_wan and config.node_name.endswith(f".{config.datacenter}"):
        yield "node_name", f'"{config.node_name}" is what a server is called in the WAN pool'
    if not PROTOCOL_MIN <= config.protocol <= PROTOCOL_MAX:
        yield "protocol", f"{config.protocol} is not between {PROTOCOL_MIN} and {PROTOCOL_MAX}"


def _join_problems(config: AgentConfig) -> Iterator[tuple[str, str]]:
    for pool in ("", "_wan"):
        for key in (f"start_join{pool}", f"retry_join{pool}"):
            yield from ((key, problem) for problem in _seed_problems(getattr(config, key)))
            if pool and getattr(config, key) and not config.runs_wan:
                yield key, "needs a WAN pool: server, and ports.serf_wan not -1"
        if (interval := getattr(config, f"retry_interval{pool}")) <= 0:
            yield f"retry_interval{pool}", f"{format_duration(interval)} is not above 0s"
        if (maximum := getattr(config, f"retry_max{pool}")) < 0:
            yield f"retry_max{pool}", f"{maximum} is below 0"


def _seed_problems(seeds: Iterable[str]) -> Iterator[str]:
    for seed in seeds:
        if not seed.strip():
            yield "an address is empty"
            continue
        try:
            parse_seed(seed, default_port=1)
        except ConfigError as error:  # it would not answer however often it is tried
            yield str(error)


def _http_problems(config: AgentConfig) -> Iterator[tuple[str, str]]:
    for network in config.http_config.allow_write_http_from:
        try:
            ipaddress.ip_network(network, strict=False)
        except ValueError:
            yield (
                "http_config.allow_write_http_from",
                f'"{network}" is not a network such as 10.0.0.0/8',
            )
    for prefix in config.http_config.block_endpoints:
        if not prefix.startswith("/"):
            yield "http_config.block_endpoints", f'"{prefix}" does not begin with "/"'
    for name, value in config.http_config.response_headers.items():
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) or not value.isprintable():
            yield "http_config.response_headers", f"{name!r} or its value cannot be sent"
    if config.limits.http_max_conns_per_client < 0:
        yield (
            "limits.http_max_conns_per_client",
            f"{config.limits.http_max_conns_per_client} is below 0",
        )


def _definition_problems(config: AgentConfig) -> Iterator[tuple[str, str]]:
    if config.check_update_interval < 0:
        interval = format_duration(config.check_update_interval)
        yield "check_update_interval", f"{interval} is below 0s"
    checks = [*config.checks, *(check for one in config.services for check in one.checks)]
    for key, count, limit in (
        ("services", len(config.services), MAX_SERVICES),
        ("checks", len(checks), MAX_CHECKS),
        ("watches", len(config.watches), MAX_WATCHES),
    ):
        if count > limit:
            yield key, f"there are {count}, which exceeds the limit of {limit}"
    if config.enable_script_checks or config.enable_local_script_checks:
        return
    for key, found in (
        ("checks", config.checks),
        ("services", [check for one in config.services for check in one.checks]),
    ):
        if any(check.kind == "script" for check in found):
            yield (
                key,
                SCRIPTS_OFF,
            )


def _rpc_problems(config: AgentConfig) -> Iterator[tuple[str, str]]:
    if not config.rpc_addr:
        return
    try:
        bind = decode_rpc_addr(config.rpc_addr)
    except ConfigError as error:
        yield "rpc_addr", str(error)
        return
    if _is_exposed(bind) and not config.rpc_auth:
        yield "rpc_addr", f'"{config.rpc_addr}" is not on loopback and needs rpc_auth'


def _pool_problems(config: AgentConfig) -> Iterator[tuple[str, str]]:
    """What the gossip layer refuses, under the key that the value came from."""
    pools = {"gossip_lan": config.gossip_config}
    if config.runs_wan:
        pools["gossip_wan"] = config.wan_gossip_config
    for block, make in pools.items():
        try:
            make(config.node_id or _NO_NODE_ID)
        except ConfigError as error:
            yield _pool_problem(config, block, str(error))
            return


def _pool_problem(config: AgentConfig, block: str, text: str) -> tuple[str, str]:
    """The key behind what the gossip layer says."""
    name = text.partition(" ")[0]
    if name in {f.name for f in fields(config.gossip_lan)}:
        return f"{block}.{name}", text
    if name == "verify_incoming":
        return "encrypt_verify_incoming", "needs encrypt_verify_outgoing"
    return "node_name" if name == "name" else name, text


def find_warnings(config: AgentConfig, encrypted: bool) -> Iterator[str]:  # noqa: FBT001 - a fact
    """What is allowed and yet worth a line in the log, a sentence each."""
    if not encrypted and not _stays_private(config.advertise_addr or config.bind_addr):
        yield (
            "gossip is not encrypted and may be reachable from outside: "
            "set encrypt on every member (`gossip keygen` makes a key)"
        )
    yield from _family_warnings(config)
    for key in ("encrypt_verify_incoming", "encrypt_verify_outgoing"):
        if not getattr(config, key):
            yield f"{key} is off: plain text is accepted or sent; turn it on when all members have the key"
    if not re.fullmatch(r"[A-Za-z0-9-]+", config.node_name):
        yield f"node name {config.node_name!r} has characters that DNS names do not have"
    for name in ("dns", "https", "rpc"):
        if getattr(config.ports, name) > 0:
            yield f"ports.{name} is set, and this agent does not serve it"
    if config.rpc_addr and _is_exposed(decode_rpc_addr(config.rpc_addr)):
        yield "rpc_addr is not on loopback: rpc_auth and all else travels there in plain text"
    yield from _definition_warnings(config)
    if config.server and not config.dev:
        yield "this agent announces a server and has no Raft: do not put it among Consul servers"


def _definition_warnings(config: AgentConfig) -> Iterator[str]:
    for what, ids in (
        ("services", [one.service.id for one in config.services]),
        ("checks", [check.id for check in config.checks]),
    ):
        if twice := sorted(key for key, count in Counter(ids).items() if count > 1):
            yield f"{what} are defined twice, the last definition counts: {', '.join(twice)}"


def _family_warnings(config: AgentConfig) -> Iterator[str]:
    """Members send to what is advertised, and only a translator could bring it to the other family."""
    bind = config.bind_addr
    for key in ("advertise_addr", "advertise_addr_wan"):
        if (ip := getattr(config, key)) and bind != "::" and (":" in bind) != (":" in ip):
            yield f"{key} {ip} is not of the family of bind_addr {bind}: :: takes both"


_RULES = (
    _tag_problems,
    _meta_problems,
    _identity_problems,
    _address_problems,
    _http_address_problems,
    _port_problems,
    _role_problems,
    _join_problems,
    _http_problems,
    _definition_problems,
    _rpc_problems,
    _own_problems,
)


def _is_exposed(bind: tuple[str, int] | Path) -> bool:
    return not isinstance(bind, Path) and not ipaddress.ip_address(bind[0]).is_loopback


def _stays_private(text: str) -> bool:
    ip = ipaddress.ip_address(text)
    return ip.is_private and not ip.is_unspecified
