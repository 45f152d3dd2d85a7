"""The vectorised model of large pools: what it says, and that the exact simulator says the same."""

from __future__ import annotations

import json
from dataclasses import replace
from math import e, inf, isinf
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from gossip.config import Config
from gossip.swim.suspicion import suspicion_bounds
from simulations.__main__ import main
from simulations.model.agreement import compare, compare_detection, compare_spread, event
from simulations.model.detection import detect, probe_failure
from simulations.model.exact import exact_probes, exact_spread
from simulations.model.planning import OURS, TICKS, plan
from simulations.model.spread import Pool, quantile, spread

if TYPE_CHECKING:
    from pathlib import Path


def pool(members: int, *, loss: float = 0.0, **settings: Any) -> Pool:
    return Pool(members=members, loss=loss, config=Config.lan("member", **settings))


def dice(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


# It agrees with the production core under virtual time


@pytest.mark.parametrize(("members", "seeds"), [(100, 8), (300, 3)])
def test_events_spread_as_in_the_exact_simulator(members: int, seeds: int) -> None:
    rows = compare_spread("event", pool(members), seeds)

    assert [row for row in rows if not row.holds] == []


def test_events_spread_as_in_the_exact_simulator_at_memberlists_ticks() -> None:
    rows = compare_spread("event", pool(100, eager=False), 10)

    assert [row for row in rows if not row.holds] == []


def test_events_spread_as_in_the_exact_simulator_under_loss() -> None:
    rows = compare_spread("event", pool(100, loss=0.05), 6)

    assert [row for row in rows[:2] if not row.holds] == []  # the last member is anybody's luck


def test_a_death_is_detected_as_in_the_exact_simulator() -> None:
    rows = compare_detection("death", pool(100), 6)

    assert [row for row in rows if not row.holds] == []


def test_probes_of_living_members_fail_as_often_as_in_the_exact_simulator() -> None:
    lossy = pool(50, loss=0.15, tcp_ping=False)

    failed = exact_probes(lossy, seed=1, seconds=20.0)

    expected = 50 * 20.0 * probe_failure(lossy)
    assert expected > 25
    assert abs(failed - expected) < 4 * expected**0.5


@pytest.mark.parametrize(
    "wrong", [{"eager": False}, {"retransmit_mult": 1}], ids=["other-rules", "fewer-copies"]
)
def test_a_model_that_parts_from_the_simulator_is_noticed(wrong: dict[str, Any]) -> None:
    exact = [exact_spread(pool(100), seed) for seed in range(4)]
    other = pool(100, **wrong)
    model = [spread(other, event(other), dice(seed)).known_at for seed in range(16)]

    assert not all(row.holds for row in compare("event", 100, exact, model))


def test_members_that_only_one_of_the_two_does_not_reach_are_noticed() -> None:
    all_told = [np.arange(10.0), np.arange(10.0) + 0.1]
    one_missed = [np.append(times[:-1], inf) for times in all_told]

    assert not compare("event", 10, all_told, one_missed)[-1].holds
    assert not compare("event", 10, one_missed, all_told)[-1].holds
    assert compare("event", 10, one_missed, one_missed)[-1].holds
    with pytest.raises(ValueError, match="at least 2 each"):
        compare("event", 10, all_told[:1], all_told)


# What it says by itself


def test_every_member_learns_in_time_that_grows_with_the_logarithm() -> None:
    times = {
        members: quantile(spread(pool(members), event(pool(members)), dice()).known_at, 0.99)
        for members in (100, 10_000)
    }

    assert times[100] < times[10_000] < 2 * times[100]


def test_the_last_copy_is_sent_and_no_more_than_the_limit() -> None:
    settled = pool(2000)

    result = spread(settled, event(settled), dice(), to_the_last_copy=True)

    assert not np.isinf(result.known_at).any()
    assert 2000 * 15 <= result.copies <= 2000 * 16  # 16, less one that evidence saves
    assert result.packets < result.copies  # some rode on pings and acks


@pytest.mark.parametrize("eager", [True, False])
def test_nothing_arrives_sooner_than_a_packet_takes(eager: bool) -> None:
    settled = pool(500, eager=eager)

    known_at = np.sort(spread(settled, event(settled), dice()).known_at)

    assert known_at[0] == 0.0
    assert known_at[1] >= settled.latency / 2


def test_members_that_know_by_themselves_need_no_copy() -> None:
    settled = pool(100)
    everybody = np.linspace(3.0, 3.0001, 100)

    assert spread(settled, everybody, dice()).known_at == pytest.approx(everybody)


def test_loss_delays_the_last_members() -> None:
    clear, lossy = (
        [quantile(spread(p, event(p), dice(seed)).known_at, 1.0) for seed in range(5)]
        for p in (pool(1000), pool(1000, loss=0.4))
    )

    assert min(lossy) > max(clear)


def test_the_first_suspicion_comes_after_the_same_time_in_any_pool() -> None:
    """SWIM's promise: the wait for a first probe of the dead one does not depend on the size."""
    means = {
        members: np.mean([detect(pool(members), dice(seed)).suspected_at for seed in range(40)])
        for members in (100, 2000)
    }

    for mean in means.values():
        assert mean == pytest.approx(e / (e - 1), abs=0.5)


def test_nobody_is_declared_failed_before_the_shortest_suspicion_ends() -> None:
    settled = pool(1000)
    _, shortest, _ = suspicion_bounds(settled.config, 1000)

    death = detect(settled, dice())

    assert len(death.failed_at) == 999
    assert death.failed_at.min() >= death.suspected_at + shortest
    assert not isinf(death.failed_at.max())


def test_a_machine_that_is_gone_is_suspected_at_the_end_of_the_interval() -> None:
    refused = detect(pool(200), dice()).suspected_at
    silent = detect(pool(200), dice(), refused=False).suspected_at

    assert silent - refused == pytest.approx(1.0 - 0.625, abs=0.002)


def test_probes_fail_only_by_loss_and_rarely_with_tcp_besides() -> None:
    assert probe_failure(pool(100)) == 0
    assert probe_failure(pool(100, loss=0.1)) < probe_failure(pool(100, loss=0.1, tcp_ping=False))
    assert probe_failure(pool(100, loss=0.1, indirect_checks=0, tcp_ping=False)) == (
        pytest.approx(1 - 0.9**2)
    )


def test_the_same_seed_gives_the_same_figures() -> None:
    assert plan(pool(200), [3]) == plan(pool(200), [3])


def test_news_that_leaves_at_once_is_far_ahead_of_the_ticks_for_no_more_packets() -> None:
    figures = plan(pool(300), [1])

    ours, ticks = figures[OURS], figures[TICKS]
    assert ours["event known to all after, s"] < ticks["event known to 50 % after, s"] / 20
    assert ours["event, packets per member"] < 1.1 * ticks["event, packets per member"]


@pytest.mark.parametrize("wrong", [{"members": 3}, {"loss": 1.0}, {"latency": 1.0}])
def test_a_pool_that_cannot_be_modelled_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="is not between"):
        replace(pool(100), **wrong)


