"""Seeds: the configured addresses through which an agent finds its pool, and finds it again.

    joining --one answers--> joined --no other member alive--> isolated
                               ^ |  ^                              |
                               | +--+ a look every CHECK_INTERVAL  |
                               +------------one answers------------+

Serf forgets failed members after a day or three, and then two halves of a pool that were cut from each
other for longer would stay two pools. So the seeds that are not among the alive members are tried for
as long as the agent runs: rarely while there is company, soon and then ever more rarely without any. The members
that a snapshot remembers are no seeds: the node itself looks for those, see `gossip.serf.rejoin`.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING

from agent.logs import Value
from gossip.errors import ConfigError, JoinError
from gossip.events import MemberStatus
from gossip.resolve import resolve
from gossip.wire.address import plain_ip

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gossip.aio import Cluster
    from gossip.wire.address import Address

__all__ = ["Seeds"]

CHECK_INTERVAL = 60.0
"""Seconds between looks whether a seed is missing from the pool."""
FIRST_PAUSE = 2.5
"""Seconds, on average, from being alone to the first attempt; doubled by every one that fails."""


class Seeds:
    """Joins a cluster through its seeds, and again when they are lost.

    Args:
        cluster: joins.
        addresses: the seeds, as `Cluster.join` takes them.
        log: of the pool.
        retry_interval: seconds between attempts until the first success.
        retry_max: attempts until then; 0 sets no bound.
    """

    def __init__(
        self,
        cluster: Cluster,
        addresses: Sequence[str],
        *,
        log: logging.Logger,
        retry_interval: float = 30.0,
        retry_max: int = 0,
    ) -> None:
        self._cluster = cluster
        self.addresses = addresses
        self._log = log
        self._retry_interval = retry_interval
        self._retry_max = retry_max
        self._pause = FIRST_PAUSE
        self._seeking = False

    @property
    def isolated(self) -> bool:
        """No other member is alive, and some should be: seeds or those of the last run, or failed ones."""
        return self._alone() and (
            self._seeking
            or self._cluster.rejoining
            or any(member.status is MemberStatus.FAILED for member in self._cluster.members())
        )

    async def join(self, addresses: Sequence[str]) -> bool:
        """Try until one of some seeds answers; False after `retry_max` attempts."""
        attempt = 0
        while True:
            attempt += 1
            try:
                count = await self._cluster.join(addresses)
            except JoinError as error:
                self._seeking = True
                self._log.warning("join failed attempt=%d error=%s", attempt, Value(error))
            else:
                self._log.info("joined nodes=%d attempt=%d", count, attempt)
                return True
            if self._retry_max and attempt >= self._retry_max:
                self._log.error("giving up to join attempts=%d", attempt)
                return False
            await asyncio.sleep(self._retry_interval)

    async def stay_joined(self) -> None:
        """Try seeds that are missing from the pool, until cancelled."""
        while True:
            if self._alone():
                await asyncio.sleep(random.uniform(0.5, 1.5) * self._pause)
                self._pause = min(2 * self._pause, CHECK_INTERVAL)
            else:
                await self._wait_for_change()
                if not self._alone():
                    self._pause = FIRST_PAUSE
            missing = await self._missing()
            self._seeking = bool(missing)
            if missing:
                await self._try(missing)

    async def _wait_for_change(self) -> None:
        """Until we are alone, or the next look is due."""
        try:
            async with asyncio.timeout(random.uniform(0.75, 1.25) * CHECK_INTERVAL):
                while not self._alone():
                    version = self._cluster.members_version
                    if await self._cluster.members_changed(version) == version:
                        await asyncio.sleep(CHECK_INTERVAL)  # the cluster is closed
        except TimeoutError:
            pass

    async def _try(self, seeds: list[str]) -> None:
        alone = self._alone()
        if alone:
            self._log.warning("no other member is alive, trying seeds=%s", ",".join(seeds))
        try:
            count = await self._cluster.join(seeds)
        except JoinError as error:
            level = logging.WARNING if alone else logging.DEBUG
            self._log.log(level, "seeds do not answer error=%s", Value(error))
        else:
            self._log.info("joined through seeds nodes=%d", count)

    async def _missing(self) -> list[str]:
        """The seeds of which no address belongs to an alive member, ourselves included."""
        known = {
            (member.addr, member.port)
            for member in self._cluster.members()
            if member.status is MemberStatus.ALIVE
        }
        return [seed for seed in self.addresses if not known & await self._resolve(seed)]

    async def _resolve(self, seed: str) -> set[Address]:
        try:
            found = await resolve(seed, self._cluster.local_address[1])
        except (ConfigError, OSError):
            return set()
        return {(plain_ip(ip), port) for ip, port in found}

    def _alone(self) -> bool:
        return not any(
            member.status is MemberStatus.ALIVE and member.name != self._cluster.config.name
            for member in self._cluster.members()
        )
