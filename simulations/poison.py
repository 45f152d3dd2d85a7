"""A poisoned member: it holds a valid key and sends messages that are well-formed and absurd."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossip.wire.messages import Ack, Alive, Dead, IndirectPing, Nack, Ping, Suspect, UserMessage
from gossip.wire.serf import JoinIntent, LeaveIntent, Query, QueryResponse, Relay, UserEvent

if TYPE_CHECKING:
    from random import Random

    from gossip.wire.messages import Message
    from gossip.wire.serf import SerfMessage
    from simulations.host import Host
    from simulations.world import World

__all__ = ["Poisoner"]

NUMBERS = (0, 1, 2, 3, 255, 2**16, 2**24, 2**31, 2**32 - 2, 2**32 - 1)
TIMES = (0, 1, 2, 100, 2**31, 2**32 - 1, 2**32, 2**40, 2**63 - 1, 2**63, 2**64 - 1)


class Poisoner:
    """Sends absurd messages in a member's name, from its address and under its keys.

    Args:
        world: where.
        host: the member; from now on it counts as poisoned.
        rng: what is sent and to whom.
        rate: messages per second.
        until: virtual time of the end.
    """

    def __init__(self, world: World, host: Host, rng: Random, rate: float, until: float) -> None:
        self._world = world
        self._host = host
        self._rng = rng
        self._rate = rate
        self._until = until

    def start(self) -> None:
        """Begin."""
        self._host.poisoned = True
        self._send()

    def _send(self) -> None:
        world, rng, host = self._world, self._rng, self._host
        if world.now >= self._until or not host.running:
            return
        targets = [h for h in world.running() if h.pool == host.pool and h is not host]
        if targets:
            target = rng.choice(targets)
            message = self._message().encode()
            for packet in host.node.membership.packet_codec.encode([message], crc=False):
                world.covered["poison_sent"] += 1
                world.inject(target, packet, host.address)
        world.at(world.now + rng.expovariate(self._rate), self._send)

    def _message(self) -> Message:
        rng = self._rng
        number = rng.choice(NUMBERS)
        name, other = self._name(), self._name()
        addr, port = self._place()
        makers = (
            lambda: Ping(number, name, addr, port, other),
            lambda: IndirectPing(number, addr, port, name, rng.random() < 0.5, addr, port, other),
            lambda: Ack(number, rng.randbytes(rng.randrange(20))),
            lambda: Nack(number),
            lambda: Suspect(number, name, other),
            lambda: Dead(number, name, other),
            lambda: Alive(number, name, addr, port, rng.randbytes(rng.randrange(600)), self._vsn()),
            lambda: UserMessage(self._serf().encode()),
        )
        return rng.choice(makers)()

    def _serf(self) -> SerfMessage:
        rng = self._rng
        ltime, name = rng.choice(TIMES), self._name()
        addr, port = self._place()
        makers = (
            lambda: LeaveIntent(ltime, name, prune=rng.random() < 0.3),
            lambda: JoinIntent(ltime, name),
            lambda: UserEvent(ltime, "x" * rng.randrange(40), rng.randbytes(20), coalesce=True),
            lambda: Query(
                ltime, rng.getrandbits(32), addr, port, name, [rng.randbytes(8)],
                rng.randrange(4), rng.randrange(256), 10**9, "_serf_conflict", name.encode(),
            ),
            lambda: QueryResponse(ltime, rng.getrandbits(32), name, 0, b""),
            lambda: Relay(addr, port, name, rng.randbytes(8)),
        )  # fmt: skip
        return rng.choice(makers)()

    def _name(self) -> str:
        rng = self._rng
        known = [h.name for h in self._world.hosts.values() if h.pool == self._host.pool]
        return rng.choice((*known, *known, "", "ghost-1", "ghost-2"))

    def _place(self) -> tuple[bytes, int]:
        rng = self._rng
        own = self._host.node.membership.own.info
        places = ((own.addr, own.port), (bytes(4), 0), (b"\x7f\0\0\1", 1), (b"", 7946),
                  (b"\xff" * 4, 65535), (rng.randbytes(16), 7946))  # fmt: skip
        return rng.choice(places)

    def _vsn(self) -> bytes:
        good = bytes((1, 5, 2, 2, 5, 5))
        return self._rng.choice((good, good, bytes(6), b"", bytes((5, 1, 2, 5, 2, 4)), b"\1" * 9))
