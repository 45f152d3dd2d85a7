"""Seeds that once failed: each a pool of which a campaign has found something out."""

from __future__ import annotations

from simulations.campaign import run_seed


def test_seed_3_probes_that_begin_as_soon_as_a_late_ack_comes_are_no_chain_of_packets() -> None:
    """S14: the acks took longer than the probe interval, so that each of them let a probe begin."""
    assert run_seed(3, 15).violations == []
