"""Genuine Serf and Consul agents as processes: what interop tests and comparisons run beside ours."""

from simulations.peers.consul import ConsulAgent
from simulations.peers.find import PeerMissingError, find_peer
from simulations.peers.rpc import RpcError, SerfRpc
from simulations.peers.serf import SerfAgent

__all__ = ["ConsulAgent", "PeerMissingError", "RpcError", "SerfAgent", "SerfRpc", "find_peer"]
