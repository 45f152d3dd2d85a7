"""When the catalog is told, and what.

                 a change ---> tell what changed
    start --> compare all --+--> in sync --- a minute or two later ---> compare all
                  ^         |       '---- a server appears, or leads: within seconds ---> compare all
                  |         v
                  '----- failing, for 15 to 30 seconds or until a server appears; changes wait

The more members the pool has, the wider the times are spread, so that the leader of a large one is not asked
by everybody at once. What the catalog refuses is told again by the next comparison: one bad entry does not
hold up the others. Output of a check that changes while its status does not waits for about
`check_update_interval`, as a check that prints the time would write to the catalog with every run.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from typing import TYPE_CHECKING

from agent.changes import Kind
from agent.logs import Value
from agent.store.entries import Deregistration, Registration
from agent.sync.catalogs import NobodyError, RefusedError
from agent.sync.differences import differences, is_told
from gossip.errors import GossipError

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable

    from agent.changes import Change
    from agent.local_state import LocalState
    from agent.store.entries import CheckEntry, NodeEntry, Write
    from agent.sync.catalogs import CatalogOfNode

__all__ = ["Syncer", "scale"]

log = logging.getLogger(__name__)

FULL_INTERVAL = 60.0
"""Seconds between two comparisons, and as much again at most, times `scale`."""
RETRY_INTERVAL = 15.0
"""Likewise after one that failed."""
SERVER_INTERVAL = 3.0
"""Seconds at most, times `scale`, from the appearance of a server to a comparison."""
SCALE_FROM = 128
"""Members of a pool in which no time is spread further."""
PATIENCE = 3.0
"""Seconds for which a client's change waits until the catalog knows it."""
MAX_TOGETHER = 64 * 1024
"""Characters of checks that are told in one request with their service; the others follow by themselves."""


def scale(members: int) -> int:
    """By how much times are spread in a pool of this size."""
    if members <= SCALE_FROM:
        return 1
    return math.ceil(math.log2(members) - math.log2(SCALE_FROM)) + 1


