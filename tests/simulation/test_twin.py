"""Plans that run both ways, here in virtual time, recorded as those of processes are."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulations.cluster.agent import FAILED
from simulations.cluster.faults import check
from simulations.cluster.record import figures
from simulations.cluster.virtual import run_virtual
from simulations.plan import Plan, PlanError

PLANS = sorted(
    path.stem for path in (Path(__file__).parents[2] / "simulations" / "plans").glob("*.toml")
)


@pytest.mark.parametrize("name", PLANS)
def test_every_plan_of_ours_can_be_done_to_processes_and_ends_well_in_virtual_time(
    name: str,
) -> None:
    plan = Plan.find(name)
    check(plan)

    record = run_virtual(plan, seed=1)

    assert record.problems == []
    assert record.settled()
    assert record.undelivered() == 0
    assert len(record.deeds) == len(plan.steps)


def test_one_seed_is_one_history_and_another_seed_another_one() -> None:
    plan = Plan.find("kill-and-pause")
    first, again, other = (run_virtual(plan, seed).changes for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_news_takes_the_way_between_processes_that_was_measured() -> None:
    plan = Plan.parse({"nodes": 10, "seconds": 20, "steps": [{"at": at, "do": "fire", "nodes": "random:1"} for at in range(1, 16)]})  # fmt: skip
    fast, slow = (figures([run_virtual(plan, 1, one_way=way)]) for way in (0.001, 0.02))
    assert fast["event at a node, s"] is not None
    assert slow["event at a node, s"] is not None
    assert 10 < slow["event at a node, s"] / fast["event at a node, s"] < 40


def test_in_a_partition_nodes_of_the_other_side_are_said_failed_and_none_of_ones_own() -> None:
    record = run_virtual(Plan.find("partition-and-heal"), seed=3)
    small = {f"node-{n:03}" for n in range(3)}
    failed = {(by in small, about in small) for _, by, about, status in record.changes if status == FAILED}  # fmt: skip
    assert failed == {(True, False), (False, True)}


def test_a_plan_is_found_by_its_name_or_its_path(tmp_path: Path) -> None:
    assert Plan.find("loss").name == "loss"
    path = tmp_path / "own.toml"
    path.write_text("nodes = 3")
    assert Plan.find(str(path)).nodes == 3
    with pytest.raises(PlanError, match=r"los is no file, and no plan of .* kill-and-pause, loss"):
        Plan.find("los")
