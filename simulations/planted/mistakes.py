# ruff: noqa: ARG001, D103 - a mistake has the signature of what it replaces, and `bugs` says what it is
"""Mistakes: wrong pieces that planted bugs put in place of right ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from gossip.events import MemberFailed, MemberLeft, MemberStatus
from gossip.serf.intents import Intents
from gossip.serf.lamport import LamportClock
from gossip.serf.members import MemberRegistry
from gossip.serf.node import Node
from gossip.serf.ring import EventRing, Verdict
from gossip.swim import membership as membership_module
from gossip.swim.dissemination import Dissemination
from gossip.swim.members import NodeInfo, Status, supersedes
from gossip.swim.membership import Membership
from gossip.swim.probe import Prober
from gossip.wire.messages import Ping
from gossip.wire.packet import LayerSettings

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack

    from gossip.serf.members import SerfMember
    from gossip.swim.members import Record
    from gossip.swim.suspicion import Suspicions
    from gossip.wire.messages import Alive, Dead, Suspect


def replacing(owner: object, **attributes: object) -> Callable[[ExitStack], None]:
    """A plant that replaces attributes of one class or module."""

    def plant(stack: ExitStack) -> None:
        for name, value in attributes.items():
            stack.enter_context(patch.object(owner, name, value))

    return plant


def nothing(*_args: Any, **_options: Any) -> None:
    """In place of something that should happen."""


def believing(
    wrong: Callable[[Status, int, Status, int], bool],
) -> Callable[[ExitStack], None]:
    """What replaces what is decided by the right rule, or by this one."""

    def rule(news: Status, incarnation: int, held: Status, held_incarnation: int) -> bool:
        return supersedes(news, incarnation, held, held_incarnation) or wrong(
            news, incarnation, held, held_incarnation
        )

    return replacing(membership_module, supersedes=rule)


_handle_suspect = Membership.handle_suspect
_handle_dead = Membership.handle_dead
_handle_alive = Membership.handle_alive
_handle_ping = Prober.handle_ping
_witness = LamportClock.witness
_set = MemberRegistry._set  # noqa: SLF001 - the pieces to be replaced are mostly private
_offer = EventRing.offer


def news_of_the_living_ignored(
    news: Status, incarnation: int, held: Status, held_incarnation: int
) -> bool:
    if news is Status.ALIVE and held is Status.ALIVE:
        return False
    return supersedes(news, incarnation, held, held_incarnation)


def goes_on_in_silence(self: Suspicions, name: str) -> None:
    self._held.pop(name, None)


def suspect_raises(self: Membership, suspect: Suspect, source: Any, now: float) -> None:
    _handle_suspect(self, suspect, source, now)
    record = self.table.get(suspect.node)
    if record is not None and record is not self.own and record.status is Status.SUSPECT:
        record.incarnation += 1


def dead_is_left(self: Membership, dead: Dead, source: Any, now: float) -> None:
    dead.sender = dead.node
    _handle_dead(self, dead, source, now)


def left_is_dead(self: Membership, dead: Dead, source: Any, now: float) -> None:
    if dead.node != self.own.info.name and dead.sender == dead.node:
        dead.sender = self.own.info.name
    _handle_dead(self, dead, source, now)


def dies_when_told(self: Membership, incarnation: int, now: float) -> None:
    self.table.set_status(self.own, Status.DEAD, now)


def same_incarnation(self: Membership, meta: bytes, now: float) -> None:
    info = self.own.info
    self.own.info = NodeInfo(info.name, info.addr, info.port, meta, info.vsn)
    self._tell_alive(self.own, None, now)


def second_row(self: Membership, alive: Alive, source: Any, now: float) -> None:
    known = self.table.get(alive.node)
    _handle_alive(self, alive, source, now)
    if known is not None and known is not self.own and alive.incarnation > known.incarnation - 1:
        record = self.table.add(known.info, now)
        self.table._by_name[f"{alive.node} "] = record  # noqa: SLF001 - there is no other way
        self.table._by_name[alive.node] = known  # noqa: SLF001


def left_fails(self: MemberRegistry, record: Record, now: float) -> None:
    member = self.get(record.info.name)
    if member is not None:
        self._set(member, MemberStatus.LEFT)
        self._emit(MemberLeft(self.view(member)), now)
        self._set(member, MemberStatus.FAILED)


def left_is_announced_failed(self: MemberRegistry, record: Record, now: float) -> None:
    member = self.get(record.info.name)
    if member is not None:
        self._set(member, MemberStatus.LEFT)
        self._emit(MemberLeft(self.view(member)), now)
        self._emit(MemberFailed(self.view(member)), now)


def silent_gone(self: MemberRegistry, record: Record, now: float) -> None:
    member = self.get(record.info.name)
    if member is not None:
        member.gone_at = now
        left = record.status is Status.LEFT
        self._set(member, MemberStatus.LEFT if left else MemberStatus.FAILED)


def same_version(self: MemberRegistry, member: SerfMember, status: MemberStatus) -> None:
    _set(self, member, status)
    self.version -= 1


def sets_back(self: LamportClock, seen: int) -> bool:
    believed = _witness(self, seen)
    if believed:
        self.time = seen + 1
    return believed


def believes_any(self: LamportClock, seen: int) -> bool:
    self.time = max(self.time, seen + 1)
    return True


def stands_still(self: LamportClock) -> int:
    return self.time


def always_new(self: EventRing, event: Any, clock: int) -> Verdict:
    verdict = _offer(self, event, clock)
    return Verdict.NEW if verdict is Verdict.DUPLICATE else verdict


def ping_back(self: Prober, ping: Ping, source: Any, now: float) -> None:
    _handle_ping(self, ping, source, now)
    own = self._membership.own.info
    answer = Ping(ping.seq_no, ping.source_node, own.addr, own.port, own.name)
    self._membership.send_packet([answer.encode()], source)


def crashes(self: Prober, nack: Any) -> None:
    raise KeyError(nack.seq_no)


def intent_storm(stack: ExitStack) -> None:
    apply = Intents.apply

    def always_news(self: Intents, intent: Any, now: float) -> bool:
        apply(self, intent, now)
        return True

    replacing(Intents, apply=always_news)(stack)
    replacing(Dissemination, heard=lambda *_arguments: False)(stack)


def no_farewells(stack: ExitStack) -> None:
    replacing(Membership, handle_dead=left_is_dead)(stack)
    apply_leave = MemberRegistry.apply_leave

    def only_if_failed(self: MemberRegistry, member: SerfMember, intent: Any, now: float) -> None:
        if member.status is MemberStatus.FAILED:
            apply_leave(self, member, intent, now)

    replacing(MemberRegistry, apply_leave=only_if_failed)(stack)


def forgets_only_failed(self: MemberRegistry, now: float) -> None:
    for member in self.with_status(MemberStatus.FAILED):
        self.erase(member, now)


def no_gossip_of_events(stack: ExitStack) -> None:
    replacing(EventRing, snapshot=lambda _self: [])(stack)
    broadcast = Node.broadcast

    def silent(self: Node, queue: Any, *args: Any, **options: Any) -> None:
        if queue is not self.membership.dissemination.events:
            broadcast(self, queue, *args, **options)

    replacing(Node, broadcast=silent)(stack)


def plain_is_fine(stack: ExitStack) -> None:
    init = LayerSettings.__init__

    def open_to_all(self: LayerSettings, **options: Any) -> None:
        init(self, **(options | {"verify_incoming": False}))

    replacing(LayerSettings, __init__=open_to_all)(stack)


def no_failed_leave(self: MemberRegistry, member: SerfMember, intent: Any, now: float) -> None:
    member.status_ltime = intent.ltime
