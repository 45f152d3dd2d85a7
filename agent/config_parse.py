"""Reading the configuration of an agent: flags and files, one over the other, over the defaults of its role.

Every mistake is reported, with the flag or the file and key it came from.
"""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.config import (
    WAN_TUNING,
    Addresses,
    AgentConfig,
    AgentConfigError,
    GossipTuning,
    HttpConfig,
    Limits,
    Ports,
)
from agent.config_rules import MISSING_DATA_DIR
from agent.flags import FORMAT, Flag, parse_flags
from agent.settings import CONFIG_FLAGS, SETTINGS, Layers, config_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["AGENT_FLAGS", "parse"]

AGENT_FLAGS: tuple[Flag, ...] = (
    *CONFIG_FLAGS,
    *(setting.as_flag() for setting in SETTINGS.values() if setting.flag),
    FORMAT,
)
"""Every flag of ``gossip agent``."""


def parse(argv: Sequence[str]) -> AgentConfig:
    """Read the flags of ``gossip agent`` and the files they name.

    Raises:
        AgentConfigError: with every mistake in flags and files.
    """
    errors: list[str] = []
    parsed = parse_flags(AGENT_FLAGS, argv)
    errors += parsed.errors
    if parsed.args:
        errors.append(f"unexpected arguments: {' '.join(parsed.args)}")
    layers = Layers()
    for path in _files(parsed.given, errors):
        layers.add_file(path)
    layers.add_flags(parsed.values)
    errors += layers.errors
    try:
        config = _build(layers.values)
    except AgentConfigError as error:
        # A value that could not be read is missing now; that is no second mistake.
        problems = [p for p in error.problems if not (errors and p == MISSING_DATA_DIR)]
        errors += [f"{_origin(layers, key)}: {text}" for key, text in problems]
    if errors:
        raise AgentConfigError(errors)
    return config


def _files(given: Sequence[tuple[str, Any]], errors: list[str]) -> Iterator[Path]:
    """The files that flags name, directories unfolded, in the order of the command line."""
    for flag, name in given:
        if flag == "config-file":
            yield Path(name)
        elif flag == "config-dir":
            try:
                yield from config_files(Path(name))
            except OSError as error:
                errors.append(f"flag -config-dir: {name}: {error.strerror or error}")


def _origin(layers: Layers, key: str) -> str:
    return layers.origins.get(key) or f"key {key}"


def _build(given: Mapping[str, Any]) -> AgentConfig:
    """An `AgentConfig` from dotted keys, over the defaults of the role that they choose."""
    dev = bool(given.get("dev", False))
    server = bool(given.get("server", dev))
    values: dict[str, Any] = {
        "node_name": socket.gethostname(),
        "server": server,
        "leave_on_terminate": not server,
        "skip_leave_on_interrupt": server,
    }
    if server:
        values["ports.serf_wan"] = 8302
    if dev:
        values |= {
            "bind_addr": "127.0.0.1",
            "log_level": "DEBUG",
            "enable_debug": True,
            "disable_keyring_file": True,
        }
        for pool in ("gossip_lan", "gossip_wan"):
            values |= {
                f"{pool}.probe_interval": 0.1,
                f"{pool}.probe_timeout": 0.1,
                f"{pool}.gossip_interval": 0.1,
                f"{pool}.gossip_nodes": 3,
                f"{pool}.suspicion_mult": 3,
            }
    values |= given
    if dev:
        values["data_dir"] = ""
    if server and values.get("bootstrap_expect") == 1 and not values.get("bootstrap"):
        values |= {"bootstrap": True, "bootstrap_expect": 0}  # the same, as in Consul
    if not values["node_name"]:
        values["node_name"] = socket.gethostname()
    nested: dict[str, Any] = {
        "addresses": Addresses(),
        "ports": Ports(),
        "gossip_lan": GossipTuning(),
        "gossip_wan": WAN_TUNING,
        "http_config": HttpConfig(),
        "limits": Limits(),
    }
    top = {key: value for key, value in values.items() if "." not in key}
    for block, defaults in nested.items():
        prefix = f"{block}."
        top[block] = replace(
            defaults,
            **{k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)},
        )
    return AgentConfig(**top)
