"""What an agent is at one moment: all that ``/v1/agent/self`` shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.agent import Agent
    from agent.config import AgentConfig
    from gossip.events import Member
    from gossip.serf.coordinates import Coordinate

__all__ = ["Description"]


@dataclass(slots=True, frozen=True)
class Description:
    """Taken at one moment, so that its parts agree."""

    config: AgentConfig
    node_id: str
    http_port: int
    member: Member
    leader: str
    isolated: bool
    encrypted: bool
    lan: dict[str, str]
    wan: dict[str, str]
    """Empty without a WAN pool."""
    wan_port: int
    """-1 without a WAN pool."""
    datacenters: list[str]
    forwarding: dict[str, str]
    catalog: dict[str, str]
    """Empty on all but the leader."""
    local: dict[str, str]
    checks: dict[str, str]
    sync: dict[str, str]
    watches: dict[str, str]
    """Empty where nobody serves what they ask for."""
    coordinate: Coordinate | None

    @classmethod
    def of(cls, agent: Agent) -> Self:
        """What this agent is now."""
        return cls(
            agent.config,
            agent.node_id,
            agent.http_port,
            agent.cluster.local_member(),
            agent.leader(),
            agent.seeds.isolated,
            agent.encrypted,
            agent.cluster.stats(),
            agent.wan.cluster.stats() if agent.wan else {},
            agent.wan_port,
            agent.datacenters(),
            _texts(dict(sorted(agent.forwarder.stats.items()))),
            _texts(agent.store.stats()) if agent.store else {},
            agent.local.counts(),
            _texts(agent.local.stats()),
            {"in_step": str(agent.sync.in_step).lower()} | _texts(agent.sync.stats),
            _texts(agent.watches.stats()) if agent.watches else {},
            agent.cluster.coordinate,
        )


def _texts(counts: Mapping[str, int]) -> dict[str, str]:
    return {name: str(count) for name, count in counts.items()}
