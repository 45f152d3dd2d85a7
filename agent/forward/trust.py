"""Who is believed to be a member: whoever holds a key of a pool, or, where a pool has none, its addresses.

The rules are those of the gossip layer, and follow its keys while they are rotated: what a pool encrypts
is sealed here with its primary key, whatever key it accepts opens an envelope, and while encryption is
rolled out (``encrypt_verify_incoming`` or ``_outgoing`` off) the clear is still taken or sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.servers import Servers
    from gossip.aio import Cluster

__all__ = ["believes_address", "opening_keys", "sealing_key"]


def sealing_key(cluster: Cluster, *, secret: bool = False) -> bytes | None:
    """The key that requests to servers of this pool are sealed with; None sends them in the clear.

    Args:
        cluster: our member of the pool.
        secret: the request must not travel in the clear: it is sealed also while encryption is rolled
            out, and None means that it cannot be sent.
    """
    keyring = cluster.node.keyring
    if not keyring or not (secret or cluster.config.verify_outgoing):
        return None
    return keyring.primary


def opening_keys(servers: Servers) -> tuple[bytes, ...]:
    """Every key that proves membership, in the order in which they are tried."""
    rings = (cluster.node.keyring for cluster in servers.clusters)
    return tuple(dict.fromkeys(key for ring in rings if ring for key in ring.keys))


def believes_address(servers: Servers, ip: str) -> bool:
    """Whether a request in the clear from this address is answered."""
    return any(
        not cluster.node.keyring or not cluster.config.verify_incoming
        for cluster in servers.clusters_with(ip)
    )
