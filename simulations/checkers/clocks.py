# ruff: noqa: D102 - the hooks of a checker have one signature each, and `Checker` says what they are
"""Of Lamport clocks (S8 and S9)."""

from __future__ import annotations

from collections import defaultdict, deque
from typing import TYPE_CHECKING, TypeAlias

from gossip.events import UserEvent
from gossip.serf.snapshot import CLOCK_GAP
from gossip.snapshot_file import FLUSH_INTERVAL
from simulations.watch import Checker

if TYPE_CHECKING:
    from gossip.events import Event
    from simulations.host import Host
    from simulations.watch import Watch

__all__ = ["LTimes"]

Times: TypeAlias = tuple[int, ...]
"""Of the member, event and query clock."""


class LTimes(Checker):
    """S8 and S9: Lamport clocks never go back, nor further ahead than allowed at once."""

    invariant = "S8"

    def __init__(self, watch: Watch) -> None:
        super().__init__(watch)
        self._held: dict[Host, Times] = {}
        self._ended: dict[str, Times] = {}
        self._delivered: dict[Host, int] = defaultdict(int)
        self._unwritten: dict[Host, deque[tuple[float, Times]]] = defaultdict(deque)

    def started(self, host: Host) -> None:
        node = host.node
        clocks = (node.member_clock, node.event_clock, node.query_clock)
        times = tuple(clock.upcoming for clock in clocks)
        kept: tuple[int, ...] = host.resumed or (0, 0, 0)
        if host.disk is not None and host.disk.sound:
            # The gap makes up for what was not written yet, but for a clock of which nothing was.
            ended = self._ended.get(host.name, kept)
            kept = tuple(e if k else 0 for k, e in zip(kept, ended, strict=True))
        # A snapshot's time that is absurdly far ahead is refused, as on the wire, and counted.
        believed = node.config.max_ltime_jump
        if any(now < then <= believed for now, then in zip(times, kept, strict=True)):
            self.violated(f"{host.name} restarts at {times}, having been at {kept}", host.name)
        self._held[host] = self._times(host)

    def stopped(self, host: Host) -> None:
        ended = self._to_be_kept(host)
        self._forget_written(host)
        if unwritten := self._unwritten.pop(host):
            # What came last may be lost with the process, and leap further than any gap makes up for.
            ended = tuple(
                now if now - then <= CLOCK_GAP else then
                for now, then in zip(ended, unwritten[0][1], strict=True)
            )
        self._ended[host.name] = ended
        self._held.pop(host, None)
        self._delivered.pop(host, None)

    def told(self, host: Host, event: Event) -> None:
        if isinstance(event, UserEvent) and event.ltime > self._delivered[host]:
            self._moves(host)
            self._delivered[host] = event.ltime

    def drained(self, host: Host) -> None:
        times, held = self._times(host), self._held.get(host)
        if held is None or times == held:
            return
        self._moves(host)
        self._held[host] = times
        for now, then in zip(times, held, strict=True):
            if now < then:
                self.violated(f"a clock of {host.name} went from {then} to {now}", host.name)

    def witnessed(self, host: Host, before: int, after: int) -> None:
        jump = host.node.config.max_ltime_jump
        if after - before > jump + 1 or after >= 2**63 + 1:
            text = f"one message took a clock of {host.name} from {before} to {after}"
            self.watch.violated("S9", text, host.name)

    def _moves(self, host: Host) -> None:
        """A clock is about to be another."""
        self._unwritten[host].append((self.watch.world.now, self._to_be_kept(host)))
        self._forget_written(host)

    def _forget_written(self, host: Host) -> None:
        unwritten = self._unwritten[host]
        while unwritten and unwritten[0][0] < self.watch.world.now - FLUSH_INTERVAL:
            unwritten.popleft()

    def _to_be_kept(self, host: Host) -> Times:
        """Of events those count that were delivered: the others are still wanted after a restart."""
        member_time, _, query_time = self._held.get(host, (0, 0, 0))
        return member_time, self._delivered[host], query_time

    @staticmethod
    def _times(host: Host) -> Times:
        node = host.node
        return node.member_clock.time, node.event_clock.time, node.query_clock.time
