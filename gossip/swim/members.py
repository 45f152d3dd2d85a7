"""The member table: what we hold about everybody, and the one rule of what replaces it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gossip.wire.address import format_address
from gossip.wire.messages import NodeState as Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

    from gossip.wire.address import Address

__all__ = ["MemberTable", "NodeInfo", "Record", "Status", "supersedes"]


@dataclass(slots=True, frozen=True)
class NodeInfo:
    """What a member says about itself; one object may serve many views.

    `addr` is kept verbatim, 4 or 16 bytes: peers compare and pass on the raw bytes.
    """

    name: str
    addr: bytes
    port: int
    meta: bytes
    vsn: bytes
    address: Address = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "address", format_address(self.addr, self.port))

    def lives_at(self, addr: bytes, port: int) -> bool:
        """Whether it says that it can be reached there."""
        return self.port == port and self.addr == addr

    @property
    def protocol_max(self) -> int:
        """Highest memberlist protocol it understands (PMax), 0 when it does not say."""
        return self.vsn[1] if len(self.vsn) > 1 else 0


class Record:
    """Our view of one member.

    Attributes:
        former: the incarnation at which a former life of this name, at another address, ended. The
            new one starts below it, and until it has refuted, old news would look new.
    """

    __slots__ = ("changed_at", "former", "in_gossip_ring", "incarnation", "info", "status")

    def __init__(self, info: NodeInfo, now: float) -> None:
        self.info = info
        self.incarnation = 0
        self.former = 0
        self.status = Status.DEAD  # a new record starts dead, so that its first alive is a join
        self.changed_at = now
        self.in_gossip_ring = False

    def __repr__(self) -> str:
        return f"<Record {self.info.name} {self.status.name.lower()}@{self.incarnation}>"

    @property
    def gone(self) -> bool:
        """Whether it is dead or left."""
        return self.status >= Status.DEAD


def supersedes(news: Status, incarnation: int, held: Status, held_incarnation: int) -> bool:
    """Tell whether news about another member replaces what we hold (SWIM section 4.2).

    Only the member raises its incarnation, so an accusation at the incarnation we hold is
    believed, while a claim of health has to be strictly newer than the accusation it answers.
    """
    match news:
        case Status.ALIVE:
            return incarnation > held_incarnation
        case Status.SUSPECT:
            return incarnation >= held_incarnation and held is Status.ALIVE
        case _:
            return incarnation >= held_incarnation and held <= Status.SUSPECT


class MemberTable:
    """Records by name, with the orders in which they are probed and picked.

    `len` counts every record, dead ones included until they are reaped: it is the estimate of the
    cluster's size that all of memberlist's formulas use.
    """

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._by_name: dict[str, Record] = {}
        self._probe_order: list[Record] = []
        self._probe_cursor = 0
        self._pool: list[Record] = []  # in no order at all; random choice permutes it
        self.alive = 0

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[Record]:
        return iter(self._by_name.values())

    def get(self, name: str) -> Record | None:
        """The record of a name, if there is one."""
        return self._by_name.get(name)

    def add(self, info: NodeInfo, now: float) -> Record:
        """A new record, dead at incarnation 0, at a random place of the probe order."""
        record = Record(info, now)
        self._by_name[info.name] = record
        self._pool.append(record)
        order = self._probe_order
        order.append(record)
        place = self._rng.randrange(len(order))
        order[place], order[-1] = order[-1], order[place]
        return record

    def set_status(self, record: Record, status: Status, now: float) -> None:
        """Change a record's status, keeping the counts."""
        self.alive += (status is Status.ALIVE) - (record.status is Status.ALIVE)
        record.status = status
        record.changed_at = now

    def next_to_probe(self, reap: Callable[[Record], bool], own: Record) -> Record | None:
        """The next alive or suspect member in the probe order, or None when there is none.

        When the order is through, records for which `reap` says so are removed and the rest is
        shuffled, so that each member is probed once per round (SWIM section 4.3).
        """
        for _ in range(2):  # the rest of this round and all of the next: it has another order
            size = len(self._probe_order)
            while self._probe_cursor < size:
                record = self._probe_order[self._probe_cursor]
                self._probe_cursor += 1
                if record is not own and not record.gone:
                    return record
            self._remove_where(reap)
            self._rng.shuffle(self._probe_order)
            self._probe_cursor = 0
        return None

    def choose(self, count: int, eligible: Callable[[Record], bool]) -> list[Record]:
        """`count` different eligible members drawn uniformly, all of them when there are fewer.

        Exact also in the smallest clusters, where drawing with rejection misses the only
        candidate (memberlist issue 350).
        """
        pool = self._pool
        chosen: list[Record] = []
        for index in range(len(pool)):
            if len(chosen) == count:
                break
            other = self._rng.randrange(index, len(pool))
            pool[index], pool[other] = pool[other], pool[index]
            if eligible(pool[index]):
                chosen.append(pool[index])
        return chosen

    def _remove_where(self, condemned: Callable[[Record], bool]) -> None:
        names = [record.info.name for record in self._by_name.values() if condemned(record)]
        if not names:
            return
        for name in names:
            self.alive -= self._by_name.pop(name).status is Status.ALIVE
        kept = self._by_name
        before = self._probe_order[: self._probe_cursor]
        self._probe_cursor -= sum(record.info.name not in kept for record in before)
        self._probe_order = [r for r in self._probe_order if r.info.name in kept]
        self._pool = [r for r in self._pool if r.info.name in kept]
