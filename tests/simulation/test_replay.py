"""R-50: every packet replayed again and again breaks nothing."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from gossip.events import MemberFailed, MemberStatus, UserEvent
from gossip.swim.members import Status
from gossip.wire.keyring import Keyring
from tests.helpers import Host, Pool

if TYPE_CHECKING:
    from gossip.swim.members import Record
    from gossip.wire.address import Address


class Watch:
    """Checks after every look that no view of a member goes back (S1, S3, S8)."""

    def __init__(self, hosts: list[Host]) -> None:
        self._hosts = hosts
        self._rows: dict[tuple[str, str], tuple[Record, Status, int]] = {}
        self._clocks: dict[str, tuple[int, int, int]] = {}

    def look(self) -> None:
        for host in self._hosts:
            rows = {record.info.name: record for record in host.node.membership.table}
            for name, record in rows.items():
                held, status, incarnation = self._rows.get((host.name, name), (None, 0, 0))
                if held is record:  # else it was reaped and has come anew
                    assert record.incarnation >= incarnation
                    if status >= Status.DEAD and record.status <= Status.SUSPECT:
                        assert record.incarnation > incarnation  # nobody is raised by old news
                self._rows[host.name, name] = (record, record.status, record.incarnation)
            for observer, name in list(self._rows):
                if observer == host.name and name not in rows:
                    del self._rows[observer, name]  # it was reaped
            node = host.node
            clocks = (node.member_clock.time, node.event_clock.time, node.query_clock.time)
            assert all(
                a >= b for a, b in zip(clocks, self._clocks.get(host.name, clocks), strict=True)
            )
            self._clocks[host.name] = clocks


def test_r50_old_packets_never_win_over_newer_news() -> None:
    pool = Pool(seed=1)
    ring = Keyring([b"0123456789abcdef"])
    hosts = pool.joined(6, keyring=ring)
    gone = hosts[5]
    sources: dict[str, Address] = {host.name: host.address for host in hosts}
    for host in hosts[:5]:  # something of everything is on the wire
        pool.fire(host, "deploy", host.name.encode())
    hosts[1].node.set_tags({"role": "db"}, pool.now)
    hosts[2].node.force_leave(hosts[3].name, pool.now)
    pool.pause(hosts[4], 10.0)
    pool.run(12)
    pool.leave(gone)
    pool.run(5)
    captured = [(target, data, sources[source]) for _, source, target, data in pool.packets]
    stayed = hosts[:5]
    pool.run_until(lambda: all(map(pool.sees_all_alive, stayed)), 40)
    incarnations = {host.name: host.node.membership.own.incarnation for host in stayed}
    watch, dice = Watch(stayed), random.Random(1)
    for host in stayed:
        host.events.clear()

    replayed = 0
    for _ in range(60):
        for target, data, source in dice.sample(captured, min(60, len(captured))):
            receiver = dice.choice(stayed) if dice.random() < 0.3 else pool[target]
            if receiver.running:
                pool.inject(receiver, data, source)
                replayed += 1
        pool.run(dice.random() * 2)
        watch.look()
    pool.run(30)
    watch.look()

    assert replayed > 2_000
    for host in stayed:
        assert host.told(MemberFailed) == []
        assert host.told(UserEvent) == []  # each was delivered before (S10)
        assert host.node.membership.own.incarnation == incarnations[host.name]
        assert host.statuses()[gone.name] is MemberStatus.LEFT
        assert all(host.statuses()[other.name] is MemberStatus.ALIVE for other in stayed)
        assert len(host.node.membership.dissemination) == 0
