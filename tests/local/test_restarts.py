"""A real process, killed at random instants and started again with its snapshot."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gossip import Cluster, Config
from simulations.restarts.cycles import Report, _check, _Life, _Seen, run_cycles

if TYPE_CHECKING:
    from pathlib import Path

CYCLES = int(os.environ.get("RESTART_CYCLES", "20"))
"""``python -m simulations.restarts -cycles 1000`` makes more of them."""


async def test_r37_g18_no_kill_brings_back_an_event_that_was_written_or_breaks_the_file(
    tmp_path: Path,
) -> None:
    report = await run_cycles(CYCLES, tmp_path)

    assert report.wrong == []
    assert report.cycles == CYCLES
    assert report.events > 5 * CYCLES, "it showed something"
    assert report.worst_rejoin <= 35


def test_what_must_not_happen_is_found() -> None:
    report = Report()
    _check(report, 3, _Life(True, [(8, "a"), (8, "b")]), written=7)
    assert report.wrong == []
    _check(report, 3, _Life(True, [(7, "a")]), written=7)
    _check(report, 4, _Life(True, [(9, "a"), (9, "a")]), written=7)
    assert ["was written before" in line for line in report.wrong] == [True, False]
    assert ["twice in one life" in line for line in report.wrong] == [False, True]


async def test_a_time_used_twice_is_found() -> None:
    async with Cluster(Config.local("me", bind="127.0.0.1", port=0)) as cluster:
        seen = _Seen(cluster)
        seen.add(4, "victim-a")
        seen.add(4, "victim-a")
        assert seen.wrong == []
        seen.add(4, "victim-b")
        assert seen.wrong == ["time 4 was used for victim-a and for victim-b"]
