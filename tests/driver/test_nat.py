"""Behind a NAT that renumbers source ports (R-08)."""

from __future__ import annotations

from tests.behind_nat import run_behind_nat


def test_r08_a_pool_lives_behind_a_nat_that_renumbers_source_ports() -> None:
    run_behind_nat("tests/driver/nat_cases.py", within=90)