# The command


def test_the_command_prints_and_writes_the_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["model", "--members", "500", "--json", "--out", str(tmp_path)]) == 0

    printed = json.loads(capsys.readouterr().out)
    assert printed["figures"][OURS]["event known to 99 % after, s"] < 0.01
    assert json.loads((tmp_path / "report.json").read_text()) == printed
    assert {path.name for path in tmp_path.glob("*.png")} == {"event.png", "death.png"}
    assert "500 members, 0.5 ms" in (tmp_path / "report.md").read_text()


def test_a_time_that_is_never_is_null_for_scripts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_such_number(name: str) -> None:
        pytest.fail(f"JSON has no {name}")

    arguments = ["model", "--members", "8", "--loss", "0.5", "--seeds", "20", "--json"]
    assert main([*arguments, "--out", str(tmp_path)]) == 0

    printed = json.loads(capsys.readouterr().out, parse_constant=no_such_number)
    written = (tmp_path / "report.json").read_text()
    assert json.loads(written, parse_constant=no_such_number) == printed
    assert any(value is None for value in printed["figures"][TICKS].values()), "loss cut some off"


@pytest.mark.parametrize(
    "arguments",
    [["--members", "2"], ["--loss", "0.9"], ["--latency", "0"], ["--seeds", "0"]],
)
def test_the_command_refuses_what_makes_no_sense(arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["model", *arguments])
