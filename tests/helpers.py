"""Pools of nodes under virtual time, for tests of the core: a `World` with what tests often say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gossip.events import MemberStatus
from simulations.host import Host
from simulations.network import Weather
from simulations.trace import Trace
from simulations.world import MAX_BACKLOG, Asked, World

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    Cut: TypeAlias = Callable[[Host, Host], bool]

__all__ = ["Asked", "Host", "Pool"]


def _nothing(_source: Host, _target: Host) -> bool:
    return False


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
        self._cut: Cut = _nothing
        self._udp_cut: Cut = _nothing
        super().__init__(
            seed, weather=Weather(latency=latency), trace=self._packets, start=100.0, **settings
        )

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]

    @property
    def packets(self) -> list[tuple[float, str, str, bytes]]:
        """Every packet that was sent to somebody: when, by whom, to whom, and its bytes."""
        return self._packets.packets

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

    @property
    def loss(self) -> float:
        """How many of all packets get lost."""
        return self.network.weather.loss

    @loss.setter
    def loss(self, rate: float) -> None:
        self.network.weather.loss = rate

    @property
    def cut(self) -> Cut:
        """Tells whether nothing from the first host reaches the second."""
        return self._cut

    @cut.setter
    def cut(self, cut: Cut) -> None:
        self._cut = cut
        self.network.cut("cut", cut)

    @property
    def udp_cut(self) -> Cut:
        """Tells the same about packets only."""
        return self._udp_cut

    @udp_cut.setter
    def udp_cut(self, cut: Cut) -> None:
        self._udp_cut = cut
        self.network.cut("udp cut", cut, udp_only=True)

    @property
    def buffers(self) -> bool:
        """Whether packets to somebody who is paused wait for it, or are lost."""
        return self.max_backlog > 0

    @buffers.setter
    def buffers(self, buffers: bool) -> None:
        self.max_backlog = MAX_BACKLOG if buffers else 0
