"""One TCP conversation as a machine: push/pull, fallback ping, user message.

    dialer:    connecting --connected--> sent --answer--> done
    acceptor:  reading --push/pull, ping--> answered, done
                       --user message----> done

The driver opens what `Membership.take_dials` gives it, moves bytes, and calls `handle_timeout` when
`deadline` has passed. Whatever goes wrong ends in `done` with a text in `error`; nothing is raised.
A compressed state is unpacked in slices: while `busy`, the driver calls `work` again when it has let
others run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossip.errors import GossipError, WireError
from gossip.wire.messages import Ack, ErrorReply, Message, Ping, PushPull, UserMessage
from gossip.wire.stream import StreamReader

if TYPE_CHECKING:
    from collections.abc import Callable

    from gossip.swim.membership import Membership
    from gossip.wire.address import Address

__all__ = ["Exchange", "InboundExchange", "PingExchange", "PushPullExchange"]


class Exchange:
    """A conversation with one peer over one connection.

    Attributes:
        address: the peer.
        done: nothing more will be read; the driver sends what is left and closes.
        error: why it failed, or None.
        refused: the peer's machine answered that nobody listens there.
    """

    dialer = True

    def __init__(self, membership: Membership, address: Address, deadline: float) -> None:
        self.address = address
        self.done = False
        self.error: str | None = None
        self.refused = False
        self._membership = membership
        self._reader = StreamReader(membership.stream_codec, dialer=self.dialer)
        self._deadline = deadline
        self._out = bytearray()
        self._on_done: list[Callable[[Exchange, float], None]] = []

    @property
    def deadline(self) -> float:
        """When `handle_timeout` is due, in the driver's time."""
        return self._membership.driver_time(self._deadline)

    @property
    def busy(self) -> bool:
        """Whether `work` can make progress without further bytes."""
        return not self.done and self._reader.busy

    def on_done(self, callback: Callable[[Exchange, float], None]) -> None:
        """Have ``callback(exchange, now)`` called once when this exchange is done."""
        self._on_done.append(callback)

    def connected(self, now: float) -> None:
        """The connection is open."""
        self._renew(self._membership.enter(now))

    def receive_data(self, data: bytes, now: float) -> None:
        """Bytes came."""
        if not self.done:
            self._reader.feed(data)
            self._advance(self._membership.enter(now))

    def work(self, now: float) -> None:
        """Go on with what has been received."""
        if not self.done:
            self._advance(self._membership.enter(now))

    def receive_eof(self, now: float) -> None:
        """The peer will send nothing more."""
        while self.busy:
            self.work(now)
        self.fail("the peer closed the connection", now)

    def handle_timeout(self, now: float) -> None:
        """The deadline has passed."""
        self.fail("timed out", now)

    def fail(self, error: str, now: float) -> None:
        """End with an error, unless done; the driver calls it when a connection breaks."""
        self._fail(error, self._membership.enter(now))

    def refuse(self, now: float) -> None:
        """The connection was refused: the machine is there, and nobody listens."""
        self.refused = True
        self.fail("connection refused", now)

    def data_to_send(self) -> bytes:
        """Bytes for the peer, each given once."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def _advance(self, now: float) -> None:
        try:
            message = self._reader.read()
            if message is not None:
                self._handle(message, now)
        except WireError as error:
            self._membership.stats[f"streams_refused_{error.layer}"] += 1
            if not self.dialer and (reply := self._reader.error_reply(error)) is not None:
                self._out += reply
            self._fail(str(error), now)
        except GossipError as error:
            self._fail(str(error), now)

    def _handle(self, message: Message, now: float) -> None:
        raise NotImplementedError

    def _send(self, message: bytes) -> None:
        self._out += self._membership.stream_codec.encode(message, dialer=self.dialer)

    def _renew(self, now: float) -> None:
        self._deadline = now + self._membership.config.tcp_timeout

    def _fail(self, error: str, now: float) -> None:
        if not self.done:
            self.error = error
            self._finish(now)

    def _finish(self, now: float) -> None:
        self.done = True
        for callback in self._on_done:
            callback(self, now)


class PushPullExchange(Exchange):
    """Our state for theirs: periodic anti-entropy, or a join."""

    def __init__(
        self,
        membership: Membership,
        address: Address,
        deadline: float,
        *,
        join: bool,
        ignore_old: bool,
    ) -> None:
        super().__init__(membership, address, deadline)
        self.join = join
        self.ignore_old = ignore_old

    def connected(self, now: float) -> None:
        """Send our whole state."""
        super().connected(now)
        self._send(self._membership.state_exchange.own_state(join=self.join).encode())

    def _handle(self, message: Message, now: float) -> None:
        match message:
            case PushPull():
                self._membership.state_exchange.merge(
                    message, now, join=self.join, ignore_old=self.ignore_old, dialed=True
                )
                self._finish(now)
            case ErrorReply(error):
                self._fail(f"the peer refused: {error}", now)
            case _:
                self._fail(f"unexpected answer of type {type(message).__name__}", now)


class PingExchange(Exchange):
    """The fallback ping over TCP of a probe whose direct ping was not answered."""

    def __init__(
        self, membership: Membership, address: Address, deadline: float, ping: bytes, seq_no: int
    ) -> None:
        super().__init__(membership, address, deadline)
        self.answered = False
        self._ping = ping
        self._seq_no = seq_no

    def connected(self, now: float) -> None:
        """Send the ping; its deadline is the probe's and stays."""
        self._membership.enter(now)
        self._send(self._ping)

    def _handle(self, message: Message, now: float) -> None:
        match message:
            case Ack() if message.seq_no == self._seq_no:
                self.answered = True
                self._finish(now)
            case ErrorReply(error):
                self._fail(f"the peer refused: {error}", now)
            case _:
                self._fail("the answer is no ack of our ping", now)


class InboundExchange(Exchange):
    """A conversation that a peer began."""

    dialer = False

    def _handle(self, message: Message, now: float) -> None:
        membership = self._membership
        match message:
            case PushPull():
                # Answer before merging, with all we know: the peer needs our state to refute
                # what is wrong about itself even when we refuse its own.
                exchange = membership.state_exchange
                self._send(exchange.own_state(join=message.join).encode())
                exchange.merge(message, now, join=message.join, ignore_old=False, dialed=False)
            case Ping():
                if message.node and message.node != membership.config.name:
                    self._fail(f"ping for {message.node!r}", now)
                    return
                self._send(Ack(message.seq_no).encode())
            case UserMessage():
                membership.delegate.notify_message(message.payload, None, now)
            case ErrorReply(error):
                self._fail(f"the peer reports: {error}", now)
                return
            case _:
                self._fail(f"unexpected message of type {type(message).__name__}", now)
                return
        self._finish(now)
