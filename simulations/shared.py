"""Large joined pools: what all nodes hold alike is held once.

In a settled pool of N nodes all N views say the same about everybody. Here a `Roster` says it once, and
a node's own containers hold only what differs. The code that works on them is the production core: its
member table, registry and gossip ring get these containers in place of the dict and lists that they
make for themselves.

    roster (one per world):  position -> Record alive@1, SerfMember alive
    node:                    records touched lately or different, entries of its orders that moved

A record that is asked for is copied, as the core may write to it; copies that are equal to the roster's
again, and that nobody holds, are dropped every now and then.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, MutableMapping, MutableSequence
from math import gcd
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from gossip.events import MemberStatus
from gossip.serf.members import SerfMember
from gossip.serf.tags import encode_own_tags
from gossip.swim.members import NodeInfo, Record, Status
from gossip.swim.membership import own_versions
from gossip.wire.address import parse_ip
from simulations.settled import SettledExchange, States, read_known_states
from simulations.world import World

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from gossip.serf.node import Node
    from gossip.swim.exchange import Exchange
__all__ = ["Roster", "SharedWorld"]

JOIN_LTIME = 1
"""The Lamport time of everybody's join intent in a pool that was made settled."""
COMPACT_ABOVE = 64
"""Copies that a node may hold before those that say nothing of their own are dropped."""
HELD_BY_US = 2
"""References to a copy that only the mapping and the look at it hold."""

_Row = TypeVar("_Row", Record, SerfMember)


class Roster:
    """What a settled pool of so many nodes knows, in one order.

    Args:
        infos: everybody, in any order.
        now: since when all of them are alive, virtual time.
    """

    def __init__(self, infos: list[NodeInfo], now: float) -> None:
        self.infos = infos
        self.index = {info.name: position for position, info in enumerate(infos)}
        self.vsn = infos[0].vsn
        self.states = States()
        self.records = [_alive(info, now) for info in infos]
        self.members = [_member(info) for info in infos]


def _alive(info: NodeInfo, now: float) -> Record:
    record = Record(info, now)
    record.incarnation = 1
    record.status = Status.ALIVE
    record.in_gossip_ring = True
    return record


def _member(info: NodeInfo) -> SerfMember:
    member = SerfMember(info)
    member.status = MemberStatus.ALIVE
    member.status_ltime = JOIN_LTIME
    return member


