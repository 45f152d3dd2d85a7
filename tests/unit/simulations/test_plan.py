"""Fault plans: what a file may say, and what each mistake is answered with."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest

from simulations.campaign import plan_of
from simulations.faults import Faults
from simulations.plan import ACTIONS, Plan, PlanError, Step, select

if TYPE_CHECKING:
    from pathlib import Path

TOML = """
name = "restart under loss"
nodes = 10
seconds = 120

[settings]
suspicion_mult = 3

[[steps]]
at = 5
do = "loss"
rate = 0.1
seconds = 60

[[steps]]
at = 10
do = "restart"
nodes = "random:3"
with_memory = true
"""


def step(**fields: Any) -> dict[str, Any]:
    return {"at": 1, "do": "kill", "nodes": "all"} | fields


def test_a_toml_file_is_a_plan(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(TOML)

    plan = Plan.load(path)

    assert (plan.name, plan.nodes, plan.seconds) == ("restart under loss", 10, 120)
    assert plan.settings == {"suspicion_mult": 3}
    assert plan.steps == (
        Step(at=5, do="loss", rate=0.1, seconds=60),
        Step(at=10, do="restart", nodes="random:3", with_memory=True),
    )


@pytest.mark.parametrize("seed", range(25))
def test_plans_survive_being_written_and_read(seed: int) -> None:
    plan, _ = plan_of(seed, 3.0)

    assert Plan.parse(json.loads(plan.to_json())) == plan


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ([], "the plan is list, not a table"),
        ({"nodez": 3}, "nodez is unknown"),
        ({"nodes": "3"}, "nodes '3' is str, not int"),
        ({"nodes": True}, "nodes True is bool, not int"),
        ({"nodes": 0}, "nodes 0 is not between 1 and 100000"),
        ({"seconds": 0}, "seconds 0 is not between"),
        ({"steps": [3]}, "steps[0] is int, not a table"),
        ({"steps": [{"do": "kill"}]}, "steps[0] has no at"),
        ({"steps": [step(do="bomb")]}, "steps[0].do 'bomb' is none of join, leave"),
        ({"steps": [step(nodes="")]}, "steps[0]: kill needs nodes"),
        ({"steps": [step(rate=0.5)]}, "steps[0].rate means nothing to kill"),
        ({"steps": [step(when=3)]}, "steps[0].when is unknown"),
        ({"steps": [step(at=99)]}, "steps[0].at 99 is not between 0 and 60"),
        ({"steps": [step(at=-1)]}, "steps[0].at -1 is not between 0 and 60"),
        ({"steps": [step(at=float("nan"))]}, "steps[0].at nan is not between"),
        ({"steps": [step(nodes="random:x")]}, "steps[0].nodes 'random:x' is no selector"),
        ({"steps": [step(nodes="some:3")]}, "steps[0].nodes 'some:3' is no selector"),
        ({"steps": [step(nodes="last:0")]}, "steps[0].nodes 'last:0' is no selector"),
        ({"steps": [{"at": 1, "do": "loss", "rate": 1.5}]}, "steps[0].rate 1.5 is not between"),
        ({"steps": [step(do="tags", tags=3)]}, "steps[0].tags 3 is int, not dict"),
        ({"steps": [step(do="tags", tags={"a": 1})]}, "steps[0].tags.a 1 is int, not str"),
        ({}, "the plan is empty"),
        (
            {"nodes": 3, "steps": [step(nodes="node-003")]},
            "steps[0].nodes 'node-003' is no node: there are node-000 to node-002, and those of join",
        ),
        ({"steps": [step(do="cut", to="node-001,web")]}, "steps[0].to 'web' is no node"),
        ({"steps": [step(nodes="node-001,")]}, "steps[0].nodes 'node-001,' is no selector"),
        ({"steps": [step(nodes="a node")]}, "steps[0].nodes 'a node' is no selector"),
        ({"steps": [step(do="join", nodes="random:2")]}, "'random:2': join takes names"),
        ({"steps": [step(do="join", nodes="all")]}, "steps[0].nodes 'all': join takes names"),
        ({"steps": [step(do="join", nodes="a,,b")]}, "steps[0].nodes 'a,,b' is no selector"),
        ({"steps": [step(do="fire", count=0)]}, "steps[0].count 0 is not between 1 and 100000"),
        (
            {"steps": [step(do="fire", payload="x" * 510)]},
            "steps[0]: name and payload have 515 bytes, the limit is 512",
        ),
        ({"steps": [{"at": 1, "do": "rotate_key"}]}, "rotate_key needs encrypted = true"),
        ({"settings": {"bogus": 1}}, "settings.bogus is unknown"),
        ({"settings": {"name": "x"}}, "settings.name is unknown"),
        ({"settings": {"probe_interval": "x"}}, "settings.probe_interval 'x' is str, not number"),
        ({"settings": {"eager": 3}}, "settings.eager 3 is int, not bool"),
        ({"settings": {"probe_interval": -1}}, "settings: probe_interval -1 is not between"),
        ({"settings": {"label": 3}}, "settings: "),
    ],
)
def test_a_plan_that_cannot_be_is_refused_with_the_place(data: object, text: str) -> None:
    with pytest.raises(PlanError) as caught:
        Plan.parse(data)

    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [
        ("a.json", "{", "is no json"),
        ("a.toml", "=", "is no toml"),
        ("a.toml", "nodes=0", "nodes 0"),
        ("a.toml", "", "the plan is empty"),
        ("a.json", "", "is no json"),
        ("a.json", "[" * 100_000, "is no json"),
    ],
)
def test_a_file_that_is_no_plan_is_named(tmp_path: Path, name: str, text: str, error: str) -> None:
    path = tmp_path / name
    path.write_text(text)

    with pytest.raises(PlanError) as caught:
        Plan.load(path)

    assert str(caught.value).startswith(str(path))
    assert error in str(caught.value)


def test_whoever_joins_may_be_named_and_fewer_nodes_than_are_named_are_too_few() -> None:
    plan = Plan.parse({"steps": [step(do="join", nodes="web, db"), step(nodes="db,node-003")]})

    assert plan.steps[0].names() == ["web", "db"]
    with pytest.raises(PlanError, match="'node-003' is no node"):
        plan.with_nodes(3)


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("all", ["a", "b", "c"]),
        ("first:2", ["a", "b"]),
        ("last:1", ["c"]),
        ("b", ["b"]),
        ("c, x, a, nobody", ["c", "x", "a"]),
        ("x", ["x"]),
        ("dead:5", ["x"]),
        ("random:9", ["a", "b", "c"]),
    ],
)
def test_selectors(selector: str, names: list[str]) -> None:
    found = select(selector, ["a", "b", "c"], ["x"], random.Random(1))

    assert (sorted(found) if selector.startswith("random") else found) == names


def test_whatever_a_plan_may_say_the_simulator_can_do() -> None:
    assert {name.removeprefix("_do_") for name in dir(Faults) if name.startswith("_do_")} == set(
        ACTIONS
    )
