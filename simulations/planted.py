# ruff: noqa: ARG001, ARG005 - what is planted has the signature of what it replaces
"""Planted bugs: the mistakes of the field, made again on purpose, to see that the checkers see them.

Each replaces a piece of the core for as long as a test runs; the core knows nothing of it. A checker that
overlooks its bug proves nothing when it is silent about the real core.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from gossip.events import MemberLeft, MemberStatus
from gossip.serf.delegate import SerfDelegate
from gossip.serf.intents import Intents
from gossip.serf.lamport import LamportClock
from gossip.serf.leave import Departure
from gossip.serf.members import MemberRegistry
from gossip.serf.node import Node
from gossip.serf.ring import EventRing, Verdict
from gossip.serf.snapshot import Snapshot
from gossip.swim import membership as membership_module
from gossip.swim.broadcast import TransmitQueue
from gossip.swim.dissemination import Dissemination
from gossip.swim.members import NodeInfo, Status, supersedes
from gossip.swim.membership import Membership
from gossip.swim.probe import Prober
from gossip.swim.push_pull import StateExchange
from gossip.wire.messages import Ping
from gossip.wire.packet import LayerSettings
from simulations.campaign import run_plan
from simulations.checkers import CHECKERS
from simulations.faults import Faults
from simulations.plan import Plan, Step
from simulations.watch import Watch
from simulations.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gossip.serf.members import SerfMember
    from gossip.swim.members import Record
    from gossip.wire.messages import Alive, Dead, Suspect

__all__ = ["PLANTED", "Planted", "hunt"]

MAX_SEEDS = 200


@dataclass(frozen=True)
class Planted:
    """One bug, and where it has to show.

    Attributes:
        name: what is wrong.
        caught_by: invariants, one of which has to break.
        plant: replaces pieces of the core until the stack is closed.
        plan: faults under which it shows.
        run: runs another experiment than the plan, and gives the violations.
    """

    name: str
    caught_by: tuple[str, ...]
    plant: Callable[[ExitStack], None]
    plan: Plan
    run: Callable[[int], list[str]] | None = None


def hunt(bug: Planted, *, seeds: int = MAX_SEEDS) -> tuple[int, str]:
    """Look for a bug with one seed after another.

    Returns:
        How many seeds it took and the violation; (0, "") when none of them shows it.
    """
    for seed in range(1, seeds + 1):
        with planted(bug):
            if bug.run is not None:
                violations = bug.run(seed)
            else:
                violations = run_plan(bug.plan, seed).violations
        for violation in violations:
            if violation.split()[0] in bug.caught_by:
                return seed, violation
    return 0, ""


@contextmanager
def planted(bug: Planted) -> Iterator[None]:
    """The bug is there inside."""
    with ExitStack() as stack:
        bug.plant(stack)
        yield


def _replacing(owner: object, **attributes: object) -> Callable[[ExitStack], None]:
    """A plant that replaces attributes of one class or module."""

    def plant(stack: ExitStack) -> None:
        for name, value in attributes.items():
            stack.enter_context(patch.object(owner, name, value))

    return plant


def _nothing(*_args: Any, **_options: Any) -> None:
    """In place of something that should happen."""


# Experiments

_TROUBLE = Plan(
    nodes=5,
    seconds=60,
    steps=(
        Step(at=8, do="fire", nodes="random:2", payload="one", count=2),
        Step(at=10, do="partition", nodes="random:2", seconds=20),
        Step(at=12, do="loss", rate=0.3, seconds=20),
        Step(at=36, do="tags", nodes="random:1", tags={"v": "2"}),
        Step(at=40, do="kill", nodes="random:1"),
        Step(at=44, do="restart", nodes="dead:1"),
        Step(at=50, do="fire", nodes="random:1", payload="two"),
    ),
)
_CALM = Plan(nodes=4, seconds=10)
_KEPT = {"gossip_to_the_dead_time": 3600.0}
"""Records of the dead are kept: forgetting them would hide that nobody can return."""
_SLANDERED = Plan(
    nodes=5, seconds=40,
    steps=(
        Step(at=8, do="leave", nodes="last:1"),
        Step(at=12, do="poison", nodes="first:1", seconds=28),
    ),
)  # fmt: skip
_SLOWLY = Plan(
    nodes=3, seconds=30, settings={"eager": False, "max_queue_depth": 4},
    steps=(
        Step(at=10, do="force_leave", nodes="last:1", to="first:1"),
    ),
)  # fmt: skip
_PARTED = Plan(
    nodes=5, seconds=60, settings=_KEPT,
    steps=(
        Step(at=10, do="partition", nodes="first:2", to="last:3", seconds=25),
        Step(at=12, do="leave", nodes="last:1"),
    ),
)  # fmt: skip
_LEAVES = Plan(nodes=5, seconds=30, steps=(Step(at=10, do="leave", nodes="random:2"),))
_EVENTS = Plan(
    nodes=5, seconds=40,
    steps=tuple(
        Step(at=8 + at, do="fire", nodes="random:2", payload=f"{at}", count=2) for at in range(20)
    ),
)  # fmt: skip
_CRASHES = Plan(
    nodes=4, seconds=60,
    steps=(
        Step(at=10, do="fire", nodes="all", payload="x", count=3),
        Step(at=15, do="restart", nodes="last:1", with_memory=True),
        Step(at=30, do="restart", nodes="last:1", with_memory=True),
    ),
)  # fmt: skip
_STRANGERS = Plan(
    nodes=3, seconds=20, encrypted=True,
    steps=tuple(Step(at=10 + at, do="plaintext", nodes="all", count=5) for at in range(5)),
)  # fmt: skip
_OPEN_STRANGERS = Plan(
    nodes=3, seconds=20,
    steps=tuple(Step(at=10 + at, do="plaintext", nodes="all", count=5) for at in range(5)),
)  # fmt: skip
_POISONED = Plan(
    nodes=4, seconds=40,
    steps=(Step(at=10, do="poison", nodes="random:1", seconds=30),),
)  # fmt: skip
_RESTART = Plan(
    nodes=4, seconds=60, settings=_KEPT,
    steps=(
        Step(at=10, do="kill", nodes="last:1"),
        Step(at=40, do="restart", nodes="dead:1"),
    ),
)  # fmt: skip
_REAPED = Plan(
    nodes=4, seconds=60,
    settings={"reconnect_timeout": 20.0, "tombstone_timeout": 20.0},
    steps=(Step(at=10, do="leave", nodes="last:1"),),
)  # fmt: skip
_FLOOD = Plan(
    nodes=3, seconds=30, settings={"max_queue_depth": 32},
    steps=(Step(at=10, do="fire", nodes="first:1", payload="x", count=200),),
)  # fmt: skip


def _two_pools(seed: int) -> list[str]:
    """Two pools with labels of their own, whose members try to join each other."""
    watch = Watch(CHECKERS)
    world = World(seed, watch=watch)
    for pool in ("red", "blue"):
        plan = Plan(nodes=1, seconds=30, settings={"label": pool})
        faults = Faults(world, plan, Random(seed), pool=pool)
        for number in range(3):
            faults.stay_joined(faults.start_node(f"{pool}-{number}"))
    world.run(10)
    world.join(world.hosts["red-0"], world.hosts["blue-1"])
    world.run(20)
    return [str(found) for found in watch.violations]


# Wrong pieces


def _believing(
    wrong: Callable[[Status, int, Status, int], bool],
) -> Callable[[ExitStack], None]:
    """What replaces what is decided by the right rule, or by this one."""

    def rule(news: Status, incarnation: int, held: Status, held_incarnation: int) -> bool:
        return supersedes(news, incarnation, held, held_incarnation) or wrong(
            news, incarnation, held, held_incarnation
        )

    return _replacing(membership_module, supersedes=rule)


_handle_suspect = Membership.handle_suspect
_handle_dead = Membership.handle_dead
_handle_alive = Membership.handle_alive
_handle_ping = Prober.handle_ping
_witness = LamportClock.witness
_set = MemberRegistry._set  # noqa: SLF001 - the pieces to be replaced are mostly private
_offer = EventRing.offer


def _suspect_raises(self: Membership, suspect: Suspect, source: Any, now: float) -> None:
    _handle_suspect(self, suspect, source, now)
    record = self.table.get(suspect.node)
    if record is not None and record is not self.own and record.status is Status.SUSPECT:
        record.incarnation += 1


def _dead_is_left(self: Membership, dead: Dead, source: Any, now: float) -> None:
    dead.sender = dead.node
    _handle_dead(self, dead, source, now)


def _left_is_dead(self: Membership, dead: Dead, source: Any, now: float) -> None:
    if dead.node != self.own.info.name and dead.sender == dead.node:
        dead.sender = self.own.info.name
    _handle_dead(self, dead, source, now)


def _dies_when_told(self: Membership, incarnation: int, now: float) -> None:
    self.table.set_status(self.own, Status.DEAD, now)


def _same_incarnation(self: Membership, meta: bytes, now: float) -> None:
    info = self.own.info
    self.own.info = NodeInfo(info.name, info.addr, info.port, meta, info.vsn)
    self._tell_alive(self.own, None, now)


def _second_row(self: Membership, alive: Alive, source: Any, now: float) -> None:
    known = self.table.get(alive.node)
    _handle_alive(self, alive, source, now)
    if known is not None and known is not self.own and alive.incarnation > known.incarnation - 1:
        record = self.table.add(known.info, now)
        self.table._by_name[f"{alive.node} "] = record  # noqa: SLF001 - there is no other way
        self.table._by_name[alive.node] = known  # noqa: SLF001


def _left_fails(self: MemberRegistry, record: Record, now: float) -> None:
    member = self.get(record.info.name)
    if member is not None:
        self._set(member, MemberStatus.LEFT)
        self._emit(MemberLeft(self.view(member)), now)
        self._set(member, MemberStatus.FAILED)


def _silent_gone(self: MemberRegistry, record: Record, now: float) -> None:
    member = self.get(record.info.name)
    if member is not None:
        member.gone_at = now
        left = record.status is Status.LEFT
        self._set(member, MemberStatus.LEFT if left else MemberStatus.FAILED)


def _same_version(self: MemberRegistry, member: SerfMember, status: MemberStatus) -> None:
    _set(self, member, status)
    self.version -= 1


def _sets_back(self: LamportClock, seen: int) -> bool:
    believed = _witness(self, seen)
    if believed:
        self.time = seen + 1
    return believed


def _believes_any(self: LamportClock, seen: int) -> bool:
    self.time = max(self.time, seen + 1)
    return True


def _stands_still(self: LamportClock) -> int:
    return self.time


def _always_new(self: EventRing, event: Any, clock: int) -> Verdict:
    verdict = _offer(self, event, clock)
    return Verdict.NEW if verdict is Verdict.DUPLICATE else verdict


def _ping_back(self: Prober, ping: Ping, source: Any, now: float) -> None:
    _handle_ping(self, ping, source, now)
    own = self._membership.own.info
    answer = Ping(ping.seq_no, ping.source_node, own.addr, own.port, own.name)
    self._membership.send_packet([answer.encode()], source)


def _crashes(self: Prober, nack: Any) -> None:
    raise KeyError(nack.seq_no)


def _intent_storm(stack: ExitStack) -> None:
    apply = Intents.apply

    def always_news(self: Intents, intent: Any, now: float) -> bool:
        apply(self, intent, now)
        return True

    _replacing(Intents, apply=always_news)(stack)
    _replacing(Dissemination, heard=lambda *_arguments: False)(stack)


def _no_farewells(stack: ExitStack) -> None:
    _replacing(Membership, handle_dead=_left_is_dead)(stack)
    apply_leave = MemberRegistry.apply_leave

    def only_if_failed(self: MemberRegistry, member: SerfMember, intent: Any, now: float) -> None:
        if member.status is MemberStatus.FAILED:
            apply_leave(self, member, intent, now)

    _replacing(MemberRegistry, apply_leave=only_if_failed)(stack)


def _forgets_only_failed(self: MemberRegistry, now: float) -> None:
    for member in self.with_status(MemberStatus.FAILED):
        self.erase(member, now)


def _no_gossip_of_events(stack: ExitStack) -> None:
    _replacing(EventRing, snapshot=lambda _self: [])(stack)
    broadcast = Node.broadcast

    def silent(self: Node, queue: Any, *args: Any, **options: Any) -> None:
        if queue is not self.membership.dissemination.events:
            broadcast(self, queue, *args, **options)

    _replacing(Node, broadcast=silent)(stack)


def _plain_is_fine(stack: ExitStack) -> None:
    init = LayerSettings.__init__

    def open_to_all(self: LayerSettings, **options: Any) -> None:
        init(self, **(options | {"verify_incoming": False}))

    _replacing(LayerSettings, __init__=open_to_all)(stack)


def _no_failed_leave(self: MemberRegistry, member: SerfMember, intent: Any, now: float) -> None:
    member.status_ltime = intent.ltime


PLANTED: tuple[Planted, ...] = (
    Planted(
        "old claims bring the dead back (R-18)", ("S3",),
        _believing(lambda n, i, h, k: n is Status.ALIVE and i == k and h is not Status.ALIVE),
        _TROUBLE,
    ),
    Planted(
        "older claims replace newer ones (R-13)", ("S1", "S3"),
        _believing(lambda n, i, h, k: n is Status.ALIVE and i < k), _TROUBLE,
    ),
    Planted(
        "an accuser raises the incarnation (S2)", ("S2",),
        _replacing(Membership, handle_suspect=_suspect_raises), _TROUBLE,
    ),
    Planted(
        "the dead become suspects", ("S4",),
        _believing(lambda n, i, h, k: n is Status.SUSPECT and i >= k and h is Status.DEAD),
        _TROUBLE,
    ),
    Planted(
        "who left is declared dead (R-12)", ("S4",),
        _believing(lambda n, i, h, k: n is Status.DEAD and i >= k and h is Status.LEFT), _SLANDERED,
    ),
    Planted(
        "the dead count as left", ("S4",),
        _replacing(Membership, handle_dead=_dead_is_left), _TROUBLE,
    ),
    Planted(
        "left is one with dead (R-12)", ("L5", "S18"), _no_farewells, _CALM,
    ),
    Planted(
        "left turns into failed (S18)", ("S4", "S18"),
        _replacing(MemberRegistry, gone=_left_fails), _LEAVES,
    ),
    Planted(
        "new tags at an old incarnation (R-25)", ("S5",),
        _replacing(Membership, update_meta=_same_incarnation), _TROUBLE,
    ),
    Planted(
        "a node believes in its own death", ("S6",),
        _replacing(Membership, _refute=_dies_when_told), _TROUBLE,
    ),
    Planted(
        "a name has two rows (R-14)", ("S7",),
        _replacing(Membership, handle_alive=_second_row), _TROUBLE,
    ),
    Planted(
        "a snapshot's clocks are not resumed (R-37)", ("S8",),
        _replacing(Snapshot, resume=lambda _self, *_clocks: 0), _CRASHES,
    ),
    Planted(
        "a clock follows whatever it hears", ("S8",),
        _replacing(LamportClock, witness=_sets_back), _EVENTS,
    ),
    Planted(
        "any Lamport time is believed (R-43)", ("S9",),
        _replacing(LamportClock, witness=_believes_any), _POISONED,
    ),
    Planted(
        "duplicates are delivered (S10)", ("S10",),
        _replacing(EventRing, offer=_always_new), _EVENTS,
    ),
    Planted(
        "two events of a node at one time (S11)", ("S11", "S10"),
        _replacing(LamportClock, increment=_stands_still), _EVENTS,
    ),
    Planted(
        "labels are not looked at (R-24)", ("S12",),
        _replacing(LayerSettings, check_label=_nothing), _CALM, _two_pools,
    ),
    Planted(
        "queues are not pruned (R-54)", ("S13",),
        _replacing(TransmitQueue, prune=lambda _self, _most, _now: 0), _FLOOD,
    ),
    Planted(
        "a ping is answered by a ping (R-56)", ("S14",),
        _replacing(Prober, handle_ping=_ping_back), _CALM,
    ),
    Planted(
        "strangers get long answers (S14)", ("S14",),
        _replacing(SerfDelegate, ack_payload=lambda _self: bytes(900)), _OPEN_STRANGERS,
    ),
    Planted(
        "nothing is encrypted (S15)", ("S15",),
        _replacing(LayerSettings, encrypts=property(lambda _self: False)), _STRANGERS,
    ),
    Planted(
        "plain text is believed (R-49)", ("S15",), _plain_is_fine, _STRANGERS,
    ),
    Planted(
        "changes do not show in the version (S16)", ("S16",),
        _replacing(MemberRegistry, _set=_same_version), _TROUBLE,
    ),
    Planted(
        "who is gone is not announced (S17)", ("S17",),
        _replacing(MemberRegistry, gone=_silent_gone), _TROUBLE,
    ),
    Planted(
        "an unexpected nack raises (R-28)", ("S20",),
        _replacing(Prober, handle_nack=_crashes), _TROUBLE,
    ),
    Planted(
        "suspects are never declared dead", ("L1",),
        _replacing(Membership, _declare_dead=_nothing), _CALM,
    ),
    Planted(
        "accusations are not refuted", ("L8", "L2"),
        _replacing(Membership, _refute=_nothing), _PARTED,
    ),
    Planted(
        "states are not merged (R-16)", ("L8", "L3"),
        _replacing(StateExchange, merge=_nothing), _CALM,
    ),
    Planted("events do not spread (L4)", ("L4",), _no_gossip_of_events, _CALM),
    Planted(
        "a leave does not end (R-22)", ("L5",),
        _replacing(Departure, _say_farewell=_nothing), _CALM,
    ),
    Planted(
        "who left is kept for ever (R-23)", ("L6",),
        _replacing(MemberRegistry, reap=_forgets_only_failed), _REAPED,
    ),
    Planted(
        "intents are passed on for ever (R-20)", ("S14", "L7"),
        _intent_storm, _SLOWLY,
    ),
    Planted(
        "a restarted node does not take the lead", ("L8",),
        _replacing(Membership, _hear_about_ourselves=_nothing, _refute=_nothing), _RESTART,
    ),
    Planted(
        "force-leave of the dead does nothing (R-19)", ("L9",),
        _replacing(MemberRegistry, apply_leave=_no_failed_leave), _CALM,
    ),
)  # fmt: skip
"""Every planted bug."""
