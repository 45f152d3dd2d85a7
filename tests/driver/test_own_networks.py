"""Behind a NAT that renumbers source ports (R-08), and on link-local addresses (R-35)."""

from __future__ import annotations

from tests.own_network import run_in_own_network


def test_r08_a_pool_lives_behind_a_nat_that_renumbers_source_ports() -> None:
    run_in_own_network("nat", "tests/driver/nat_cases.py", within=110)


def test_r35_a_pool_lives_on_link_local_addresses() -> None:
    run_in_own_network("link", "tests/driver/link_cases.py", within=110)
