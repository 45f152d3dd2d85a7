"""Nodes whose messages are held up while their timers run, as in the experiments of Lifeguard's paper.

    running --block--> blocked: what it sends waits, what arrives waits --its end--> running, all at once

A process that is stopped as a whole (`World.pause`) does not look at its clock meanwhile; one whose
messages alone are slow does, and takes the silence for the death of others.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from simulations.network import Network
from simulations.shared import SharedWorld
from simulations.world import MAX_BACKLOG

if TYPE_CHECKING:
    from collections.abc import Callable

    from gossip.wire.address import Address
    from simulations.chains import Depths
    from simulations.host import Host

__all__ = ["BlockedWorld"]


class _BlockedNetwork(Network):
    """A network into which a blocked host's segments come late."""

    def __init__(self, world: BlockedWorld) -> None:
        net = world.network
        super().__init__(net._rng, net.weather, net._covered)  # noqa: SLF001 - it takes its place
        self.in_pieces = net.in_pieces
        self._world = world

    def segment_delay(self, source: Host, target: Host) -> float:
        return super().segment_delay(source, target) + self._world.wait_of(source)


class BlockedWorld(SharedWorld):
    """A settled pool whose nodes can be blocked; arguments are those of `SharedWorld`."""

    def __init__(self, size: int, seed: int = 1, **options: Any) -> None:
        self._blocked_until: dict[str, float] = {}
        self._waiting: Counter[str] = Counter()
        super().__init__(size, seed, **options)
        self.network = _BlockedNetwork(self)

    def block(self, host: Host, seconds: float) -> None:
        """Hold up whatever a node sends and receives for a while; its timers run."""
        until = self.now + seconds
        self._blocked_until[host.name] = max(self._blocked_until.get(host.name, 0.0), until)
        self.note("block", host.name, text=f"{seconds:.3f} s")

    def wait_of(self, host: Host) -> float:
        """How long a node's messages are still held up, seconds."""
        return max(self._blocked_until.get(host.name, 0.0) - self.now, 0.0)

    def give(self, host: Host, action: Callable[..., object], *args: Any) -> None:
        """Segments of streams wait too."""
        if wait := self.wait_of(host):
            self.at(self.now + wait, self.give, host, action, *args)
        else:
            super().give(host, action, *args)

    def _send(self, source: Host, data: bytes, address: Address) -> None:
        if wait := self.wait_of(source):
            self.at(self.now + wait, self._send, source, data, address)
        else:
            super()._send(source, data, address)

    def _arrive(self, address: Address, data: bytes, source: Host, depths: Depths) -> None:
        target = self.by_address.get(address)
        wait = 0.0 if target is None else self.wait_of(target)
        if target is None or not wait:
            super()._arrive(address, data, source, depths)
        elif self._waiting[target.name] >= MAX_BACKLOG:
            self.covered["packets_overflowed"] += 1
        else:
            self._waiting[target.name] += 1
            self.at(self.now + wait, self._let_in, target, address, data, source, depths)

    def _let_in(
        self, target: Host, address: Address, data: bytes, source: Host, depths: Depths
    ) -> None:
        self._waiting[target.name] -= 1
        self._arrive(address, data, source, depths)
