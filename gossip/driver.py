"""Driver: a node under asyncio. It moves bytes and time, and decides nothing.

    datagrams --> inbox --.
    streams --------------+--> Node --> datagrams, streams, publish
    timeouts -------------'

Whatever feeds the node is followed by a *turn*, which does what is due and puts out what there is. One
task receives datagrams and takes a turn for all that came together; each TCP exchange is a short task
of its own. Everything runs on one event loop and touches the node from nowhere else.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from gossip.datagrams import Datagrams, Inbox
from gossip.streams import Streams
from gossip.tasks import Tasks
from gossip.zones import Zones

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from gossip.machine import Machine
    from gossip.serf.node import Node
    from gossip.swim.exchange import Exchange
    from gossip.wire.address import Address

__all__ = ["Driver"]

logger = logging.getLogger(__name__)

BATCH = 64
"""Packets fed to the node before others get the loop."""
TIMER_SLACK = 0.001
"""Added to every wait, seconds: uvloop counts in milliseconds from when it last looked at the clock,
and who wakes early finds nothing due and has to wait again."""
PORT_ATTEMPTS = 16
"""How often a common free port for UDP and TCP is looked for when none is given."""


class Driver:
    """Drives one node, from `run` to `close`.

    Args:
        clock: the node's time, seconds.
        stats: counts what the network does.
        publish: called in every turn, to take the news that the node has put out.
    """

    def __init__(
        self, clock: Callable[[], float], stats: Counter[str], publish: Callable[[Node], None]
    ) -> None:
        self._clock = clock
        self._publish = publish
        zones = Zones()
        self._datagrams = Datagrams(stats, zones)
        self._inbox = Inbox(stats)
        self._streams = Streams(clock, self._accept, self.wake, zones)
        self._node: Node | None = None
        self._next_turn: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._tasks = Tasks(logger)
        self._closed = False

    async def bind(self, machine: Machine, ip: str, port: int) -> int:
        """Take one port number of a machine for both TCP and UDP, and return it; 0 lets it choose.

        Raises:
            OSError: it cannot be bound.
        """
        for attempt in range(PORT_ATTEMPTS):
            bound = await self._streams.listen(machine, ip, port)
            try:
                await self._datagrams.open(machine, ip, bound)
            except OSError:
                await self._streams.stop_listening()
                if port or attempt == PORT_ATTEMPTS - 1:
                    raise
            else:
                break
        return bound

    def run(self, node: Node) -> None:
        """Drive this node from now on."""
        self._node = node
        self._tasks.spawn(self._receive(node))
        self.wake()

    async def close(self) -> None:
        """Stop at once; every task has ended when this returns. Idempotent."""
        self._closed = True
        for handle in (self._next_turn, self._timer):
            if handle is not None:
                handle.cancel()
        self._datagrams.close()
        if self._node is not None:
            for exchange in self._node.take_dials():  # somebody may wait for what no turn dials now
                exchange.fail("the node is closing", self._clock())
        await self._streams.close()
        await self._tasks.cancel()

    def wake(self) -> None:
        """Have a turn soon, because something was fed, or is due.

        Not at once: several may feed, and packets that came meanwhile are fed before timers judge
        their senders.
        """
        if self._next_turn is None and self._node is not None and not self._closed:
            loop = asyncio.get_running_loop()
            self._next_turn = loop.call_soon(self._turn, self._node)

    def _accept(self, address: Address) -> Exchange | None:
        if self._node is None or self._closed:
            return None
        return self._node.accept(address, self._clock())

    async def _receive(self, node: Node) -> None:
        try:
            while packets := await self._datagrams.receive():
                for data, address in packets:
                    self._inbox.put(data, address)
                self._turn(node)
        finally:
            # Also when the loop ends without our being closed: asyncio-dgram's destructor would
            # use a loop that is gone.
            self._datagrams.close()

    def _turn(self, node: Node) -> None:
        """Feed packets to the node, do what is due, and put out what there is."""
        if self._next_turn is not None:
            self._next_turn.cancel()
            self._next_turn = None
        now = self._clock()
        try:
            for data, address in self._inbox.take(BATCH):
                node.receive_packet(data, address, now)
            node.handle_timeout(self._clock())
            if packets := node.take_packets():
                self._datagrams.send(packets)
            for exchange in node.take_dials():
                self._streams.dial(exchange)
            self._publish(node)
        except Exception:  # a bug; neither the task that receives nor the timers may end with it
            logger.critical("a turn of the gossip driver failed", exc_info=True)
        if self._inbox:
            self.wake()
        elif not self._closed:
            self._set_timer(node)

    def _set_timer(self, node: Node) -> None:
        due = node.next_timeout()
        assert due is not None  # noqa: S101 - a node always has something to do
        if self._timer is not None:
            if due == self._timer_due:
                return
            self._timer.cancel()
        delay = max(due - self._clock(), 0) + TIMER_SLACK
        self._timer = asyncio.get_running_loop().call_later(delay, self._on_timer)
        self._timer_due = due

    def _on_timer(self) -> None:
        self._timer = None
        self.wake()
