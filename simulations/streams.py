r"""Streams of a simulated world: connections that arrive in pieces, break, and outlive cuts.

    dial --first segment--> accepted --segments both ways--> finished | reset | timed out
         \--nobody listens--> refused

As with TCP, a cut does not break a connection: segments are sent again until they pass or the
exchange's deadline ends it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gossip.swim.exchange import Exchange
    from simulations.host import Host
    from simulations.world import World

__all__ = ["Connection", "dial"]

FIRST_RETRY = 0.2
LAST_RETRY = 3.2
"""A cut segment is tried again after these times, doubled each time, seconds."""
EPSILON = 1e-6


class End:
    """One side of a connection: its exchange, and the order in which its bytes arrive there."""

    __slots__ = ("arrived_until", "closed", "exchange", "host")

    def __init__(self, host: Host, exchange: Exchange | None) -> None:
        self.host = host
        self.exchange = exchange
        self.arrived_until = 0.0
        self.closed = False


class Connection:
    """A connection between two hosts, from its first segment to its end."""

    def __init__(self, world: World, dialer: Host, exchange: Exchange, acceptor: Host) -> None:
        self._world = world
        self.near = End(dialer, exchange)
        self.far = End(acceptor, None)
        dialer.connections[self] = None
        world.opened(exchange)

    def start(self) -> None:
        """Send the first segment."""
        self._book_deadline(self.near)
        self._carry(self.near, self.far, self._arrive_syn)

    # Both ends

    def _carry(self, source: End, target: End, arrive: object, *args: object) -> None:
        """Have ``arrive(*args)`` happen at the target, behind everything sent there before."""
        self._try(source, target, arrive, args, FIRST_RETRY)

    def _try(
        self, source: End, target: End, arrive: object, args: tuple[object, ...], pause: float
    ) -> None:
        world = self._world
        if self.near.closed and self.far.closed:
            return
        # Both directions: without acknowledgements nothing moves either.
        passes = world.network.reaches(source.host, target.host)
        if not passes or not world.network.reaches(target.host, source.host):
            world.covered["segments_cut"] += 1
            target.arrived_until = max(target.arrived_until, world.now + pause)
            world.at(
                world.now + pause, self._try, source, target, arrive, args,
                min(2 * pause, LAST_RETRY),
            )  # fmt: skip
            return
        delay = world.network.segment_delay(source.host, target.host)
        at = max(world.now + delay, target.arrived_until + EPSILON)
        target.arrived_until = at
        world.at(at, self._reach, target, arrive, args)

    def _reach(self, target: End, arrive: object, args: tuple[object, ...]) -> None:
        """Something arrives at a machine: its process gets it as soon as it runs."""
        assert callable(arrive)  # noqa: S101 - one of the methods below
        if arrive == self._arrive_syn:
            arrive()  # connections are made by the kernel, whatever the process does
        elif target.host.running:
            self._world.give(target.host, arrive, *args)

    def _send_out(self, end: End) -> None:
        """Send what an exchange has to say, and close behind it once it is done."""
        exchange = end.exchange
        if exchange is None or end.closed:
            return
        other = self.far if end is self.near else self.near
        data = exchange.data_to_send()
        if data:
            self._world.stream_sent(end.host, data)
            for chunk in self._world.network.chunks(data):
                self._carry(end, other, self._arrive_data, other, chunk)
        if exchange.done:
            ending = self._arrive_eof if exchange.error is None else self._arrive_reset
            self._close(end)
            self._carry(end, other, ending, other)

    def _close(self, end: End) -> None:
        end.closed = True
        end.host.connections.pop(self, None)

    def _advanced(self, end: End) -> None:
        exchange = end.exchange
        while exchange is not None and exchange.busy:
            exchange.work(self._world.time_of(end.host))
        self._send_out(end)

    # What arrives

    def _arrive_syn(self) -> None:
        world, host = self._world, self.far.host
        if not host.running:
            self.far.closed = True
            if host.powered:
                self._carry(self.far, self.near, self._arrive_refusal)
            return
        host.connections[self] = None
        self._carry(self.far, self.near, self._arrive_connected)
        world.give(host, self._accept)

    def _accept(self) -> None:
        world, host = self._world, self.far.host
        exchange = host.node.accept(self.near.host.address, world.time_of(host))
        if exchange is None:
            world.covered["streams_over_limit"] += 1
            self._close(self.far)
            self._carry(self.far, self.near, self._arrive_reset, self.near)
            return
        self.far.exchange = exchange
        world.opened(exchange)
        self._book_deadline(self.far)

    def _arrive_refusal(self) -> None:
        exchange = self.near.exchange
        if not self.near.closed and self.near.host.running and exchange is not None:
            self._world.covered["streams_refused"] += 1
            exchange.refuse(self._world.time_of(self.near.host))
            self._close(self.near)

    def _arrive_connected(self) -> None:
        exchange = self.near.exchange
        if not self.near.closed and self.near.host.running and exchange is not None:
            exchange.connected(self._world.time_of(self.near.host))
            self._send_out(self.near)

    def _arrive_data(self, end: End, data: bytes) -> None:
        if end.closed or end.exchange is None or not end.host.running:
            return
        end.exchange.receive_data(data, self._world.time_of(end.host))
        self._advanced(end)

    def _arrive_eof(self, end: End) -> None:
        if end.closed or end.exchange is None or not end.host.running:
            return
        end.exchange.receive_eof(self._world.time_of(end.host))
        self._advanced(end)

    def _arrive_reset(self, end: End) -> None:
        if end.closed or end.exchange is None or not end.host.running:
            return
        self._world.covered["streams_reset"] += 1
        end.exchange.fail("connection reset by peer", self._world.time_of(end.host))
        self._close(end)

    def broken(self, host: Host) -> None:
        """The process at one end is gone; its machine, if it still runs, resets the connection."""
        end, other = (self.near, self.far) if host is self.near.host else (self.far, self.near)
        self._close(end)
        if host.powered:
            self._carry(end, other, self._arrive_reset, other)

    # Deadlines

    def _book_deadline(self, end: End) -> None:
        assert end.exchange is not None  # noqa: S101 - the end has just got it
        at = end.exchange.deadline - end.host.skew
        self._world.at(max(at, self._world.now), self._on_deadline, end)

    def _on_deadline(self, end: End) -> None:
        if end.host.running and not end.closed:
            self._world.give(end.host, self._expire, end)

    def _expire(self, end: End) -> None:
        exchange = end.exchange
        if end.closed or exchange is None or exchange.done:
            return
        now = self._world.time_of(end.host)
        if exchange.deadline > now:  # it was renewed, or the process was stopped meanwhile
            self._book_deadline(end)
            return
        self._world.covered["streams_timed_out"] += 1
        exchange.handle_timeout(now)
        self._send_out(end)


def dial(world: World, host: Host, exchange: Exchange) -> None:
    """Open the connection that a node asked for."""
    target = world.by_address.get(exchange.address)
    if target is not None:
        Connection(world, host, exchange, target).start()
        return
    delay = world.network.weather.latency
    world.at(world.now + delay, _no_such_address, world, host, exchange)


def _no_such_address(world: World, host: Host, exchange: Exchange) -> None:
    """A router answers that nobody lives there."""
    if host.running:
        world.give(host, lambda: exchange.refuse(world.time_of(host)))
