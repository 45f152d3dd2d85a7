r"""Snapshot: what a node has to remember across a restart, as the lines of a file.

The file is Serf's: text, appended to, the last word wins, rewritten when it has grown.

    alive: NAME HOST:PORT      not-alive: NAME      leave
    clock: N                   event-clock: N       query-clock: N

Serf skips comments, and in them stands what it has no lines for:

    #failed: NAME HOST:PORT    a member that failed and did not leave. Serf forgets those, and after an
                               outage of everybody the few that were alive at the end are all it tries.
    #reserved: N               event times up to this one may have been used, though none is written.
    #closed                    as a last line: nothing happened that is not written. Used again, the file
                               gets another one until it is rewritten.
    #crc32: HEX                checksum of all bytes since the one before. Where it does not match, the
                               lines between count for nothing: a broken disk makes no addresses up.

Lines behind the last checksum count as they are, because a genuine agent that goes on with our file
appends some; a last line without its end does not. Whatever the bytes are, replaying them gives a state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from zlib import crc32

from gossip.errors import ConfigError
from gossip.events import (
    MemberFailed,
    MemberJoined,
    MemberLeft,
    MemberReaped,
    MemberUpdated,
)
from gossip.serf.lamport import HIGHEST_TIME
from gossip.wire.address import is_usable, join_host_port, parse_ip
from gossip.wire.serf import UserEvent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gossip.events import Event, Member
    from gossip.serf.lamport import LamportClock
    from gossip.wire.address import Address

__all__ = ["OPENED", "Snapshot"]

OPENED = b"#opened\n"
"""Appended when a file is used again, so that its end no longer says that all is written."""
MIN_COMPACT_SIZE = 128 * 1024
"""A file below is not rewritten, bytes (Serf's value)."""
BYTES_PER_MEMBER = 128
"""A file twice this times the alive members is rewritten (Serf's value)."""
BLOCK_LINES = 16
"""Lines under one checksum when the file is rewritten: so many are lost to one broken byte."""
MAX_PENDING = 4096
"""Lines kept for a disk that does not follow; beyond, the file is rewritten from what holds then."""
MAX_ALIVE = 65536
"""Alive peers taken from a file; further ones are skipped."""
MAX_FAILED = 256
"""Failed peers kept, the newest: enough to find somebody after an outage."""
MAX_RESERVED = 4 * 256
"""A reservation further ahead of the event clock is not believed."""
CLOCK_GAP = 256
"""How far a clock goes on ahead of the time that was written last. Events are paced to 410 in half a
second, and what is written lags behind by less; a whole ring (512) would make other events too old."""


class Snapshot:
    """Peers and clocks of a node, and their changes as lines not yet written.

    Driven by the `Node` that owns it (`resume`, `record`, `leave`) and by whoever writes the file
    (`unsaved`, `take`, `image`). What an earlier run left is read with `replay`.

    Attributes:
        alive: addresses of the peers that are alive or were when they were last heard of, by name.
        failed: the same of those that failed and did not leave, oldest first.
        left: we said farewell; the peers count only for a node that rejoins after a leave.
        closed: the last run ended in order, and all of it was written.
        skipped: lines without a meaning that `replay` found, those of damaged blocks included.
    """

    def __init__(self) -> None:
        self.alive: dict[str, Address] = {}
        self.failed: dict[str, Address] = {}
        self.left = False
        self.closed = True
        self.skipped = 0
        self.clock = 0
        self.event_clock = 0
        self.query_clock = 0
        self._pending: list[bytes] = []
        self._overflowed = False
        self._written = (0, 0, 0)
        self._reserved = 0
        self._clocks: tuple[LamportClock, ...] = ()

    # Reading

    @classmethod
    def replay(cls, data: bytes, *, rejoin_after_leave: bool = False) -> Snapshot:
        """The state that a file describes, whatever its bytes are.

        Args:
            data: the file.
            rejoin_after_leave: keep peers and clocks from before a ``leave``.
        """
        snapshot = cls()
        snapshot.closed = not data
        block: list[bytes] = []
        checksum = 0
        for line in data.split(b"\n")[:-1]:  # what follows the last line break was torn off
            if line.startswith(_CRC) and len(line) == len(_CRC) + 8:
                if line[len(_CRC) :] == b"%08x" % checksum:
                    snapshot._replay_lines(block, keep=rejoin_after_leave)
                else:
                    snapshot.skipped += len(block)
                    snapshot.closed = False
                block, checksum = [], 0
            else:
                block.append(line)
                checksum = crc32(line + b"\n", checksum)
        snapshot._replay_lines(block, keep=rejoin_after_leave)
        return snapshot

    def _replay_lines(self, lines: Iterable[bytes], *, keep: bool) -> None:
        for line in lines:
            self.closed = line == _CLOSED
            if line == b"leave":
                if not keep:
                    self.alive.clear()
                    self.failed.clear()
                    self.clock = self.event_clock = self.query_clock = 0
                continue
            key, colon, value = line.partition(b": ")
            known = colon and self._replay_line(key, value)
            if not known and not line.startswith(b"#") and key != b"coordinate":
                self.skipped += 1

    def _replay_line(self, key: bytes, value: bytes) -> bool:
        """Apply one line; tells whether it had a meaning."""
        match key:
            case b"alive":
                return self._replay_peer(value, alive=True)
            case b"#failed":
                return self._replay_peer(value, alive=False)
            case b"not-alive":
                self._forget(value.decode("utf-8", "surrogateescape"))
                return True
            case b"clock" | b"event-clock" | b"query-clock":
                if not value.isdigit() or len(value) > 19 or int(value) > HIGHEST_TIME:
                    return False
                setattr(self, key.decode().replace("-", "_"), int(value))
                return True
            case b"#reserved" if value.isdigit() and len(value) <= 19:
                self._reserved = int(value)
                return True
        return False

    def _replay_peer(self, value: bytes, *, alive: bool) -> bool:
        name, _, text = value.decode("utf-8", "surrogateescape").rpartition(" ")
        address = _parse_address(text)
        if address is None or not _fits_a_line(name):
            return False
        if alive and len(self.alive) >= MAX_ALIVE and name not in self.alive:
            return False
        self._forget(name)
        if alive:
            self.alive[name] = address
        else:
            self._remember_failed(name, address)
        return True

    # What a node does with it

    def resume(
        self, member_clock: LamportClock, event_clock: LamportClock, query_clock: LamportClock
    ) -> int:
        """Set a new node's clocks to where the last run left them, and follow them from now on.

        Returns:
            How many were too far ahead to be true, and are not followed up.
        """
        gap = 0 if self.closed else CLOCK_GAP
        event_gap = gap
        if gap and self._reserved - self.event_clock <= MAX_RESERVED:
            event_gap = max(gap, self._reserved - self.event_clock)
        self.closed = False
        self._reserved = 0
        refused = 0
        if not member_clock.resume(self.clock, gap):
            self.clock, refused = 0, refused + 1
        if not event_clock.resume(self.event_clock, event_gap):
            self.event_clock, refused = 0, refused + 1
        if not query_clock.resume(self.query_clock, gap):
            self.query_clock, refused = 0, refused + 1
        self._clocks = (member_clock, event_clock, query_clock)
        return refused

    def settle(self) -> None:
        """The pool has been found again, and has told us its clocks."""
        for clock in self._clocks:
            clock.settle()

    def reserve(self) -> bool:
        """Take down that the next event leaps over what the last run may have used, if it does.

        Returns:
            True when that is to be written before the event is fired. If this run ended before it
            was, the next one would leap to the same time.
        """
        if not self._clocks or self._clocks[1].upcoming == self._clocks[1].time:
            return False
        upcoming = self._clocks[1].upcoming
        if upcoming <= self._reserved:
            return False
        self._reserved = upcoming + CLOCK_GAP - 1
        self._add(b"#reserved: %d" % self._reserved)
        return True

    def record(self, event: Event) -> bool:
        """Take down what happened; False when a member's name or address cannot be written."""
        self.closed = False
        match event:
            case UserEvent(ltime=ltime):
                self.event_clock = max(self.event_clock, ltime)
            case MemberJoined(member) | MemberUpdated(member):
                return self.left or self._record_alive(member)
            case MemberFailed(member):
                return self.left or self._record_failed(member)
            case MemberLeft(member) | MemberReaped(member):
                if not self.left and _fits_a_line(member.name):
                    self._record_gone(member.name)
        return True

    def leave(self) -> None:
        """We leave: no line about a member follows, only clocks.

        They are all written again behind it, because Serf takes a farewell to end them.
        """
        if not self.left:
            self.left = True
            self._add(b"leave")
            self._written = (0, 0, 0)

    def give_up(self, names: Iterable[str]) -> None:
        """Peers of an earlier run that are not to be found count as failed."""
        for name in names:
            if (address := self.alive.get(name)) is not None:
                self._add(b"not-alive: " + _encode(name))
                self._add_failed(name, address)

    def close(self) -> None:
        """The node has ended, and nothing happens any more: what is taken next says so."""
        self.closed = self.closed or bool(self._clocks)

    # Writing

    @property
    def unsaved(self) -> bool:
        """Whether there is something to write."""
        return bool(self._pending) or self._overflowed or self._times() != self._written

    def must_be_rewritten(self, size: int, image_size: int) -> bool:
        """Whether a whole new file should replace one of `size` bytes.

        Args:
            size: of the file.
            image_size: what it had when it was last rewritten; with long names that may be much.
        """
        least = max(MIN_COMPACT_SIZE, 2 * BYTES_PER_MEMBER * len(self.alive), 2 * image_size)
        return self._overflowed or size > least

    def take(self) -> bytes:
        """The lines to append, each given once; empty when there are none."""
        lines = [*self._pending, *self._clock_lines(self._written), *self._last_line()]
        self._saved()
        return b"".join(_block(lines)) if lines else b""

    def image(self) -> bytes:
        """A whole file that describes what holds now; nothing is left to append then.

        The clocks stand at both ends, so that no single broken block takes them.
        """
        clocks = self._clock_lines((0, 0, 0))
        lines = [*clocks]
        lines += (_peer_line(b"alive: ", *peer) for peer in self.alive.items())
        lines += (_peer_line(b"#failed: ", *peer) for peer in self.failed.items())
        if self.left:
            lines.append(b"leave")
        self._saved()
        blocks = [lines[at : at + BLOCK_LINES] for at in range(0, len(lines), BLOCK_LINES)]
        reserved = [b"#reserved: %d" % self._reserved] if self._reserved > self.event_clock else []
        blocks.append([*clocks, *reserved, *self._last_line()])
        return b"".join(part for block in blocks if block for part in _block(block))

    def _last_line(self) -> list[bytes]:
        return [_CLOSED] if self.closed else []

    def _saved(self) -> None:
        self._pending.clear()
        self._overflowed = False
        self._written = self._times()

    def _times(self) -> tuple[int, int, int]:
        """Member, event and query time to write: the last that was seen, not the next."""
        if self._clocks:
            member_clock, _, query_clock = self._clocks
            self.clock = max(self.clock, member_clock.time - 1)
            self.query_clock = max(self.query_clock, query_clock.time - 1)
        return self.clock, self.event_clock, self.query_clock

    def _clock_lines(self, written: tuple[int, int, int]) -> list[bytes]:
        keys = (b"clock: %d", b"event-clock: %d", b"query-clock: %d")
        times = zip(keys, self._times(), written, strict=True)
        return [key % time for key, time, before in times if time != before]

    # Lines

    def _record_alive(self, member: Member) -> bool:
        name, address = member.name, (member.addr, member.port)
        if not _is_writable(name, address):
            return False
        if self.alive.get(name) != address:
            self.failed.pop(name, None)
            self.alive[name] = address
            self._add(_peer_line(b"alive: ", name, address))
        return True

    def _record_failed(self, member: Member) -> bool:
        name, address = member.name, (member.addr, member.port)
        if not _is_writable(name, address):
            return False
        self._add(b"not-alive: " + _encode(name))
        self._add_failed(name, address)
        return True

    def _record_gone(self, name: str) -> None:
        if name in self.alive or name in self.failed:
            self._forget(name)
            self._add(b"not-alive: " + _encode(name))

    def _add_failed(self, name: str, address: Address) -> None:
        self._forget(name)
        self._remember_failed(name, address)
        self._add(_peer_line(b"#failed: ", name, address))

    def _remember_failed(self, name: str, address: Address) -> None:
        if len(self.failed) >= MAX_FAILED:
            del self.failed[next(iter(self.failed))]
        self.failed[name] = address

    def _forget(self, name: str) -> None:
        self.alive.pop(name, None)
        self.failed.pop(name, None)

    def _add(self, line: bytes) -> None:
        if len(self._pending) < MAX_PENDING:
            self._pending.append(line)
        else:
            self._overflowed = True


_CRC = b"#crc32: "
_CLOSED = b"#closed"


def _block(lines: list[bytes]) -> Iterator[bytes]:
    data = b"\n".join(lines) + b"\n"
    yield data
    yield b"%s%08x\n" % (_CRC, crc32(data))


def _peer_line(prefix: bytes, name: str, address: Address) -> bytes:
    return prefix + _encode(name) + b" " + join_host_port(*address).encode()


def _encode(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _fits_a_line(name: str) -> bool:
    """Whether a name cannot break its line and forge another one."""
    return bool(name) and not any(char < " " or char == "\x7f" for char in name)


def _is_writable(name: str, address: Address) -> bool:
    return _fits_a_line(name) and _parse_address(join_host_port(*address)) is not None


def _parse_address(text: str) -> Address | None:
    """An IP address and port that packets can be sent to; None for anything else."""
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit() and len(port) <= 5):
        return None
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    try:
        raw = parse_ip(host)
    except ConfigError:
        return None
    return (host, int(port)) if is_usable(raw, int(port)) else None
