"""One simulated machine: a node, what it told its application, and how well the machine runs."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from simulations.chains import NOTHING

if TYPE_CHECKING:
    from collections.abc import Callable

    from gossip.events import Event, MemberStatus, QueryReceived
    from gossip.serf.node import Node
    from gossip.wire.address import Address
    from simulations.chains import Depths
    from simulations.disk import Disk
    from simulations.streams import Connection

__all__ = ["Host"]


class Host:
    """One machine.

    Attributes:
        node: the process on it; a restart is another host of the same name.
        life: which process of that name this is, from 1.
        pool: which pool it belongs to; nobody of another one may ever get in.
        running: the process runs.
        powered: the machine answers a connection attempt, if only to refuse it.
        paused_until: the process is stopped until then; its kernel keeps what arrives.
        slowness: seconds that it takes over every input.
        skew: its monotonic clock minus the world's.
        loss_in, loss_out, delay: faults of its own network card.
        disk: keeps its snapshot, if it has one.
        resumed: member, event and query time of the snapshot that it was started with.
        answers: what its application answers to queries.
    """

    def __init__(self, node: Node, address: Address, life: int = 1, pool: str = "") -> None:
        self.node = node
        self.address = address
        self.life = life
        self.pool = pool
        self.keep_events = True
        self.events: list[Event] = []
        self.notices: list[str] = []
        self.running = True
        self.powered = True
        self.poisoned = False
        self.paused_until = 0.0
        self.slowness = 0.0
        self.skew = 0.0
        self.loss_in = 0.0
        self.loss_out = 0.0
        self.delay = 0.0
        self.wake_at: float | None = None
        self.heard: tuple[float, Depths] = (0.0, NOTHING)
        """When it got its last packet, and how far what that says had come; in watched worlds."""
        self.busy_until = 0.0
        self.backlog: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self.serving = False
        self.answers: Callable[[QueryReceived], bytes | None] | None = None
        self.connections: dict[Connection, None] = {}
        self.disk: Disk | None = None
        self.resumed: tuple[int, int, int] | None = None

    def __repr__(self) -> str:
        return f"<Host {self.name}/{self.life}>"

    @property
    def name(self) -> str:
        """The name of its node."""
        return self.node.config.name

    def statuses(self) -> dict[str, MemberStatus]:
        """How it sees everybody."""
        return {member.info.name: member.status for member in self.node.members}

    def told(self, kind: type[Any]) -> list[Any]:
        """The events of one kind that its application was told."""
        return [event for event in self.events if isinstance(event, kind)]
