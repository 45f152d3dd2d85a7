"""The disk of a simulated machine: the snapshot file of its node, and what can go wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossip.serf.snapshot import Snapshot
from gossip.snapshot_file import FLUSH_INTERVAL, RETRY_INTERVAL

if TYPE_CHECKING:
    from random import Random

    from simulations.world import World

__all__ = ["Disk", "damaged"]


class Disk:
    """Keeps a snapshot's file as `gossip.snapshot_file` does; it outlives the process.

    Attributes:
        data: the file.
        full: nothing can be written.
        sound: no byte of it was ever damaged, and no write failed.
    """

    def __init__(self) -> None:
        self.data = b""
        self.full = False
        self.sound = True
        self._snapshot: Snapshot | None = None
        self._whole = True
        self._image_size = 0
        self._booked = False

    def open(self) -> Snapshot:
        """What an earlier process left, for a new one."""
        self._snapshot = Snapshot.replay(self.data)
        self._whole = True
        self._booked = False
        return self._snapshot

    def look(self, world: World) -> None:
        """Have what is new written soon."""
        snapshot = self._snapshot
        if snapshot is not None and not self._booked and (self._whole or snapshot.unsaved):
            self._booked = True
            world.at(world.now + FLUSH_INTERVAL, self._write, world, snapshot)

    def close(self, *, clean: bool, rng: Random) -> None:
        """The process ends: in order, or so that the last write may be torn."""
        snapshot, self._snapshot = self._snapshot, None
        if snapshot is None or self.full:
            return
        if clean:
            snapshot.close()
            self.data = snapshot.image()
        elif snapshot.unsaved and not self._whole:
            lines = snapshot.take()
            self.data += lines[: rng.randrange(len(lines) + 1)]

    def damage(self, rng: Random) -> None:
        """Break some bytes, or lose the end."""
        self.sound = False
        self.data = damaged(self.data, rng)

    def _write(self, world: World, snapshot: Snapshot) -> None:
        if snapshot is not self._snapshot:
            return  # the process has ended
        self._booked = False
        if self.full:
            self.sound = False
            self._whole = True
            world.covered["disk_writes_failed"] += 1
            self._booked = True
            world.at(world.now + RETRY_INTERVAL, self._write, world, snapshot)
            return
        if self._whole or snapshot.must_be_rewritten(len(self.data), self._image_size):
            self._whole = False
            self.data = snapshot.image()
            self._image_size = len(self.data)
        else:
            self.data += snapshot.take()
        self.look(world)


def damaged(data: bytes, rng: Random) -> bytes:
    """A file of which some bytes are broken, or the end is lost."""
    if not data:
        return data
    if rng.random() < 0.5:
        return data[: rng.randrange(len(data))]
    broken = bytearray(data)
    for _ in range(1 + rng.randrange(4)):
        broken[rng.randrange(len(broken))] = rng.randrange(256)
    return bytes(broken)
