"""Push/pull: the full state exchange over TCP that joins clusters and mends what gossip missed.

Nothing a peer says about the death of others is believed at once: its dead and suspects become
suspects here, and the suspicion timer gives them the chance to refute.
"""

from __future__ import annotations

from math import ceil, log2
from typing import TYPE_CHECKING

from gossip.errors import JoinError
from gossip.swim.exchange import PushPullExchange
from gossip.swim.members import NodeInfo, Record, Status
from gossip.wire.address import format_address, is_usable, join_host_port
from gossip.wire.messages import Alive, Dead, PushPull, PushPullNode, Suspect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gossip.swim.membership import Membership
    from gossip.swim.timers import Timer
    from gossip.wire.address import Address

__all__ = ["StateExchange", "push_pull_scale", "verify_versions"]

EXCHANGES_PER_JOIN = 8
"""Exchanges that all nodes together begin because a member joined, on average."""
EXCHANGES_PER_RETURN = 8.0
"""The same because one that was dead is back."""
SETTLE_TIME = (0.25, 0.5)
"""After a join or a long stall, states are exchanged once more within these bounds, seconds."""


class StateExchange:
    """The push/pull side of a `Membership`: schedule, own state, merge."""

    def __init__(self, membership: Membership) -> None:
        self._membership = membership
        self._settling: Timer | None = None

    def start(self, now: float) -> None:
        """Begin the periodic exchanges, at a random phase."""
        interval = self._membership.config.push_pull_interval
        if interval:
            self._book(now + self._membership.rng.random() * interval)

    def settle(self, now: float) -> None:
        """Exchange states with a random member in a moment.

        Where many join at once, each sees in its seed's answer only those who came before it, and
        gossip misses a few pairs in a million; a second exchange with someone else finds them now
        instead of at the next interval.
        """
        self._settle(self.exchange_with_anyone, now)

    def learned(self, now: float) -> None:
        """A member was learned of: with a small chance, exchange states in a moment.

        Where whole groups find each other, much is news at once, and who missed some of it would not
        know before the next interval. All nodes together make some exchanges per member, however many
        they are, so that a single join costs no more in a large cluster. In a very small one gossip
        alone reaches everybody.
        """
        nodes = len(self._membership.table)
        if nodes > EXCHANGES_PER_JOIN and (
            self._membership.rng.random() * nodes < EXCHANGES_PER_JOIN
        ):
            self.settle(now)

    def returned(self, member: Record, now: float) -> None:
        """A member that was dead is alive again: with some chance, exchange states with it in a moment.

        Where a partition heals, gossip tells each side who is alive on the other, but Lamport clocks
        travel with events and states only: what is fired meanwhile by a clock that has stayed behind
        is too old across. The more members return, the more certain an exchange is.
        """
        if self._membership.rng.random() * len(self._membership.table) < EXCHANGES_PER_RETURN:
            self._settle(lambda now: self._exchange_with(member, now), now)

    def _settle(self, exchange: Callable[[float], None], now: float) -> None:
        if self._settling is None or not self._settling.pending:
            low, high = SETTLE_TIME
            at = now + low + (high - low) * self._membership.rng.random()
            self._settling = self._membership.timers.call_at(at, exchange)

    def _exchange_with(self, member: Record, now: float) -> None:
        if not self._membership.leaving and self._membership.is_reachable(member):
            self.dial(member.info.address, now, join=False)

    def dial(
        self, address: Address, now: float, *, join: bool, ignore_old: bool = False
    ) -> PushPullExchange:
        """Queue an exchange with the node at an address."""
        deadline = now + self._membership.config.tcp_timeout
        exchange = PushPullExchange(
            self._membership, address, deadline, join=join, ignore_old=ignore_old
        )
        self._membership.dial(exchange)
        return exchange

    def own_state(self, *, join: bool) -> PushPull:
        """Everybody we know, dead and left ones included, and the delegate's part."""
        nodes = [
            PushPullNode(
                r.info.name, r.info.addr, r.info.port, r.info.meta, r.incarnation, r.status,
                r.info.vsn,
            )
            for r in self._membership.table
        ]  # fmt: skip
        return PushPull(join, nodes, self._membership.delegate.local_state(join=join))

    def merge(
        self, state: PushPull, now: float, *, join: bool, ignore_old: bool, dialed: bool
    ) -> None:
        """Take in the state of a peer, all of it or nothing.

        Members that the delegate does not admit refuse a join, as with memberlist; from a periodic
        exchange they are left out one by one.

        Raises:
            JoinError: it may not be merged; the text says why.
        """
        membership = self._membership
        if state.skipped:
            membership.stats["records_skipped"] += state.skipped
        try:
            verify_versions(state.nodes, membership.table)
            if join:
                self._verify_members(state.nodes, our_name_must_be_free=dialed)
        except JoinError:
            membership.stats["merges_refused"] += 1
            raise
        for node in state.nodes:
            self._merge_node(node, now)
        if state.user_state:
            membership.delegate.merge_remote_state(
                state.user_state, now, join=join, ignore_old=ignore_old
            )
        if join and dialed:
            self.settle(now)

    def _verify_members(
        self, nodes: Sequence[PushPullNode], *, our_name_must_be_free: bool
    ) -> None:
        membership = self._membership
        own = membership.own.info
        newcomers: list[tuple[NodeInfo, int]] = []
        for node in nodes:
            port = node.port or own.port
            if not is_usable(node.addr, port):
                continue  # it is skipped by the merge too
            if node.name == own.name:
                elsewhere = (node.addr, port) != (own.addr, own.port)
                if our_name_must_be_free and elsewhere and node.state == Status.ALIVE:
                    # Using it nevertheless could make the other one shut itself down.
                    where = join_host_port(*format_address(node.addr, port))
                    raise JoinError(f"the name {own.name!r} is in use by a member at {where}")
            elif not self._is_admitted(node, port):
                info = NodeInfo(node.name, node.addr, port, node.meta, node.vsn)
                newcomers.append((info, node.state))
        if newcomers and (reason := membership.delegate.admit(newcomers)):
            membership.notice(reason)
            raise JoinError(reason)

    def _is_admitted(self, node: PushPullNode, port: int) -> bool:
        held = self._membership.table.get(node.name)
        return (
            held is not None
            and held.info.lives_at(node.addr, port)
            and (node.meta, node.vsn) == (held.info.meta, held.info.vsn)
        )

    def _merge_node(self, node: PushPullNode, now: float) -> None:
        membership = self._membership
        match node.state:
            case Status.ALIVE:
                port = node.port or membership.own.info.port
                alive = Alive(node.incarnation, node.name, node.addr, port, node.meta, node.vsn)
                membership.handle_alive(alive, None, now)
            case Status.LEFT:
                membership.handle_dead(Dead(node.incarnation, node.name, node.name), None, now)
            case Status.DEAD | Status.SUSPECT:
                accuser = membership.config.name
                suspect = Suspect(node.incarnation, node.name, accuser)
                membership.handle_suspect(suspect, None, now)
            case _:
                membership.stats["states_refused"] += 1

    def _book(self, at: float) -> None:
        self._membership.timers.call_at(at, self._on_interval)

    def _on_interval(self, now: float) -> None:
        self.exchange_with_anyone(now)
        membership = self._membership
        nodes = len(membership.table)
        self._book(now + membership.config.push_pull_interval * push_pull_scale(nodes))

    def exchange_with_anyone(self, now: float) -> None:
        """Exchange states with a random alive member now."""
        membership = self._membership
        if not membership.leaving:
            for record in membership.table.choose(1, membership.is_reachable):
                self.dial(record.info.address, now, join=False)