class SharedRows(MutableMapping[str, _Row], Generic[_Row]):
    """Rows by name: the roster's, unless this node's differ.

    Args:
        index: positions of the roster by name.
        rows: the roster's rows.
        copy: copies one.
    """

    def __init__(
        self, index: dict[str, int], rows: list[_Row], copy: Callable[[_Row], _Row]
    ) -> None:
        self._index = index
        self._rows: list[_Row] = rows
        self._values_of = attrgetter(*type(rows[0]).__slots__)
        self._copy: Callable[[_Row], _Row] = copy
        self._own: dict[str, _Row] = {}
        self._gone: set[str] = set()
        self.removed: dict[str, _Row] = {}
        """The roster's members that were forgotten here, as they were then; they may be back."""
        self._limit = COMPACT_ABOVE
        self._length = len(rows)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, name: str) -> _Row:
        row: _Row | None = self.get(name)
        if row is None:
            raise KeyError(name)
        return row

    def get(self, name: str, default: Any = None) -> Any:
        """The row of a name, as one that this node may change."""
        row = self._own.get(name)
        if row is not None:
            return row
        position = self._index.get(name)
        if position is None or name in self._gone:
            return default
        row = self._own[name] = self._copy(self._rows[position])
        if len(self._own) > self._limit:
            self.compact()
        return row

    def __contains__(self, name: object) -> bool:
        return name in self._own or (name in self._index and name not in self._gone)

    def __setitem__(self, name: str, row: _Row) -> None:
        self._length += name not in self
        self._own[name] = row
        self._gone.discard(name)

    def __delitem__(self, name: str) -> None:
        if name not in self:
            raise KeyError(name)
        row: _Row = self.get(name)
        self._own.pop(name, None)
        self._length -= 1
        if name in self._index:
            self._gone.add(name)
            self.removed.setdefault(name, row)

    def __iter__(self) -> Iterator[str]:
        for name in self._index:
            if name not in self._gone:
                yield name
        for name in list(self._own):
            if name not in self._index:
                yield name

    def values(self) -> Any:
        """Rows to look at, not to change."""
        own, gone, infos = self._own, self._gone, self._rows
        if not own and not gone:
            return iter(infos)
        return self._values()

    def _values(self) -> Iterator[_Row]:
        own, gone = self._own, self._gone
        for row in self._rows:
            name = row.info.name
            if name in own:
                yield own[name]
            elif name not in gone:
                yield row
        index = self._index
        for name, row in list(own.items()):
            if name not in index:
                yield row

    def items(self) -> Any:
        """Names with rows to look at."""
        return ((row.info.name, row) for row in self.values())

    def own_rows(self) -> int:
        """How many rows this node holds itself."""
        return len(self._own)

    def differing(self, told: Callable[[_Row], object]) -> list[NodeInfo]:
        """Whom this node holds something else about than the roster, or holds for gone.

        Args:
            told: what counts of one row.
        """
        rows, index = self._rows, self._index
        found = [rows[index[name]].info for name in self._gone]
        for name, row in self._own.items():
            place = index.get(name)
            if place is None or told(row) != told(rows[place]):
                found.append(row.info)
        return found

    def differences(self, told: Callable[[_Row], object]) -> tuple[object, ...] | None:
        """What this node would tell another of its rows that the roster does not say.

        Args:
            told: what is told of one row.

        Returns:
            Positions with what is told there, None for a name that is gone; in one order for all
            nodes. None when there are rows besides the roster's.
        """
        index, rows = self._index, self._rows
        found: list[tuple[int, object]] = [(index[name], None) for name in self._gone]
        for name, row in self._own.items():
            place = index.get(name)
            if place is None:
                return None
            if told(row) != told(rows[place]):
                found.append((place, told(row)))
        return tuple(sorted(found, key=itemgetter(0)))

    def _equal(self, one: _Row, other: _Row) -> bool:
        return self._values_of(one) == self._values_of(other)

    def compact(self) -> None:
        """Drop copies that say what the roster says, unless somebody holds on to them."""
        index, rows = self._index, self._rows
        kept: dict[str, _Row] = {}
        names = list(self._own)
        for name in names:
            row = self._own.pop(name)
            position = index.get(name)
            if (
                position is None
                or sys.getrefcount(row) > HELD_BY_US
                or not self._equal(row, rows[position])
            ):
                kept[name] = row
        self._own = kept
        self._limit = max(COMPACT_ABOVE, 2 * len(kept))


def _copied(row: Record) -> Record:
    copy = Record.__new__(Record)
    copy.info = row.info
    copy.incarnation = row.incarnation
    copy.former = row.former
    copy.status = row.status
    copy.changed_at = row.changed_at
    copy.in_gossip_ring = row.in_gossip_ring
    return copy


def _copied_member(row: SerfMember) -> SerfMember:
    copy = SerfMember.__new__(SerfMember)
    copy.info = row.info
    copy.status = row.status
    copy.status_ltime = row.status_ltime
    copy.gone_at = row.gone_at
    copy.view = row.view
    copy.coordinate = row.coordinate
    return copy


class SharedOrder(MutableSequence[Record]):
    """A random order of the roster, of which only the entries that were moved are held.

    Positions lead to the roster through ``(position * step + first) mod N``, a permutation that is
    different for every node; its users permute it further as they go.

    Args:
        rows: this node's records.
        infos: the roster.
        rng: draws the permutation.
    """

    def __init__(self, rows: SharedRows[Record], infos: list[NodeInfo], rng: Random) -> None:
        self._rows = rows
        self._infos = infos
        self._size = len(infos)
        self._first = rng.randrange(self._size)
        self._step = 1 + rng.randrange(self._size)
        while gcd(self._step, self._size) != 1:
            self._step = 1 + rng.randrange(self._size)
        self._moved: dict[int, str | Record] = {}
        self._length = self._size

    def __len__(self) -> int:
        return self._length

    def __bool__(self) -> bool:
        return self._length > 0

    def _position(self, index: int) -> int:
        if index < 0:
            index += self._length
        if not 0 <= index < self._length:
            raise IndexError(index)
        return index

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._length))]
        if not 0 <= index < self._length:
            index = self._position(index)
        entry = self._moved.get(index)
        if entry is None:
            entry = self._infos[(index * self._step + self._first) % self._size].name
        elif isinstance(entry, Record):
            return entry
        rows = self._rows
        return (rows.removed and rows.removed.get(entry)) or rows.get(entry)

    def __setitem__(self, index: Any, record: Any) -> None:
        # By name where the name leads back to it: then the copy need not be kept for our sake.
        name = record.info.name
        held = name not in self._rows.removed and self._rows.get(name) is record
        self._moved[self._position(index)] = name if held else record

    def __delitem__(self, index: Any) -> None:
        if self._position(index) != self._length - 1:
            raise IndexError("only the last entry can be removed")
        self._moved.pop(self._length - 1, None)
        self._length -= 1

    def insert(self, index: int, record: Record) -> None:
        """Add at the end, which is all that the core does."""
        if index != self._length:
            raise IndexError("entries are added at the end only")
        self._length += 1
        self[index] = record

    def pop(self, index: int = -1) -> Record:
        """Remove the last entry."""
        record: Record = self[index]
        del self[index]
        return record