class Syncer:
    """Tells the catalog of the services and checks of one agent.

    Args:
        local: these.
        catalog: is told.
        node: what is said of the node itself, at the time.
        members: how many the pool has, likewise.
        update_interval: seconds that output waits, more or less half of it; 0 does not.
        rng: spreads the times.

    Attributes:
        stats: ``full`` comparisons, ``written``, ``refused`` and ``failures`` to reach the catalog.
    """

    def __init__(
        self,
        local: LocalState,
        catalog: CatalogOfNode,
        *,
        node: Callable[[], NodeEntry],
        members: Callable[[], int],
        update_interval: float,
        rng: random.Random,
    ) -> None:
        self.stats: Counter[str] = Counter(full=0, written=0, refused=0, failures=0)
        self._local = local
        self._changes = local.changes
        self._catalog = catalog
        self._node = node
        self._members = members
        self._update_interval = update_interval
        self._rng = rng
        self._clock = asyncio.get_running_loop().time
        self._full_at = self._clock()
        self._alarm: asyncio.Timeout | None = None
        self._failing = True  # nothing was compared yet
        self._trouble = ""
        self._node_told = False
        self._told = 0  # version of the changes
        self._deferred: dict[str, float] = {}
        self._round = asyncio.Event()

    async def run(self) -> None:
        """Until it is cancelled."""
        try:
            while True:
                try:
                    # While failing only an alarm wakes us, and it may ring a moment early.
                    if self._failing or self._clock() >= self._full_at:
                        await self._compare()
                    else:
                        await self._tell()
                except GossipError as error:
                    self._fail(error)
                self._round.set()
                await self._sleep()
        finally:
            self._failing = True
            self._round.set()  # nobody waits for what is told no more

    @property
    def in_step(self) -> bool:
        """Whether the catalog knew all when it was last told, but for what it refused."""
        return not self._failing

    def compare_soon(self) -> None:
        """Do so within seconds: there may be a server, or a leader, that was not there before."""
        self._full_soon(self._spread(SERVER_INTERVAL))
        alarm = self._alarm
        if alarm is not None and not alarm.expired():
            when = alarm.when()
            alarm.reschedule(self._full_at if when is None else min(when, self._full_at))

    async def told(self) -> None:
        """Wait until the catalog was told what changed so far, `PATIENCE` seconds at most.

        Not at all while it cannot be reached, and not for output that has to wait.
        """
        version = self._changes.version
        try:
            async with asyncio.timeout(PATIENCE):
                while self._told < version and not self._failing:
                    self._round.clear()
                    await self._round.wait()
        except TimeoutError:
            log.debug("the catalog is slow to take what changed seconds=%g", PATIENCE)

    # When

    def _spread(self, seconds: float) -> float:
        return self._rng.uniform(0, seconds * scale(self._members()))

    def _full_soon(self, delay: float) -> None:
        self._full_at = min(self._full_at, self._clock() + delay)

    async def _sleep(self) -> None:
        """Until there is something to do."""
        wake_at = self._full_at if self._failing else min([self._full_at, *self._deferred.values()])
        try:
            async with asyncio.timeout_at(wake_at) as self._alarm:
                if self._failing:
                    await asyncio.Event().wait()
                await self._changes.wait(self._told)
        except TimeoutError:
            pass
        finally:
            self._alarm = None

    def _fail(self, error: GossipError) -> None:
        self.stats["failures"] += 1
        self._failing = True
        self._full_soon(RETRY_INTERVAL + self._spread(RETRY_INTERVAL))
        if self._trouble != str(error):
            self._trouble = str(error)
            level = logging.INFO if isinstance(error, NobodyError) else logging.WARNING
            log.log(level, "the catalog is not told of this node error=%s", Value(error))

    # What

    async def _compare(self) -> None:
        """Find all that the catalog has otherwise, and tell it."""
        # A server that appears while this goes on brings the next one nearer.
        self._full_at = self._clock() + FULL_INTERVAL + self._spread(FULL_INTERVAL)
        self.stats["full"] += 1
        held = await self._catalog.held()
        self._node_told = is_told(self._node(), held.node)
        for service_id, theirs in held.services.items():
            ours = self._local.services.get(service_id)
            if ours and ours.entry.enable_tag_override and ours.entry.tags != theirs.tags:
                self._local.take_tags(service_id, theirs.tags)
        found = {(one.kind, one.id): one for one in differences(self._local, held)}
        pending = {(change.kind, change.id): change for change in self._changes.pending()}
        for key, change in pending.items():
            if key not in found:
                self._changes.settle(change)
        for key, difference in found.items():
            noted = pending.get(key)
            waits = noted is not None and (noted.urgent or difference.output_only)
            if not waits:
                self._changes.note(*key)
        await self._tell()
        if self._failing:
            log.info("the catalog knows this node, its services and checks")
        self._failing, self._trouble = False, ""

    async def _tell(self) -> None:
        """Tell the catalog what changed; it is looked up only then, and what is not there is to be gone."""
        version, due = self._changes.version, self._due()
        if not self._node_told:
            await self._write(Registration(node=self._node()), "node", "")
            self._node_told = True
        checks = {change.id: change for change in due if change.kind is Kind.CHECK}
        by_service: dict[str, list[Change]] = {}
        for change in checks.values():
            if (check := self._local.checks.get(change.id)) is not None:
                by_service.setdefault(check.entry.service_id, []).append(change)
        for change in due:
            if change.kind is Kind.SERVICE:
                told = await self._tell_service(change, by_service.get(change.id, ()))
                for one in told:
                    del checks[one.id]
        for change in checks.values():
            await self._tell_check(change)
        self._told = version

    def _due(self) -> list[Change]:
        """The changes that are told now."""
        now, due, deferred = self._clock(), [], {}
        for change in self._changes.pending():
            if change.urgent or not self._update_interval:
                due.append(change)
                continue
            at = self._deferred.get(change.id)
            if at is None:
                at = now + self._update_interval / 2 + self._rng.uniform(0, self._update_interval)
            if at <= now:
                due.append(change)
            else:
                deferred[change.id] = at
        self._deferred = deferred
        return due

    async def _tell_service(self, change: Change, checks: Iterable[Change]) -> list[Change]:
        """Tell of a service with those of its checks that fit; returns the checks that did."""
        service = self._local.services.get(change.id)
        if service is None:
            gone = Deregistration(node=self._node().node, service_id=change.id)
            await self._write(gone, "service", change.id)
            self._changes.settle(change)
            return []
        together: list[Change] = []
        entries: list[CheckEntry] = []
        room = MAX_TOGETHER
        for one in checks:
            check = self._local.checks.get(one.id)
            if check is None or check.entry.service_id != change.id:
                continue  # it changed a moment ago, and is told by itself
            room -= len(check.entry.output) + len(check.entry.notes)
            if room >= 0:
                together.append(one)
                entries.append(check.entry)
        write = Registration(
            node=self._node(), service=service.entry, checks=tuple(entries), keep_node=True
        )
        await self._write(write, "service", change.id, service.definition.token)
        for one in (change, *together):
            self._changes.settle(one)
        return together

    async def _tell_check(self, change: Change) -> None:
        check = self._local.checks.get(change.id)
        if check is None:
            gone = Deregistration(node=self._node().node, check_id=change.id)
            await self._write(gone, "check", change.id)
        else:
            write = Registration(node=self._node(), checks=(check.entry,), keep_node=True)
            await self._write(write, "check", change.id, check.definition.token)
        self._changes.settle(change)

    async def _write(self, write: Write, what: str, name: str, token: str = "") -> None:
        """Have the catalog take a write; one that it refuses waits for the next comparison."""
        try:
            await self._catalog.write(write, token)
        except RefusedError as error:
            self.stats["refused"] += 1
            log.warning(
                "the catalog refuses a change %s=%s error=%s", what, Value(name), Value(error)
            )
            if error.passing:
                self._full_soon(RETRY_INTERVAL + self._spread(RETRY_INTERVAL))
        else:
            self.stats["written"] += 1