def push_pull_scale(nodes: int) -> int:
    """How much rarer exchanges are in a cluster of so many nodes (memberlist's pushPullScale)."""
    return 1 if nodes <= 32 else ceil(log2(nodes) - 5) + 1


def verify_versions(remote: Sequence[PushPullNode], local: Iterable[Record]) -> None:
    """Check that everybody on both sides speaks what everybody alive understands.

    As memberlist does: one record with odd versions, even of a dead node, refuses the merge.

    Raises:
        JoinError: naming the member and its versions.
    """
    alive = {node.vsn for node in remote if node.state == Status.ALIVE and len(node.vsn) >= 6}
    alive.update(record.info.vsn for record in local if record.status is Status.ALIVE)
    if not alive:
        return  # only a leaving node, alone with the departed
    limits = (
        max(vsn[0] for vsn in alive), min(vsn[1] for vsn in alive),
        max(vsn[3] for vsn in alive), min(vsn[4] for vsn in alive),
    )  # fmt: skip
    lowest, highest, serf_lowest, serf_highest = limits
    # The newcomers first: one of them is to blame, as our own fit together.
    spoken = [(node.vsn, node.name) for node in remote]
    spoken += [(record.info.vsn, record.info.name) for record in local]
    for vsn, name in spoken:
        current, serf_current = (vsn[2], vsn[5]) if len(vsn) >= 6 else (0, 0)
        if not lowest <= current <= highest or not serf_lowest <= serf_current <= serf_highest:
            raise JoinError(
                f"member {name!r} speaks memberlist {current} and Serf {serf_current}, the pool "
                f"understands {lowest} to {highest} and {serf_lowest} to {serf_highest}"
            )
