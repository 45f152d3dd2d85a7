"""Seeds of long campaigns in which something was found that ought not to be, kept as they were."""

from __future__ import annotations

from simulations.campaign import run_seed


def test_l4_seed_95_an_event_of_a_clock_that_stayed_behind_after_a_partition() -> None:
    """The sides knew each other again by gossip, which tells no clocks; 19 seconds later one fired."""
    assert run_seed(95, 15).violations == []


def test_l8_seed_339_a_prune_that_took_away_a_member_which_went_on_answering() -> None:
    """Membership held it for alive, and told nothing of it again to the view that it was missing from."""
    assert run_seed(339, 15).violations == []


def test_s8_seed_580_a_poisoned_clock_and_a_crash_sixteen_milliseconds_later() -> None:
    """The checker's mistake: no gap makes up for a leap that there was no time to write down."""
    assert run_seed(580, 15).violations == []
