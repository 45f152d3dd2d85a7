"""What the catalog has not been told."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from agent import changes as module
from agent.changes import Changes, Kind

if TYPE_CHECKING:
    import pytest


def test_a_change_stays_until_it_is_settled() -> None:
    changes = Changes()
    changes.note(Kind.SERVICE, "web")
    changes.note(Kind.CHECK, "web", urgent=False)
    service, check = changes.pending()
    assert (service.kind, service.id, service.urgent) == (Kind.SERVICE, "web", True)
    assert (check.kind, check.urgent) == (Kind.CHECK, False)
    changes.settle(service)
    assert changes.pending() == [check]


def test_what_changed_again_while_it_was_told_stays() -> None:
    changes = Changes()
    changes.note(Kind.SERVICE, "web")
    (told,) = changes.pending()
    changes.note(Kind.SERVICE, "web")
    changes.settle(told)
    (left,) = changes.pending()
    assert left.version > told.version


def test_a_change_that_was_urgent_stays_so_when_the_output_follows() -> None:
    changes = Changes()
    changes.note(Kind.CHECK, "a")
    changes.note(Kind.CHECK, "a", urgent=False)
    (change,) = changes.pending()
    assert change.urgent


def test_the_oldest_changes_go_first_when_there_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_PENDING", 2)
    changes = Changes()
    for name in "abc":
        changes.note(Kind.SERVICE, name)
    assert [change.id for change in changes.pending()] == ["b", "c"]
    assert changes.dropped == 1


async def test_whoever_waits_is_woken_by_a_later_change_only() -> None:
    changes = Changes()
    changes.note(Kind.SERVICE, "a")
    assert await changes.wait(0) == 1
    waiting = asyncio.ensure_future(changes.wait(1))
    await asyncio.sleep(0)
    assert not waiting.done()
    changes.note(Kind.SERVICE, "b")
    assert await waiting == 2
