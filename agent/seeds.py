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
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from agent.logs import Value
from gossip.errors import ConfigError, JoinError
from gossip.events import MemberStatus
from gossip.resolve import resolve
from gossip.wire.address import plain_ip

if TYPE_CHECKING:
    from agent.config import AgentConfig
    from gossip.aio import Cluster
    from gossip.wire.address import Address

__all__ = ["SeedSettings", "Seeds"]

CHECK_INTERVAL = 60.0
"""Seconds between looks whether a seed is missing from the pool."""
FIRST_PAUSE = 2.5
"""Seconds, on average, from being alone to the first attempt; doubled by every one that fails."""


@dataclass(frozen=True, kw_only=True)
class SeedSettings:
    """Where one pool is looked for, named as in `agent.config.AgentConfig`."""

    start_join: tuple[str, ...] = ()
    """Joined once at start."""
    retry_join: tuple[str, ...] = ()
    """Joined at start until one answers."""
    retry_interval: float = 30.0
    """Seconds between those attempts."""
    retry_max: int = 0
    """How many; 0 sets no bound."""

    @classmethod
    def of(cls, config: AgentConfig, suffix: str = "") -> SeedSettings:
        """Those of the LAN pool, or with the suffix ``_wan`` those of the WAN pool."""
        return cls(**{f.name: getattr(config, f.name + suffix) for f in fields(cls)})

    @property
    def addresses(self) -> tuple[str, ...]:
        """All seeds, each once, as `Cluster.join` takes them."""
        return tuple(dict.fromkeys((*self.start_join, *self.retry_join)))


class Seeds:
    """Joins a cluster through its seeds, and again when they are lost.

    Args:
        cluster: joins.
        settings: which, and how patiently.
        log: of the pool.

    Attributes:
        settings: as above; may be replaced at any time.
    """

    def __init__(self, cluster: Cluster, settings: SeedSettings, *, log: logging.Logger) -> None:
        self._cluster = cluster
        self.settings = settings
        self._log = log
        self._pause = FIRST_PAUSE
        self._seeking = False

    @property
    def addresses(self) -> tuple[str, ...]:
        """All seeds."""
        return self.settings.addresses

    @property
    def isolated(self) -> bool:
        """No other member is alive, and some should be: seeds or those of the last run, or failed ones."""
        return self._alone() and (
            self._seeking
            or self._cluster.rejoining
            or any(member.status is MemberStatus.FAILED for member in self._cluster.members())
        )

    async def join(self) -> bool:
        """Try until one of ``retry_join`` answers; False after ``retry_max`` attempts."""
        settings = self.settings
        if not settings.retry_join:
            return True
        attempt = 0
        while True:
            attempt += 1
            try:
                count = await self._cluster.join(settings.retry_join)
            except JoinError as error:
                self._seeking = True
                self._log.warning("join failed attempt=%d error=%s", attempt, Value(error))
            else:
                self._log.info("joined nodes=%d attempt=%d", count, attempt)
                return True
            if settings.retry_max and attempt >= settings.retry_max:
                self._log.error("giving up to join attempts=%d", attempt)
                return False
            await asyncio.sleep(settings.retry_interval)

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
            # We belong to the pool already: what was fired on their side while we were apart is news.
            count = await self._cluster.join(seeds, ignore_old_events=False)
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
