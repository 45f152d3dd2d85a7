"""Blocking queries: the version they wait for, and whom a change wakes (S16, L10)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gossip.changes import Changes
from tests.effort import MACHINES

if TYPE_CHECKING:
    from collections.abc import Coroutine


class ChangesMachine(RuleBasedStateMachine):
    """Waiters come, give up, and are woken by what they wait for and by nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.version = 1
        self.changes = Changes(lambda: self.version)
        self.told = 0
        """The version at the last `check`."""
        self.closed = False
        self.waiting: list[tuple[int, asyncio.Task[int]]] = []

    def _settle(self) -> None:
        async def turns() -> None:
            for _ in range(3):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turns())

    def _start(self, work: Coroutine[object, object, int]) -> asyncio.Task[int]:
        task = self.loop.create_task(work)
        self._settle()
        return task

    @rule(behind=st.integers(-1, 2))
    def wait(self, behind: int) -> None:
        """An index that is not the present one, also one from before a restart, is answered at once."""
        seen = self.version - behind
        task = self._start(self.changes.wait(seen))
        if behind or self.closed:
            assert task.result() == self.version
        else:
            assert not task.done()
            self.waiting.append((seen, task))

    @rule(told=st.booleans())
    def change(self, told: bool) -> None:
        self.version += 1
        if told:
            self.check()

    @rule()
    def check(self) -> None:
        self.changes.check()
        self._settle()
        if self.told != self.version:
            self.told = self.version
            woken = [task for seen, task in self.waiting if seen != self.version]
            self.waiting = [(seen, task) for seen, task in self.waiting if seen == self.version]
            assert all(task.result() == self.version for task in woken)

    @rule(which=st.integers(0, 9))
    def give_up(self, which: int) -> None:
        if self.waiting:
            _, task = self.waiting.pop(which % len(self.waiting))
            task.cancel()
            self._settle()
            assert task.cancelled()

    @rule()
    def close(self) -> None:
        self.changes.close()
        self._settle()
        self.closed = True
        assert all(task.result() == self.version for _, task in self.waiting)
        self.waiting.clear()

    @invariant()
    def nobody_is_woken_for_nothing_or_kept_for_nobody(self) -> None:
        assert not any(task.done() for _, task in self.waiting)
        assert len(self.changes._waiting) == len(self.waiting)

    def teardown(self) -> None:
        for _, task in self.waiting:
            task.cancel()
        self._settle()
        self.loop.close()


TestChanges = ChangesMachine.TestCase
TestChanges.settings = MACHINES
