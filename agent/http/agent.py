"""``/v1/agent``: the agent itself and the members it sees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.description import Description
from agent.http.coordinate import render_coordinate
from agent.http.errors import HttpError
from agent.http.query import blocking
from agent.http.routing import Call, Methods, Reply, Route
from agent.log_stream import LogEntry, lost
from agent.logs import level_of
from agent.runtime import runtime_stats
from agent.version import REVISION, VERSION
from gossip.events import Gap

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from agent.log_stream import LogStream
    from agent.pool import Pool
    from gossip.events import Member

__all__ = ["render_member", "routes"]

MEMBERS_WAIT = 300.0
"""Default wait of a blocking query on the members, seconds (Consul's for everything but events)."""
ALL_SEGMENTS = "_all"
RESTART_NEEDED = "X-Restart-Needed"
"""Header of a reload's answer: keys of the configuration, separated by a comma and a space."""


def routes() -> tuple[Route, ...]:
    """The endpoints, in the order of the API document."""
    return (
        Route("/v1/agent/members", Methods.READ, members, blocks=True),
        Route("/v1/agent/self", Methods.READ, describe),
        Route("/v1/agent/join/", Methods.CONTROL, join),
        Route("/v1/agent/force-leave/", Methods.CONTROL, force_leave),
        Route("/v1/agent/leave", Methods.UPDATE, leave),
        Route("/v1/agent/reload", Methods.UPDATE, reload),
        Route("/v1/agent/monitor", Methods.READ, monitor),
    )


async def members(call: Call) -> Reply:
    """List the members of the LAN pool, or of the WAN pool, which is empty on those who are not in it.

    Unlike Consul's, the answer has an index and takes part in blocking queries.
    """
    query = blocking(call.parameters, default=MEMBERS_WAIT)
    pool: Pool | None = call.agent.lan
    if call.get("wan"):
        if call.get("segment") not in {"", ALL_SEGMENTS}:
            raise HttpError(400, "Cannot provide a segment with wan=true")
        pool = call.agent.wan
    if pool is None:
        return Reply([])
    index = await pool.members_changed(index=query.index, wait=query.wait)
    cluster = pool.cluster
    return Reply(
        lambda: [render_member(member) for member in cluster.members()],
        {"X-Consul-Index": str(index)},
        version=(pool.name, index),
    )


async def describe(call: Call) -> Reply:
    """Show configuration, membership and statistics; never a secret."""
    description = Description.of(call.agent)
    coordinate = description.coordinate
    return Reply(
        {
            "Config": _config(description),
            "Coord": None if coordinate is None else render_coordinate(coordinate),
            "Member": render_member(description.member),
            "Stats": _stats(description),
            "Meta": dict(description.config.node_meta),
        }
    )


async def join(call: Call) -> Reply:
    """Join the pool of the node at the address."""
    await call.agent.join(call.rest, wan=bool(call.get("wan")))
    return Reply()


async def force_leave(call: Call) -> Reply:
    """Declare that a failed node left; with ``?prune`` it is forgotten.

    Unknown nodes are no error, as in Consul's first API, unless its later one is asked for.
    """
    found = await call.agent.force_leave(call.rest, prune=call.has("prune"), wan=call.has("wan"))
    if not found and call.agent.config.strict_http_methods:
        raise HttpError(500, f"agent: No node found with name '{call.rest}'")
    return Reply()


async def leave(call: Call) -> Reply:
    """Leave the pool gracefully; the process ends after the answer."""
    await call.agent.leave()
    return Reply()


async def monitor(call: Call) -> Reply:
    """Send the log as it is written, from ``?loglevel=`` up; ``?logjson`` gives a JSON object per line."""
    try:
        level = level_of(call.get("loglevel") or "INFO")
    except ValueError as error:
        raise HttpError(400, str(error)) from None
    show = LogEntry.json_line if call.has("logjson") else LogEntry.line
    return Reply(lines=_watch(call.agent.logs, level, show))


async def _watch(
    logs: LogStream, level: int, show: Callable[[LogEntry], str]
) -> AsyncGenerator[str]:
    with logs.watch(level) as watcher:
        async for entry in watcher:
            yield lost(entry, show) if isinstance(entry, Gap) else show(entry)


async def reload(call: Call) -> Reply:
    """Read the configuration again; 500 with every mistake when it cannot be used.

    Unlike Consul's, the answer names what was changed and needs a restart.
    """
    restart = await call.agent.reload()
    return Reply(headers={RESTART_NEEDED: ", ".join(restart)} if restart else {})


def render_member(member: Member) -> dict[str, Any]:
    """A member as Consul shows it."""
    return {
        "Name": member.name,
        "Addr": member.addr,
        "Port": member.port,
        "Tags": dict(sorted(member.tags.items())),
        "Status": int(member.status),
        "ProtocolMin": member.protocol_min,
        "ProtocolMax": member.protocol_max,
        "ProtocolCur": member.protocol_cur,
        "DelegateMin": member.delegate_min,
        "DelegateMax": member.delegate_max,
        "DelegateCur": member.delegate_cur,
    }


def _config(description: Description) -> dict[str, Any]:
    """The keys of Consul's first API and those that newer clients read.

    What cannot be set here shows Consul's value for "off". Only what is listed is shown, so a setting
    added later does not leak by being there.
    """
    config = description.config
    return {
        "Bootstrap": config.bootstrap,
        "Server": config.server,
        "Datacenter": config.datacenter,
        "PrimaryDatacenter": config.datacenter,
        "DataDir": config.data_dir,
        "DNSRecursor": "",
        "Domain": config.domain,
        "LogLevel": config.log_level,
        "NodeName": config.node_name,
        "NodeID": description.node_id,
        "Revision": REVISION,
        "Version": VERSION,
        "ClientAddr": config.client_addr,
        "BindAddr": config.bind_addr,
        "AdvertiseAddr": description.member.addr,
        "Ports": {
            "DNS": config.ports.dns,
            "HTTP": description.http_port,
            "RPC": config.ports.rpc,
            "SerfLan": description.member.port,
            "SerfWan": description.wan_port,
            "Server": config.ports.server,
        },
        "LeaveOnTerm": config.leave_on_terminate,
        "SkipLeaveOnInt": config.skip_leave_on_interrupt,
        "StatsiteAddr": "",
        "Protocol": config.protocol,
        "EnableDebug": config.enable_debug,
        "VerifyIncoming": False,
        "VerifyOutgoing": False,
        "CAFile": "",
        "CertFile": "",
        "KeyFile": "",
        "StartJoin": list(config.start_join),
        "UiDir": "",
        "PidFile": config.pid_file,
        "EnableSyslog": False,
        "RejoinAfterLeave": config.rejoin_after_leave,
    }


def _stats(description: Description) -> dict[str, dict[str, str]]:
    """Consul's sections; every value is text, or Go clients cannot read them."""
    config = description.config
    return {
        "agent": {
            **description.local,
            "isolated": _truth(description.isolated),
            "warnings": "; ".join(config.warnings(encrypted=description.encrypted)),
        },
        "build": {"revision": REVISION, "version": VERSION, "prerelease": ""},
        "consul": _consul_stats(description),
        "raft": {},
        "runtime": runtime_stats(),
        "serf_lan": description.lan,
        "serf_wan": description.wan,
        "forward": description.forwarding,
        "catalog": description.catalog,
        "checks": description.checks,
        "sync": description.sync,
        "watches": description.watches,
    }


def _consul_stats(description: Description) -> dict[str, str]:
    config, leader = description.config, description.leader
    if not config.server:
        return {"server": "false", "known_servers": "1" if leader else "0"}
    host, _, _ = leader.rpartition(":")
    return {
        "server": "true",
        "leader": _truth(bool(leader) and host.strip("[]") == description.member.addr),
        "leader_addr": leader,
        "bootstrap": _truth(config.bootstrap),
        "known_datacenters": str(len(description.datacenters)),
        "acl": "disabled",
    }


def _truth(value: bool) -> str:  # noqa: FBT001 - it renders one
    return "true" if value else "false"
