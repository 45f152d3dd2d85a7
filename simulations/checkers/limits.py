# ruff: noqa: ARG002, D102 - the hooks of a checker have one signature each, and `Checker` says what they are
"""Of what a node holds and what it sends (S13 to S15)."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from gossip.serf.intents import MAX_RECENT_INTENTS
from gossip.serf.ring import MAX_BUFFERED_EVENTS
from gossip.swim.broadcast import MAX_TOLD
from gossip.swim.probe import MAX_RELAYED_PINGS
from simulations.watch import Checker

if TYPE_CHECKING:
    from gossip.wire.address import Address
    from simulations.host import Host
    from simulations.watch import Transition, Watch

__all__ = ["BoundedAmplification", "BoundedState", "NoPlaintextLeak"]

MAX_AMPLIFICATION = 3
"""Bytes to a stranger per byte from it."""
MAX_DEPTH = 8
NEWS_HOPS = 4
"""Packets of one causal chain: answers, and some hops of news per doubling of the pool."""
FREE_ANSWER = 128
"""A single small answer is never counted as amplification."""
ENVELOPES = (b"\x00", b"\x01")


class BoundedState(Checker):
    """S13: whatever a node holds is bounded by the members that there are, or by a number."""

    invariant = "S13"

    def __init__(self, watch: Watch) -> None:
        super().__init__(watch)
        self._names: set[str] = set()

    def changed(self, change: Transition) -> None:
        self._names.add(change.subject)

    def audit(self, host: Host) -> None:
        node, membership = host.node, host.node.membership
        config, queues = node.config, membership.dissemination.queues
        news = max(2 * len(node.members), config.max_queue_depth, config.min_queue_depth)
        bounds = {
            "records": (len(membership.table), len(self._names)),
            "members": (len(node.members), len(self._names)),
            "broadcasts of members": (len(queues[0]), len(membership.table) + MAX_TOLD),
            "other broadcasts": (max(map(len, queues[1:])), news),
            "intents": (len(node.intents.early), MAX_RECENT_INTENTS),
            "events": (node.ring._count, MAX_BUFFERED_EVENTS),  # noqa: SLF001 - bounds are not public
            "relayed pings": (len(membership.prober._relayed), MAX_RELAYED_PINGS),  # noqa: SLF001
            "streams": (membership._inbound, config.max_streams),  # noqa: SLF001
            "timers": (len(membership.timers), 3 * len(membership.table) + 2048),
        }
        for what, (count, most) in bounds.items():
            if count > most:
                self.violated(f"{host.name} holds {count} {what}, bound {most}", host.name)


class BoundedAmplification(Checker):
    """S14: strangers get little for their bytes, and no packet sets off an endless chain."""

    invariant = "S14"

    def __init__(self, watch: Watch) -> None:
        super().__init__(watch)
        self._got: dict[tuple[Host, Address], int] = defaultdict(int)
        self._gave: dict[tuple[Host, Address], int] = defaultdict(int)

    def packet_read(self, host: Host, data: bytes, source: Address) -> None:
        if source not in self.world.known_addresses:
            self._got[host, source] += len(data)

    def packet_sent(self, host: Host, data: bytes, address: Address, depth: int) -> None:
        if depth > MAX_DEPTH + NEWS_HOPS * len(self.world.hosts).bit_length():
            self.violated(f"{host.name} sends the packet {depth} of a chain", host.name)
        if (host, address) in self._got:
            self._gave[host, address] += len(data)
            most = MAX_AMPLIFICATION * self._got[host, address] + FREE_ANSWER
            if self._gave[host, address] > most:
                self.violated(f"{host.name} sends a stranger more than {most} bytes", host.name)


class NoPlaintextLeak(Checker):
    """S15: where there are keys, nothing leaves in plain text and nothing plain is believed."""

    invariant = "S15"

    def __init__(self, watch: Watch) -> None:
        super().__init__(watch)
        self._plain: Host | None = None

    def packet_sent(self, host: Host, data: bytes, address: Address, depth: int) -> None:
        codec = host.node.membership.packet_codec
        if codec.keyring and not self._is_sealed(host, data):
            self.violated(f"{host.name} sends a packet in plain text", host.name)

    def stream_sent(self, host: Host, data: bytes) -> None:
        codec = host.node.membership.stream_codec
        header = len(codec.label_header) if data.startswith(codec.label_header) else 0
        if codec.keyring and data[header : header + 1] != b"\x0a":
            self.violated(f"{host.name} writes plain text to a stream", host.name)

    def packet_read(self, host: Host, data: bytes, source: Address) -> None:
        keys = host.node.membership.packet_codec.keyring
        self._plain = host if keys and not self._is_sealed(host, data) else None

    def changed(self, change: Transition) -> None:
        if change.observer is self._plain and change.cause in {"alive", "suspect", "dead"}:
            self.violated(f"{change.observer.name} believes plain text", change.observer.name)

    def drained(self, host: Host) -> None:
        self._plain = None

    @staticmethod
    def _is_sealed(host: Host, data: bytes) -> bool:
        header = len(host.node.membership.packet_codec.label_header)
        return data[header : header + 1] in ENVELOPES
