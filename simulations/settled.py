"""Push/pulls between nodes of a settled pool, without the work that is known to change nothing.

A push/pull of N members is N records to write, to read and to compare, on both sides, and in a settled
pool every comparison ends with "known". The bytes still travel and are compared; but a state that many
nodes send alike is written and read once, and of its records only those are merged that say something
else than the roster, or about which the receiver holds something else. All other records are claims
that a member is alive at the incarnation at which it is held alive, which the core ignores.

`tests/simulation/test_shared.py` shows that histories with and without this are the same.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any

from gossip.swim.push_pull import StateExchange, push_pull_scale
from gossip.wire.body import BodyReader
from gossip.wire.messages import PushPull
from gossip.wire.push_pull import NodeState
from gossip.wire.serf import StateSync, decode_serf

if TYPE_CHECKING:
    from gossip.serf.node import Node
    from gossip.swim.exchange import Exchange
    from gossip.wire.messages import Message
    from simulations.shared import Roster, SharedRows

__all__ = ["SettledExchange", "States", "read_known_states"]

_RECORD_TELLS = attrgetter("info", "incarnation", "status")
_MEMBER_TELLS = attrgetter("status", "status_ltime")
MAX_STATES = 64
"""Different states remembered; the oldest goes."""


class KnownState(PushPull):
    """A state as somebody sent it, encoded once; and what in it is not the roster's word."""

    __slots__ = ("data", "intents", "places", "sync", "telling", "versions")

    def __init__(self, state: PushPull, roster: Roster, join_ltime: int) -> None:
        super().__init__(state.join, state.nodes, state.user_state)
        self.data = PushPull.encode(state)
        self.places = {node.name: place for place, node in enumerate(state.nodes)}
        self.telling = [
            place for place, node in enumerate(state.nodes) if not _is_word_of(roster, node)
        ]
        self.versions = {node.vsn for node in state.nodes}
        sync = decode_serf(state.user_state)
        assert isinstance(sync, StateSync)  # noqa: S101 - our own node made it
        self.sync = sync
        self.intents = {
            name: ltime
            for name, ltime in sync.status_ltimes.items()
            if ltime != join_ltime or name not in roster.index
        }

    def encode(self) -> bytes:
        """The message, written before."""
        return self.data


def _is_word_of(roster: Roster, node: Any) -> bool:
    position = roster.index.get(node.name)
    if position is None or node.state != NodeState.ALIVE or node.incarnation != 1:
        return False
    info = roster.infos[position]
    return (node.addr, node.port, node.meta, node.vsn) == (
        info.addr, info.port, info.meta, info.vsn,
    )  # fmt: skip


class States:
    """The states that were sent in one world, by what they say."""

    def __init__(self) -> None:
        self._held: dict[object, KnownState] = {}

    def get(self, key: object) -> KnownState | None:
        """The state of that content, if somebody sent it lately."""
        return self._held.get(key)

    def put(self, key: object, state: KnownState) -> None:
        """Remember a state."""
        if len(self._held) >= MAX_STATES:
            del self._held[next(iter(self._held))]
        self._held[key] = state

    def beginning_with(self, piece: bytes) -> list[KnownState]:
        """Those whose bytes begin so."""
        return [state for state in self._held.values() if state.data.startswith(piece)]


class KnownBody(BodyReader):
    """Reads a stream's message; one that is known byte for byte is not parsed again."""

    def __init__(self, states: States) -> None:
        super().__init__()
        self._states = states
        self._candidates: list[KnownState] | None = None
        self._read = 0

    def feed(self, piece: bytes) -> Message | None:
        """Take the next piece; give the message once it is complete."""
        if self._candidates is None:
            self._candidates = self._states.beginning_with(piece)
        elif self._candidates:
            before, start = self._candidates[0].data, self._read
            self._candidates = [s for s in self._candidates if s.data.startswith(piece, start)]
            if not self._candidates and start:
                super().feed(before[:start])
        if not self._candidates:
            return super().feed(piece)
        self._read += len(piece)
        for state in self._candidates:
            if len(state.data) == self._read:
                return state
        return None


def read_known_states(exchange: Exchange, states: States) -> None:
    """Have an exchange recognise states that were sent before."""
    exchange._reader._body = KnownBody(states)  # noqa: SLF001 - not given by the core's constructor


class SettledExchange(StateExchange):
    """The push/pull side of a node that shares a roster."""

    roster: Roster
    records: SharedRows[Any]
    registered: SharedRows[Any]
    node: Node
    join_ltime: int
    spread_out: bool
    shortcut: bool

    @classmethod
    def install(
        cls,
        node: Node,
        roster: Roster,
        records: SharedRows[Any],
        registered: SharedRows[Any],
        *,
        shortcut: bool,
    ) -> None:
        """Make a node's state exchange one of these."""
        exchange = node.membership.state_exchange
        exchange.__class__ = cls
        assert isinstance(exchange, cls)  # noqa: S101 - assigned above
        exchange.roster, exchange.node = roster, node
        exchange.records, exchange.registered = records, registered
        exchange.join_ltime = roster.members[0].status_ltime
        exchange.spread_out = False
        exchange.shortcut = shortcut

    def own_state(self, *, join: bool) -> PushPull:
        """Our state, the object of an earlier one that said the same if there was one."""
        key = self._key(join=join) if self.shortcut else None
        if key is None:
            return super().own_state(join=join)
        states = self.roster.states
        state = states.get(key)
        if state is None:
            state = KnownState(super().own_state(join=join), self.roster, self.join_ltime)
            states.put(key, state)
        return state

    def _key(self, *, join: bool) -> object | None:
        records = self.records.differences(_RECORD_TELLS)
        registered = self.registered.differences(_MEMBER_TELLS)
        if records is None or registered is None:
            return None
        node = self.node
        return (
            join,
            records,
            registered,
            node.member_clock.time,
            node.event_clock.time,
            node.query_clock.time,
            repr(node.ring.snapshot()),
        )

    def merge(
        self, state: PushPull, now: float, *, join: bool, ignore_old: bool, dialed: bool
    ) -> None:
        """Take in a state; of a known one only what may be news here."""
        own_words = self.records.differing(_RECORD_TELLS)
        if (
            join
            or not isinstance(state, KnownState)
            or len(state.versions | {info.vsn for info in own_words} | {self.roster.vsn}) > 1
        ):
            super().merge(state, now, join=join, ignore_old=ignore_old, dialed=dialed)
            return
        places = {state.places[i.name] for i in own_words if i.name in state.places}
        for place in sorted(places.union(state.telling)):
            self._merge_node(state.nodes[place], now)
        self.node.membership.delegate.merge_remote_state(
            self._telling_sync(state).encode(), now, join=join, ignore_old=ignore_old
        )

    def _telling_sync(self, state: KnownState) -> StateSync:
        sync = state.sync
        times = dict(state.intents)
        for info in self.registered.differing(_MEMBER_TELLS):
            if info.name in sync.status_ltimes:
                times[info.name] = sync.status_ltimes[info.name]
        times |= {name: sync.status_ltimes.get(name, 0) for name in sync.left_members}
        return StateSync(
            sync.ltime, times, sync.left_members, sync.event_ltime, sync.events, sync.query_ltime
        )

    def _on_interval(self, now: float) -> None:
        if not self.spread_out:  # in a settled pool the phases lie all over the stretched interval
            self.spread_out = True
            membership = self._membership
            later = membership.rng.randrange(push_pull_scale(len(membership.table)))
            if later:
                self._book(now + membership.config.push_pull_interval * later)
                return
        super()._on_interval(now)
