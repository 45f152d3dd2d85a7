"""Seeds of long campaigns in which something was found that ought not to be, kept as they were."""

from __future__ import annotations

from simulations.campaign import run_seed


def test_l4_seed_95_an_event_of_a_clock_that_stayed_behind_after_a_partition() -> None:
    """The sides knew each other again by gossip, which tells no clocks; 19 seconds later one fired."""
    assert run_seed(95, 15).violations == []
