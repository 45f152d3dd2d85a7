"""What the agent says of its node itself, as Consul 1.8 says it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.store.entries import NodeEntry

if TYPE_CHECKING:
    from agent.config import AgentConfig

__all__ = ["node_entry"]


def node_entry(config: AgentConfig, node_id: str, lan: str, wan: str) -> NodeEntry:
    """The entry of a node in the catalog.

    Args:
        config: of its agent.
        node_id: its UUID.
        lan: address that its LAN pool tells.
        wan: likewise of its WAN pool; empty without one.
    """
    addresses: dict[str, str] = {}
    for name, address in (("lan", lan), ("wan", wan or config.advertise_addr_wan or lan)):
        family = "ipv6" if ":" in address else "ipv4"
        addresses |= {name: address, f"{name}_{family}": address}
    return NodeEntry(
        node=config.node_name,
        address=lan,
        id=node_id,
        tagged_addresses=addresses,
        meta={"consul-network-segment": "", **config.node_meta},
    )
