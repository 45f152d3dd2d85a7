"""The member table and its orders compared with a dictionary of statuses."""

from __future__ import annotations

import random

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gossip.swim.dissemination import GossipRing
from gossip.swim.members import MemberTable, Record, Status
from tests.effort import MACHINES
from tests.rigs import info_of

NAMES = [f"m{number}" for number in range(9)]
names = st.sampled_from(NAMES)
WATCHED = {Status.ALIVE, Status.SUSPECT}


class TableMachine(RuleBasedStateMachine):
    """A table in which members come, change, are probed, chosen and forgotten."""

    @initialize(seed=st.integers(0, 2**16))
    def begin(self, seed: int) -> None:
        rng = random.Random(seed)
        self.table, self.ring = MemberTable(rng), GossipRing(rng)
        self.own = self.table.add(info_of("me"), 0.0)
        self.table.set_status(self.own, Status.ALIVE, 0.0)
        self.model: dict[str, Status] = {"me": Status.ALIVE}
        self.condemned: set[str] = set()
        self.unprobed: set[str] | None = None
        """Who is still to be probed in this round; None until one has begun."""

    def _record(self, name: str) -> Record:
        record = self.table.get(name)
        assert record is not None
        return record

    @rule(name=names)
    def add(self, name: str) -> None:
        if name not in self.model:
            record = self.table.add(info_of(name), 1.0)
            assert (record.status, record.incarnation) == (Status.DEAD, 0)
            self.model[name] = Status.DEAD

    @rule(name=names, status=st.sampled_from(list(Status)))
    def change(self, name: str, status: Status) -> None:
        if name in self.model:
            record = self._record(name)
            self.table.set_status(record, status, 2.0)
            self.model[name] = status
            if status is Status.ALIVE:
                self.ring.add(record)
            if self.unprobed is not None and status not in WATCHED:
                self.unprobed.discard(name)

    @rule(name=names)
    def condemn(self, name: str) -> None:
        """Who is gone for long may be forgotten at the end of a round."""
        if self.model.get(name) in {Status.DEAD, Status.LEFT}:
            self.condemned.add(name)

    @rule()
    def probe(self) -> None:
        watched = {name for name, status in self.model.items() if status in WATCHED} - {"me"}
        asked: list[str] = []

        def reap(record: Record) -> bool:
            asked.append(record.info.name)
            return record.info.name in self.condemned and record.gone

        record = self.table.next_to_probe(reap, self.own)
        if asked:  # a round has ended, so everybody who could be probed in it was
            assert not self.unprobed
            for name in self.condemned & set(asked):
                if self.model[name] not in WATCHED:
                    del self.model[name]
            self.condemned.clear()
            self.unprobed = set(watched)
        if record is None:
            assert not watched
            return
        assert record.info.name in watched
        if self.unprobed is not None:
            self.unprobed.discard(record.info.name)

    @rule(count=st.integers(0, 11), name=names)
    def choose(self, count: int, name: str) -> None:
        eligible = {n for n, status in self.model.items() if status is Status.ALIVE} - {name}

        chosen = [
            record.info.name
            for record in self.table.choose(count, lambda record: record.info.name in eligible)
        ]

        assert len(set(chosen)) == len(chosen) == min(count, len(eligible))
        assert set(chosen) <= eligible

    @rule()
    def gossip(self) -> None:
        targets = {
            name for name, status in self.model.items() if self._record(name).in_gossip_ring
            and status is Status.ALIVE
        }  # fmt: skip

        target = self.ring.next(lambda record: record.status is Status.ALIVE)

        assert (target.info.name in targets) if target is not None else not targets

    @invariant()
    def the_table_is_the_dictionary(self) -> None:
        if not hasattr(self, "table"):
            return
        assert {record.info.name: record.status for record in self.table} == self.model
        assert len(self.table) == len(self.model)
        assert self.table.alive == list(self.model.values()).count(Status.ALIVE)
        assert sorted(record.info.name for record in self.table._pool) == sorted(self.model)
        assert sorted(record.info.name for record in self.table._probe_order) == sorted(self.model)


TestTable = TableMachine.TestCase
TestTable.settings = MACHINES
