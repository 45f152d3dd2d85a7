"""Large worlds, whose nodes share what they hold alike, and what that leaves unchanged."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossip.events import MemberFailed, MemberLeft, MemberReaped, UserEvent
from gossip.serf.members import SerfMember
from gossip.swim.members import MemberTable, NodeInfo, Record, Status
from simulations.scale import measure
from simulations.shared import Roster, SharedOrder, SharedRows, SharedWorld, _copied, _copied_member
from simulations.trace import Trace
from tests.rigs import VSN, info_of


def history(*, shortcut: bool) -> tuple[str, int]:
    """Half a minute of a settled pool in which somebody dies, leaves, returns and fires."""
    trace = Trace()
    world = SharedWorld(24, 7, shortcut=shortcut, trace=trace, push_pull_interval=3.0)
    world.network.in_pieces = False  # the pieces' dice are drawn per stream, with either
    world.run(2)
    hosts = list(world.hosts.values())
    world.fire(hosts[3], "one", b"x")
    world.kill(hosts[5])
    world.run(12)
    world.leave(hosts[7])
    world.set_tags(hosts[8], {"v": "2"})
    world.run(8)
    new = world.restart(hosts[5])
    world.join(new, hosts[0])
    world.add("newcomer")
    world.join(world.hosts["newcomer"], hosts[1])
    world.run(10)
    return trace.digest(), sum(
        world.hosts["node-00009"].node.members.counts[status]
        for status in world.hosts["node-00009"].node.members.counts
    )


def test_the_shortcut_through_push_pulls_does_not_change_history() -> None:
    assert history(shortcut=True) == history(shortcut=False)


def test_a_settled_pool_tells_what_happens_to_everybody() -> None:
    world = SharedWorld(60, 3)
    hosts = list(world.hosts.values())
    world.run(3)

    world.fire(hosts[0], "deploy", b"v2")
    world.kill(hosts[1])
    world.leave(hosts[2])
    world.run(25)

    for host in world.running():
        assert [event.payload for event in host.told(UserEvent)] == [b"v2"]
        assert [event.member.name for event in host.told(MemberFailed)] == ["node-00001"]
        assert [event.member.name for event in host.told(MemberLeft)] == ["node-00002"]


def test_who_is_gone_is_forgotten_by_a_settled_pool_too() -> None:
    world = SharedWorld(8, 3, tombstone_timeout=20.0, gossip_to_the_dead_time=5.0)
    hosts = list(world.hosts.values())
    world.leave(hosts[2])

    world.run(60)

    for host in world.running():
        assert [event.member.name for event in host.told(MemberReaped)] == ["node-00002"]
        assert host.node.membership.table.get("node-00002") is None
        assert len(host.node.membership.table) == len(host.node.members) == 7
        assert "node-00002" not in {record.info.name for record in host.node.membership.table}


def test_views_that_say_the_same_are_held_once() -> None:
    world = SharedWorld(300, 1)

    world.run(10)

    assert world.rows_held() < 0.5 * 2 * 300**2


def test_the_figures_of_a_scale_run() -> None:
    figures = measure(50, seconds=1.0)

    assert figures["nodes"] == 50
    assert figures["one event everywhere, virtual s"] < 2
    assert figures["one dead member failed everywhere, virtual s"] < 40
    assert figures["one leaving member left everywhere, virtual s"] < 3
    assert figures["bytes per view of a member"] >= 0


# The containers, beside those that they stand in for


def roster(size: int) -> Roster:
    return Roster([info_of(f"m{number}") for number in range(size)], 100.0)


@settings(deadline=None)
@given(st.data())
def test_shared_rows_are_a_mapping_of_rows(data: st.DataObject) -> None:
    shared = roster(5)
    rows: SharedRows[Record] = SharedRows(shared.index, shared.records, _copied)
    model: dict[str, tuple[int, Status]] = {f"m{n}": (1, Status.ALIVE) for n in range(5)}
    names = st.sampled_from([f"m{n}" for n in range(7)])
    for _ in range(data.draw(st.integers(0, 25))):
        name = data.draw(names)
        match data.draw(st.sampled_from(["get", "change", "delete", "add", "compact"])):
            case "get":
                assert (rows.get(name) is None) == (name not in model)
            case "change" if name in model:
                record = rows[name]
                record.incarnation += 1
                model[name] = record.incarnation, record.status
            case "delete" if name in model:
                del rows[name]
                del model[name]
            case "add" if name not in model:
                rows[name] = Record(info_of(name), 1.0)
                model[name] = 0, Status.DEAD
            case "compact":
                rows.compact()
        assert len(rows) == len(model)
        assert set(rows) == set(model)
        assert {r.info.name: (r.incarnation, r.status) for r in rows.values()} == model
        assert all((n in rows) == (n in model) for n in [f"m{n}" for n in range(7)])


def test_the_rosters_own_rows_are_never_changed() -> None:
    shared = roster(3)
    one: SharedRows[Record] = SharedRows(shared.index, shared.records, _copied)
    other: SharedRows[Record] = SharedRows(shared.index, shared.records, _copied)

    one["m1"].status = Status.DEAD

    assert other["m1"].status is Status.ALIVE
    assert shared.records[1].status is Status.ALIVE


def test_a_row_that_somebody_holds_stays_the_same_object() -> None:
    shared = roster(3)
    rows: SharedRows[Record] = SharedRows(shared.index, shared.records, _copied)
    held = rows["m1"]

    rows["m2"].incarnation += 1
    rows["m0"]
    rows.compact()

    assert rows["m1"] is held
    assert rows.own_rows() == 2


@settings(deadline=None)
@given(st.integers(1, 30), st.integers(0, 1000))
def test_a_shared_order_is_a_permutation_that_the_tables_choice_permutes(
    size: int, seed: int
) -> None:
    shared = roster(size)
    rows: SharedRows[Record] = SharedRows(shared.index, shared.records, _copied)
    rng = random.Random(seed)
    order = SharedOrder(rows, shared.infos, rng)
    everybody = {info.name for info in shared.infos}
    before = [record.info.name for record in order]
    table = MemberTable(rng)
    table._by_name = rows  # type: ignore[assignment]
    table._pool = order  # type: ignore[assignment]

    chosen = table.choose(size + 1, lambda record: record.info.name != "m0")
    rng.shuffle(order)

    assert set(before) == everybody
    assert sorted(r.info.name for r in chosen) == sorted(everybody - {"m0"})
    assert {record.info.name for record in order} == everybody
    last = order[-1].info.name
    assert order.pop().info.name == last
    order.append(Record(NodeInfo("new", bytes(4), 1, b"", VSN), 0.0))
    assert {record.info.name for record in order} == (everybody - {last}) | {"new"}


@pytest.mark.parametrize("kind", [Record, SerfMember])
def test_copies_have_every_field(kind: type[Any]) -> None:
    row = roster(1).records[0] if kind is Record else roster(1).members[0]
    copier: Any = _copied if kind is Record else _copied_member

    copy = copier(row)

    assert all(getattr(copy, field) is getattr(row, field) for field in kind.__slots__)
