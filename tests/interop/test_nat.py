"""Genuine Serf and ours behind a NAT that renumbers source ports (R-08)."""

from __future__ import annotations

import pytest

from tests.own_network import run_in_own_network

pytestmark = pytest.mark.interop


def test_r08_a_pool_with_genuine_serf_lives_behind_a_nat(genuine_serf: str) -> None:
    assert genuine_serf
    run_in_own_network("nat", "tests/interop/nat_cases.py", within=110)
