"""Pools of nodes under virtual time, for tests of the core: a `World` with what tests often say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gossip.events import MemberStatus
from simulations.host import Host
from simulations.network import Weather
from simulations.trace import Trace
from simulations.world import Asked, World

if TYPE_CHECKING:
    from collections.abc import Callable

    from gossip.wire.address import Address

__all__ = ["Asked", "Host", "Pool"]


class Packets(Trace):
    """A trace that keeps every packet: when it was sent, by whom, to whom, and its bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.packets: list[tuple[float, str, str, bytes]] = []

    def add(self, at: float, kind: str, source: str, target: str, data: bytes) -> None:
        super().add(at, kind, source, target, data)
        if kind == "packet":
            self.packets.append((at, source, target, data))


class Pool(World):
    """Nodes joined by a network with latency, and optionally loss and cuts, in virtual time."""

    def __init__(self, seed: int = 1, *, latency: float = 0.0005, **settings: Any) -> None:
        self._packets = Packets()
        self.depths: list[int] = []
        """For each packet that arrived, how many packets are in the chain that it ends."""
        super().__init__(
            seed, weather=Weather(latency=latency), trace=self._packets, start=100.0, **settings
        )

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]

    @property
    def packets(self) -> list[tuple[float, str, str, bytes]]:
        """Every packet that was sent to somebody: when, by whom, to whom, and its bytes."""
        return self._packets.packets

    def _arrive(self, address: Address, data: bytes, source: Host, depth: int) -> None:
        self.depths.append(depth)
        super()._arrive(address, data, source, depth)

    # Joining

    def add_many(self, count: int, **settings: Any) -> list[Host]:
        return [self.add(f"node-{index:03}", **settings) for index in range(count)]

    def joined(self, count: int, **settings: Any) -> list[Host]:
        """`count` nodes that have joined the first one and see each other."""
        hosts = self.add_many(count, **settings)
        for host in hosts[1:]:
            self.join(host, hosts[0])
        self.run_until(lambda: all(map(self.sees_all_alive, hosts)), 20, every=0.02)
        return hosts

    def sees_all_alive(self, host: Host) -> bool:
        statuses = host.statuses()
        return all(statuses.get(other.name) is MemberStatus.ALIVE for other in self.running())

    # The network

    def lose(self, rate: float) -> None:
        """Packets get lost, so many of all; 0 ends that."""
        self.network.weather.loss = rate

    def cut(self, cuts: Callable[[Host, Host], bool], *, udp_only: bool = False) -> None:
        """Nothing, or no packet, passes from the first host to the second where `cuts` says so."""
        self.network.cut("", cuts, udp_only=udp_only)

    def mend(self) -> None:
        """End all cuts."""
        self.network.mend()