def share(node: Node, roster: Roster, rng: Random, *, shortcut: bool) -> None:
    """Make a node that is alone a settled member of the roster's pool.

    Its name has to be in the roster; its own record and registry entry stay its own.
    """
    membership, table, own = node.membership, node.membership.table, node.membership.own
    size, name = len(roster.infos), own.info.name
    rows = SharedRows(roster.index, roster.records, _copied)
    rows[name] = own
    members = SharedRows(roster.index, roster.members, _copied_member)
    registered = node.members.get(name)
    assert registered is not None  # noqa: S101 - a node knows itself from its start
    registered.status_ltime = JOIN_LTIME
    members[name] = registered
    # The containers are private to their owners, which nobody but a simulation replaces.
    table._by_name = cast("dict[str, Record]", rows)  # noqa: SLF001
    table._pool = cast("list[Record]", SharedOrder(rows, roster.infos, rng))  # noqa: SLF001
    table._probe_order = cast(  # noqa: SLF001
        "list[Record]", SharedOrder(rows, roster.infos, rng)
    )
    table.alive = size
    ring = membership.dissemination.ring
    ring._ring = cast("list[Record]", SharedOrder(rows, roster.infos, rng))  # noqa: SLF001
    node.members._members = cast("dict[str, SerfMember]", members)  # noqa: SLF001
    node.members.counts[MemberStatus.ALIVE] = size
    node.member_clock.witness(JOIN_LTIME)
    membership.dissemination.resize(nodes=size, members=size)
    SettledExchange.install(node, roster, rows, members, shortcut=shortcut)


class SharedWorld(World):
    """A world whose nodes are joined from the start, and share what they hold alike.

    Args:
        size: how many nodes.
        seed: as for `World`.
        shortcut: leave out the work of push/pulls that changes nothing.
        options: as for `World`.
    """

    def __init__(self, size: int, seed: int = 1, *, shortcut: bool = True, **options: Any) -> None:
        super().__init__(seed, **options)
        self._shortcut = shortcut
        self.network.in_pieces = not shortcut
        names = [f"node-{number:05}" for number in range(size)]
        vsn = own_versions(self.profile("x", **self.settings).protocol_version)
        meta = encode_own_tags(self.settings.get("tags", {}))
        addresses = [self.new_address() for _ in names]
        self.roster = Roster(
            [
                NodeInfo(name, parse_ip(ip), 7946, meta, vsn)
                for name, ip in zip(names, addresses, strict=True)
            ],
            self.now,
        )
        for name, ip in zip(names, addresses, strict=True):
            host = self.add(name, ip=ip)
            host.events.clear()
            for queue in host.node.membership.dissemination.queues:
                queue.prune(0, self.now)
            share(host.node, self.roster, self.rng, shortcut=shortcut)
            self.drain(host)

    def opened(self, exchange: Exchange) -> None:
        """Both ends recognise states that were sent before."""
        if self._shortcut:
            read_known_states(exchange, self.roster.states)

    def rows_held(self) -> int:
        """Records and registry entries that the nodes hold themselves, of 2 N² that they see."""
        return sum(
            cast("SharedRows[Any]", rows).own_rows()
            for host in self.hosts.values()
            for rows in (host.node.membership.table._by_name, host.node.members._members)  # noqa: SLF001
        )
