"""What holds for every member table, whatever news comes in whatever order (S1 to S4, S7, S17, L3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gossip.swim.members import Status
from gossip.wire.messages import Alive, Dead, PushPullNode, Suspect
from tests.rigs import PORT, VSN, SwimRig, address_of, answer, ip_of

if TYPE_CHECKING:
    from gossip.wire.messages import Message

NAMES = ["ann", "bob", "cat"]
names = st.sampled_from([*NAMES, "me"])
incarnations = st.integers(0, 5)


def alive_of(name: str, incarnation: int) -> Alive:
    """One meta per incarnation, as its owner would make it."""
    return Alive(incarnation, name, ip_of(name), PORT, b"meta-%d" % incarnation, VSN)


news: st.SearchStrategy[Message] = st.one_of(
    st.builds(alive_of, st.sampled_from(NAMES), incarnations),
    st.builds(Suspect, incarnations, names, st.sampled_from(NAMES)),
    st.builds(Dead, incarnations, names, st.sampled_from(NAMES)),
    st.builds(lambda name, i: Dead(i, name, name), st.sampled_from(NAMES), incarnations),
)
rows = st.builds(
    lambda name, state, i: PushPullNode(
        name, ip_of(name), PORT, b"meta-%d" % i, i, state, VSN
    ),
    st.sampled_from(NAMES),
    st.sampled_from(list(Status)),
    incarnations,
)  # fmt: skip
steps = st.lists(st.one_of(news, st.lists(rows, max_size=4), st.floats(0.1, 8.0)), max_size=25)

Row = tuple[Status, int]


def table_of(rig: SwimRig) -> dict[str, Row]:
    return {record.info.name: (record.status, record.incarnation) for record in rig.m.table}


def do(rig: SwimRig, step: Any) -> None:
    """News arrives, a push/pull, or time passes."""
    if isinstance(step, float):
        rig.advance(step)
    elif isinstance(step, list):
        answer(
            rig.m.state_exchange.dial(address_of("ann"), rig.now, join=False),
            rig.stream_codec,
            step,
            rig.now,
        )
        rig.dials()
    else:
        rig.hear(step)


@given(steps=steps)
@settings(max_examples=120, deadline=None)
def test_s1_s3_s4_views_only_move_forward(steps: list[Any]) -> None:
    rig = SwimRig(gossip_to_the_dead_time=1000.0)  # nobody is reaped
    before = table_of(rig)
    for step in steps:
        do(rig, step)
        after = table_of(rig)
        assert set(after) >= set(before)
        for name, (status, incarnation) in before.items():
            now_status, now_incarnation = after[name]
            assert now_incarnation >= incarnation  # S1
            if status >= Status.DEAD and now_status < Status.DEAD:
                assert now_incarnation > incarnation  # S3
            if now_incarnation == incarnation and now_status != status:
                assert now_status > status  # S4: alive, suspect, and then dead or left
                assert status < Status.DEAD
        before = after


@given(steps=steps)
@settings(max_examples=120, deadline=None)
def test_s2_nobody_else_raises_an_incarnation(steps: list[Any]) -> None:
    rig = SwimRig(gossip_to_the_dead_time=1000.0)
    heard = dict.fromkeys([*NAMES, "me"], 0)
    for step in steps:
        for item in step if isinstance(step, list) else [step]:
            name = getattr(item, "node", getattr(item, "name", None))
            if name is not None:
                heard[name] = max(heard[name], item.incarnation)
        do(rig, step)
        for name, (_, incarnation) in table_of(rig).items():
            if name == "me":  # our own is one more than the highest accusation, at most
                assert incarnation <= max(heard[name] + 1, 1) + len(steps)
            else:
                assert incarnation <= heard[name]


@given(steps=steps)
@settings(max_examples=120, deadline=None)
def test_s5_s6_we_are_alive_and_a_meta_belongs_to_its_incarnation(steps: list[Any]) -> None:
    rig = SwimRig(gossip_to_the_dead_time=1000.0)
    for step in steps:
        do(rig, step)
        assert rig.m.own.status is Status.ALIVE
        for record in rig.m.table:
            if record.status is Status.ALIVE and record is not rig.m.own:
                assert record.info.meta == b"meta-%d" % record.incarnation


@given(steps=steps)
@settings(max_examples=120, deadline=None)
def test_s17_the_events_told_add_up_to_the_table(steps: list[Any]) -> None:
    rig = SwimRig(gossip_to_the_dead_time=2.0)
    there: set[str] = set()
    for step in steps:
        do(rig, step)
        for kind, name in rig.delegate.calls:
            if kind == "join":
                assert name not in there
                there.add(name)
            elif kind == "update":
                assert name in there
            else:
                there.remove(name)
        rig.delegate.calls.clear()
        assert there == {r.info.name for r in rig.m.table if not r.gone}
        assert rig.m.table.alive == sum(r.status is Status.ALIVE for r in rig.m.table)
        suspects = {r.info.name for r in rig.m.table if r.status is Status.SUSPECT}
        assert set(rig.m._suspicions._held) == suspects


@given(first=steps, second=steps)
@settings(max_examples=80, deadline=None)
def test_l3_two_views_agree_after_they_exchanged_states(
    first: list[Any], second: list[Any]
) -> None:
    left, right = SwimRig(gossip_to_the_dead_time=1000.0), SwimRig(gossip_to_the_dead_time=1000.0)
    for rig, story in ((left, first), (right, second)):
        for step in story:
            do(rig, step)

    for _ in range(2):  # a suspicion that one takes over may still be news to the other
        for rig, other in ((left, right), (right, left)):
            nodes = [
                n for n in other.m.state_exchange.own_state(join=False).nodes if n.name != "me"
            ]
            answer(
                rig.m.state_exchange.dial(address_of("ann"), rig.now, join=False),
                rig.stream_codec,
                nodes,
                rig.now,
            )

    here, there = table_of(left), table_of(right)
    for name in NAMES:
        states = {view[name][0] for view in (here, there) if name in view}
        held = [view[name] for view in (here, there) if name in view]
        if Status.ALIVE in states:
            assert len(held) == 2  # the alive are learned
        if len(held) == 2 and held[0] != held[1]:
            # Only a death is not taken over, as nobody's word about it is: it is suspected instead,
            # and a departure at an incarnation that the other has left behind.
            assert {status for status, _ in held} & {Status.DEAD, Status.LEFT}
            assert Status.ALIVE not in states
