"""``/v1/agent``: the agent itself and the members it sees."""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING, Any

from agent.http.coordinate import render_coordinate
from agent.http.errors import HttpError
from agent.http.query import blocking
from agent.http.routing import Call, Methods, Reply, Route
from agent.version import REVISION, VERSION

if TYPE_CHECKING:
    from agent.agent import Description
    from agent.config import AgentConfig
    from gossip.events import Member

__all__ = ["render_member", "routes"]

MEMBERS_WAIT = 300.0
"""Default wait of a blocking query on the members, seconds (Consul's for everything but events)."""
ALL_SEGMENTS = "_all"

NO_WAN = "The WAN pool is not served by this agent"


def routes() -> tuple[Route, ...]:
    """The endpoints, in the order of the API document."""
    return (
        Route("/v1/agent/members", Methods.READ, members, blocks=True),
        Route("/v1/agent/self", Methods.READ, describe),
        Route("/v1/agent/join/", Methods.CONTROL, join),
        Route("/v1/agent/force-leave/", Methods.CONTROL, force_leave),
        Route("/v1/agent/leave", Methods.UPDATE, leave),
    )


async def members(call: Call) -> Reply:
    """List the members of the LAN pool; the WAN pool has none.

    Unlike Consul's, the answer has an index and takes part in blocking queries.
    """
    query = blocking(call.parameters, default=MEMBERS_WAIT)
    if call.get("wan"):
        if call.get("segment") not in {"", ALL_SEGMENTS}:
            raise HttpError(400, "Cannot provide a segment with wan=true")
        return Reply([])
    found, index = await call.agent.members(index=query.index, wait=query.wait)
    return Reply(
        lambda: [render_member(member) for member in found],
        {"X-Consul-Index": str(index)},
        version=index,
    )


async def describe(call: Call) -> Reply:
    """Show configuration, membership and statistics; never a secret."""
    description = call.agent.describe()
    coordinate = description.coordinate
    return Reply(
        {
            "Config": _config(description),
            "Coord": None if coordinate is None else render_coordinate(coordinate),
            "Member": render_member(description.member),
            "Stats": _stats(description),
            "Meta": {},
        }
    )


async def join(call: Call) -> Reply:
    """Join the pool of the node at the address."""
    if call.get("wan"):
        raise _no_wan(call, "Must be a server to join WAN cluster")
    await call.agent.join(call.rest)
    return Reply()


async def force_leave(call: Call) -> Reply:
    """Declare that a failed node left; with ``?prune`` it is forgotten. Unknown nodes are no error."""
    if call.has("wan"):
        raise _no_wan(call, "Must be a server to force-leave a node from the WAN cluster")
    await call.agent.force_leave(call.rest, prune=call.has("prune"))
    return Reply()


async def leave(call: Call) -> Reply:
    """Leave the pool gracefully; the process ends after the answer."""
    await call.agent.leave()
    return Reply()


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


def _no_wan(call: Call, refused_client: str) -> HttpError:
    return HttpError(500, NO_WAN if call.agent.config.server else refused_client)


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
            "SerfWan": config.ports.serf_wan,
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
            "check_monitors": "0",
            "check_ttls": "0",
            "checks": "0",
            "services": "0",
            "isolated": _truth(description.isolated),
            "warnings": "; ".join(config.warnings()),
        },
        "build": {"revision": REVISION, "version": VERSION, "prerelease": ""},
        "consul": _consul_stats(config, description.leader, description.member),
        "raft": {},
        "runtime": {
            "arch": platform.machine(),
            "cpu_count": str(os.cpu_count() or 1),
            "os": platform.system().lower(),
            "version": f"python{platform.python_version()}",
        },
        "serf_lan": description.pool,
        "serf_wan": {},
    }


def _consul_stats(config: AgentConfig, leader: str, member: Member) -> dict[str, str]:
    if not config.server:
        return {"server": "false", "known_servers": "1" if leader else "0"}
    host, _, _ = leader.rpartition(":")
    return {
        "server": "true",
        "leader": _truth(bool(leader) and host.strip("[]") == member.addr),
        "leader_addr": leader,
        "bootstrap": _truth(config.bootstrap),
        "known_datacenters": "1",
        "acl": "disabled",
    }


def _truth(value: bool) -> str:  # noqa: FBT001 - it renders one
    return "true" if value else "false"
