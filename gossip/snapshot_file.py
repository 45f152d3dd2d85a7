"""Snapshot file: what a node has to remember, written behind the event loop's back.

    Snapshot --lines, at most every FLUSH_INTERVAL--> append -----------.--> file
        `------whole, when grown, lost or damaged---> PATH.compact --rename--^

At most one piece of work is with the thread that writes. While the disk takes its time the changes wait
in the snapshot, which is bounded and forgets single lines for a whole new file in the end. After an
error nothing is appended, because half a line may be there: the file is written anew from what holds
then, again and again until that works.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
from typing import TYPE_CHECKING

from gossip.errors import ConfigError
from gossip.files import sync_folder
from gossip.machine import Machine
from gossip.serf.snapshot import OPENED, Snapshot

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable
    from pathlib import Path
    from typing import Self

    from gossip.worker import Worker

__all__ = ["SnapshotFile", "SnapshotWriter"]

logger = logging.getLogger(__name__)

FLUSH_INTERVAL = 0.1
"""Seconds between writes. Serf takes 0.5; what was not written yet may be delivered again after a crash."""
RETRY_INTERVAL = 1.0
"""Seconds from an error to the next attempt."""
RESERVE_TIMEOUT = 0.25
"""Seconds that the first event after a crash waits for the disk."""
CLOSE_TIMEOUT = 3.0
"""Seconds that closing waits for the disk."""
MAX_SIZE = 64 * 1024 * 1024
"""Of a larger file only the end is read, bytes; rewriting keeps it far smaller."""
_OPEN = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_APPEND
_SHORT_OF_LOCKS = 8
"""How often a file is opened anew that its owner replaces meanwhile."""


class SnapshotFile:
    """The file itself, locked for as long as it is open. Every method may take as long as the disk does.

    Args:
        path: where it is; its folder is made when missing, with mode 0700.

    Raises:
        ConfigError: from `open`, when it cannot be used or another node uses it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1
        self.size = 0
        self.image_size = 0
        """What it had when it was last rewritten, bytes."""

    def open(self) -> bytes:
        """Open and lock it; returns what it holds, nothing when it is new."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            for _ in range(_SHORT_OF_LOCKS):
                self._file = os.open(self._path, _OPEN, 0o600)
                self._lock(self._file)
                if self._is_in_place():
                    break
                os.close(self._file)
            self.size = os.fstat(self._file).st_size
            return self._read()
        except OSError as error:
            self.close()
            raise ConfigError(
                f"cannot use snapshot {self._path}: {error.strerror or error}"
            ) from error

    def append(self, data: bytes, *, sync: bool) -> None:
        """Write at the end; with `sync` it is on the disk when this returns.

        Raises:
            OSError: it failed, and a part may have been written.
        """
        _write(self._file, data)
        self.size += len(data)
        if sync:
            os.fsync(self._file)

    def rewrite(self, data: bytes) -> None:
        """Replace the whole file; whatever happens meanwhile, either the old or the new one is there.

        Raises:
            OSError: it failed, and the old one is still there.
        """
        new_path = self._path.with_name(f"{self._path.name}.compact")
        file = os.open(new_path, _OPEN | os.O_TRUNC, 0o600)
        try:
            os.fchmod(file, 0o600)  # one that was left there may have had another mode
            self._lock(file)  # before it is in place, so that nobody can come in between
            _write(file, data)
            os.fsync(file)
            new_path.replace(self._path)
        except OSError:
            os.close(file)
            with contextlib.suppress(OSError):
                new_path.unlink()
            raise
        if self._file >= 0:
            os.close(self._file)
        self._file = file
        self.size = self.image_size = len(data)
        sync_folder(self._path.parent)

    def close(self) -> None:
        """Close and unlock it; safe to call again."""
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def _lock(self, file: int) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OSError(0, "another node uses it") from None
        except OSError:  # a file system without locks
            logger.debug("%s cannot be locked", self._path)

    def _is_in_place(self) -> bool:
        """Whether what we have locked is still what others would open."""
        try:
            return os.path.samestat(os.fstat(self._file), self._path.stat())
        except FileNotFoundError:
            return False

    def _read(self) -> bytes:
        at = max(0, self.size - MAX_SIZE)
        parts = []
        while data := os.pread(self._file, 1 << 20, at):
            parts.append(data)
            at += len(data)
        return b"".join(parts)


class SnapshotWriter:
    """Keeps a `SnapshotFile` up to date with a `Snapshot`, on the running loop.

    Made by `open`. Call `look` after whatever may have changed the snapshot, and `close` in the end.

    Args:
        file: open; this object closes it.
        snapshot: what to write; touched on the loop only.
        stats: counts ``snapshot_writes``, ``snapshot_rewrites`` and ``snapshot_errors``.
        worker: does what the disk may take its time for; this object ends it.
    """

    def __init__(
        self, file: SnapshotFile, snapshot: Snapshot, stats: Counter[str], worker: Worker
    ) -> None:
        self._file = file
        self.snapshot = snapshot
        self._stats = stats
        self._loop = asyncio.get_running_loop()
        self._worker = worker
        self._busy = False
        self._idle = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._next_write = 0.0
        # At first too: what is there may end in half a line, and lack what it should not lose.
        self._whole = True
        self._sync = False
        self._failed = False
        self._closing = False

    @classmethod
    async def open(
        cls,
        path: Path,
        stats: Counter[str],
        *,
        rejoin_after_leave: bool,
        machine: Machine | None = None,
    ) -> Self:
        """Read what an earlier run left, and go on with its file, on this machine or another.

        Raises:
            ConfigError: the file cannot be used, or another node uses it.
        """
        file = SnapshotFile(path)

        def read() -> Snapshot:
            snapshot = Snapshot.replay(file.open(), rejoin_after_leave=rejoin_after_leave)
            if snapshot.closed:
                with contextlib.suppress(OSError):  # the first rewriting will report it
                    file.append(OPENED, sync=False)
            return snapshot

        reading = asyncio.ensure_future(asyncio.to_thread(read))
        try:
            snapshot = await asyncio.shield(reading)
        except asyncio.CancelledError:
            reading.add_done_callback(lambda _: file.close())
            raise
        return cls(file, snapshot, stats, (machine or Machine()).worker("snapshot"))

    def look(self) -> None:
        """Have what is new written soon."""
        if self._busy or self._closing or self._timer is not None:
            return
        if not (self._whole or self.snapshot.unsaved):
            return
        delay = self._next_write - self._loop.time()
        if delay > 0 and not self._sync:
            self._timer = self._loop.call_later(delay, self._due)
        else:
            self._write()

    def sync(self) -> None:
        """Have everything on the disk as soon as possible."""
        self._sync = True
        self._cancel_timer()
        self.look()

    async def reserve(self) -> None:
        """Before an event is fired: see to it that no run ever uses its time again."""
        if not self.snapshot.reserve() or self._failed or self._closing:
            return
        with contextlib.suppress(TimeoutError):  # a slow disk costs certainty, and no event
            async with asyncio.timeout(RESERVE_TIMEOUT):
                await self._until_idle()
                if not self._closing:
                    self._cancel_timer()
                    self._write()
                    await self._until_idle()

    async def close(self) -> None:
        """Write what is left and close the file. A disk that hangs is given up after a while."""
        if self._closing:
            return
        self._closing = True
        self._cancel_timer()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._until_idle()
                self.snapshot.close()
                self._sync = True
                self._write()
                await self._until_idle()
                self._submit(self._file.close)
                await self._until_idle()
        except TimeoutError:
            logger.warning("the disk of the snapshot does not answer, its end may be lost")
        finally:  # also when we are cancelled, or the thread is late
            self._worker.end(self._file.close)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _due(self) -> None:
        self._timer = None
        self.look()

    def _write(self) -> None:
        """Hand the next piece of work to the thread, which is idle."""
        snapshot, file = self.snapshot, self._file
        sync, self._sync = self._sync, False
        if self._whole or snapshot.must_be_rewritten(file.size, file.image_size):
            self._whole = False
            data = snapshot.image()
            self._stats["snapshot_rewrites"] += 1
            self._submit(lambda: file.rewrite(data))
        else:
            data = snapshot.take()
            self._stats["snapshot_writes"] += 1
            self._submit(lambda: file.append(data, sync=sync))

    def _submit(self, work: Callable[[], None]) -> None:
        self._busy = True
        self._idle.clear()
        self._worker.submit(work, self._done)

    async def _until_idle(self) -> None:
        while self._busy:
            await self._idle.wait()

    def _done(self, error: OSError | None) -> None:
        """The thread finished its work."""
        self._busy = False
        self._idle.set()
        self._next_write = self._loop.time() + (RETRY_INTERVAL if error else FLUSH_INTERVAL)
        if error is not None:
            self._whole = True
            self._sync = False
            self._stats["snapshot_errors"] += 1
            if not self._failed:
                logger.error("the snapshot cannot be written, trying again: %s", error)
        elif self._failed:
            logger.info("the snapshot is written again")
        self._failed = error is not None
        self.look()


def _write(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
