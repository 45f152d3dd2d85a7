"""Pool: one gossip pool that the agent is in, the LAN or the WAN pool.

It owns a `Cluster` and knows how to find the others, who may come in, and what an operator asks about
members. What the two pools do differently is given to it, or done by `agent.wan.WanPool`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from agent.coordinates import node_coordinates
from agent.logs import Value
from agent.merge import NodeIds
from agent.seeds import Seeds
from gossip.aio import Cluster
from gossip.errors import GossipError, JoinError
from gossip.events import Gap, MemberStatus
from gossip.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence
    from pathlib import Path

    from agent.coordinates import NodeCoordinate
    from agent.seeds import SeedSettings
    from gossip.config import Config
    from gossip.events import Member, MemberEvent

__all__ = ["Pool"]


class Pool:
    """One pool. Everything runs on the loop that called `start`.

    Args:
        name: ``lan`` or ``wan``; its lines in the log come from ``agent.NAME``.
        config: its settings.
        rule: tells why a member may not be in it, or None.
        node_id: ours, where node IDs have to be unique; empty where they are not looked at.
        snapshot: file that remembers its members and clocks; None remembers nothing.
        keyring_file: file that keeps its keys and wins over the configured one; None keeps them in
            memory.
        seeds: where to look for the pool.
        give_up: called when that was in vain, see `SeedSettings.retry_max`.
    """

    def __init__(
        self,
        name: str,
        config: Config,
        *,
        rule: Callable[[Member], str | None],
        node_id: str = "",
        snapshot: Path | None = None,
        keyring_file: Path | None = None,
        seeds: SeedSettings,
        give_up: Callable[[], None],
    ) -> None:
        self.name = name
        self.log = logging.getLogger(f"agent.{name}")
        self._rule = rule
        self.cluster = Cluster(
            config, admit=self._admit, snapshot=snapshot, keyring_file=keyring_file
        )
        self._ids = NodeIds(config.name, node_id, self.cluster.member) if node_id else None
        self._give_up = give_up
        self.seeds = Seeds(self.cluster, seeds, log=self.log)
        # Indexes go on growing across a restart, or a client would wait with one from before it.
        self._index_base = int(time.time() * 1000)
        self._joining: asyncio.Task[None] | None = None
        self._searching = False
        self._tasks = Tasks(self.log)

    # Life

    async def start(self) -> None:
        """Become a pool of one.

        Raises:
            OSError: the gossip address cannot be bound.
            ConfigError: an address, a tag, the snapshot or the keyring file is not usable.
        """
        await self.cluster.start()

    async def join_configured(self) -> None:
        """Join the seeds: those of `start_join` now, those of `retry_join` until one answers.

        From then on all of these are seeds: they are tried again when the pool is lost.

        Raises:
            JoinError: none of the addresses of `start_join` answers.
        """
        if addresses := self.seeds.settings.start_join:
            count = await self.cluster.join(addresses)
            self.log.info("joined at start nodes=%d", count)
        if self.seeds.addresses:
            self._look(self._find_and_stay())

    def follow(self, settings: SeedSettings, reconnect_timeout: float) -> None:
        """Look for other seeds from now on, and forget failed members after another time.

        New addresses are joined at once; when none of them answers that is a line in the log. Only
        while the search at start goes on does it begin again, and may still end in giving up.

        Args:
            settings: the seeds.
            reconnect_timeout: seconds.
        """
        old, self.seeds.settings = self.seeds.settings, settings
        if reconnect_timeout != self.cluster.config.reconnect_timeout:
            self.cluster.set_reconnect_timeout(reconnect_timeout)
        if settings == old:
            return
        tried = old.addresses
        if self._searching:
            self._look(self._find_and_stay())
            tried += settings.retry_join
        elif self._joining is None and settings.addresses:
            self._look(self.seeds.stay_joined())
        if new := [address for address in settings.addresses if address not in tried]:
            self._tasks.spawn(self._join_new(new))

    async def leave(self) -> None:
        """Leave gracefully; the sockets stay open until `stop`."""
        self.log.info("leaving the pool")
        if self._joining is not None:
            self._joining.cancel()
        await self.cluster.leave()

    async def stop(self) -> None:
        """End everything at once; without `leave` before, the others see a failure. Idempotent."""
        await self._tasks.cancel()
        await self.cluster.close()

    def _look(self, work: Coroutine[object, object, None]) -> None:
        """Look for the pool in another way than before."""
        if self._joining is not None:
            self._joining.cancel()
        self._joining = self._tasks.spawn(work)

    async def _find_and_stay(self) -> None:
        """Find the pool through `retry_join`, and find it again whenever it is lost."""
        self._searching = True
        if await self.seeds.join():
            self._searching = False  # and not when cancelled, as another search has begun then
            await self.seeds.stay_joined()
        else:
            self._give_up()

    async def _join_new(self, addresses: Sequence[str]) -> None:
        try:
            count = await self.cluster.join(addresses)
        except JoinError as error:
            self.log.warning("new addresses do not answer error=%s", Value(error))
        else:
            self.log.info("joined through new addresses nodes=%d", count)

    # Members

    def _admit(self, members: Sequence[Member]) -> str | None:
        for member in members:
            if problem := self._rule(member):
                return problem
        return None if self._ids is None else self._ids.admit(members)

    @property
    def members_index(self) -> int:
        """Grows with every change of the members, across restarts too."""
        return self._index_base + self.cluster.members_version

    async def members_changed(self, *, index: int = 0, wait: float = 0.0) -> int:
        """The index of the members, once it exceeds `index`.

        Index 0 never waits. Otherwise it waits `wait` seconds at most and gives the index unchanged.
        """
        cluster = self.cluster
        await self._outlast(index, wait, lambda: cluster.members_version, cluster.members_changed)
        return self.members_index

    async def coordinates(
        self, *, index: int = 0, wait: float = 0.0
    ) -> tuple[list[NodeCoordinate], int]:
        """The coordinates of its members and their index; waits as `members_changed` does."""
        cluster = self.cluster
        await self._outlast(
            index, wait, lambda: cluster.coordinates_version, cluster.coordinates_changed
        )
        return node_coordinates(cluster), self._index_base + cluster.coordinates_version

    async def _outlast(
        self,
        index: int,
        wait: float,
        version: Callable[[], int],
        changed: Callable[[int], Awaitable[int]],
    ) -> None:
        """Wait until the index of a version exceeds `index`, at most `wait` seconds; 0 never waits."""
        if not index:
            return
        try:
            async with asyncio.timeout(wait):
                while self._index_base + (seen := version()) <= index:
                    if await changed(seen) == seen:
                        return  # closed
        except TimeoutError:
            pass

    async def force_leave(self, name: str, *, prune: bool = False) -> bool:
        """Declare that a failed member left, or forget it; False if nobody has that name.

        Raises:
            GossipError: the news could not be told in time.
        """
        if self.cluster.member(name) is None:
            return False
        try:
            status = await self.cluster.force_leave(name, prune=prune)
        except TimeoutError:
            raise GossipError("timed out broadcasting node removal") from None
        if status in {MemberStatus.ALIVE, MemberStatus.LEAVING}:
            self.log.warning(
                "force-leave of a running node, which will refute it name=%s", Value(name)
            )
        return True

    def log_change(self, event: MemberEvent | Gap) -> None:
        """Write down what happened to a member."""
        if isinstance(event, Gap):
            self.log.warning("events were lost, this agent is too slow missed=%d", event.missed)
        else:
            self.log.info(
                "%s member=%s address=%s",
                type(event).__name__,
                Value(event.member.name),
                event.member.addr,
            )
