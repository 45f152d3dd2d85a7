"""gossip rtt"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.fake_agent import Answer
from tests.cli.test_process import ROOT, environment

if TYPE_CHECKING:
    from tests.cli.fake_agent import FakeAgent

NODES, DATACENTERS = "/v1/coordinate/nodes", "/v1/coordinate/datacenters"


def entry(node: str, first: float = 0.0, segment: str = "", **fields: Any) -> dict[str, Any]:
    """A coordinate as the API shows it; Go writes whole numbers without a point."""
    coord = {"Vec": [first, *[0] * 7], "Error": 1.5, "Adjustment": 0, "Height": 0.00001}
    return {"Node": node, "Segment": segment, "Coord": coord | fields}


def area(datacenter: str, *entries: dict[str, Any], area_id: str = "wan") -> dict[str, Any]:
    return {"Datacenter": datacenter, "AreaID": area_id, "Coordinates": list(entries)}


def own_name(fake: FakeAgent) -> None:
    fake.answer("/v1/agent/self", Answer.of({"Config": {"NodeName": "a", "Datacenter": "dc1"}}))


def test_the_estimate_reads_as_consuls(fake: FakeAgent, gossip: Any) -> None:
    fake.answer(NODES, Answer.of([entry("a"), entry("B", 0.00059)]))

    code, out, err = gossip("rtt", "A", "b")

    assert (code, err) == (0, "")
    assert out == "Estimated A <-> b rtt: 0.610 ms (using LAN coordinates)\n"


def test_without_a_second_node_it_is_the_agents_own(fake: FakeAgent, gossip: Any) -> None:
    own_name(fake)
    fake.answer(NODES, Answer.of([entry("a"), entry("b", 0.1)]))

    assert gossip("rtt", "b").out == "Estimated b <-> a rtt: 100.020 ms (using LAN coordinates)\n"


def test_in_json_it_is_in_seconds(fake: FakeAgent, gossip: Any) -> None:
    fake.answer(NODES, Answer.of([entry("a"), entry("b", 0.00059)]))

    code, out, err = gossip("rtt", "a", "b", "-format=json")

    assert (code, err) == (0, "")
    assert json.loads(out) == {"Node1": "a", "Node2": "b", "RTTSeconds": 0.00061, "Pool": "LAN"}


def test_wan_coordinates_are_those_of_servers(fake: FakeAgent, gossip: Any) -> None:
    own_name(fake)
    fake.answer(DATACENTERS, Answer.of([area("dc1", entry("a")), area("dc2", entry("a", 0.08))]))

    out = gossip("rtt", "-wan", "a.DC2").out

    assert out == "Estimated a.DC2 <-> a.dc1 rtt: 80.020 ms (using WAN coordinates)\n"


@pytest.mark.parametrize("names", [("b",), ("a", "b"), ("b", "a"), ("b", "b")])
def test_a_node_without_a_coordinate_is_an_error(
    fake: FakeAgent, gossip: Any, names: tuple[str, ...]
) -> None:
    own_name(fake)
    fake.answer(NODES, Answer.of([entry("a")]))

    code, out, err = gossip("rtt", *names)

    assert (code, out) == (1, "")
    assert err == 'Could not find a coordinate for node "b"\n'


def test_segments_and_areas_do_not_compare(fake: FakeAgent, gossip: Any) -> None:
    reason = '"{}" and "{}" are in different pools, whose coordinates do not compare\n'
    fake.answer(NODES, Answer.of([entry("a", segment="x"), entry("b", segment="y")]))
    fake.answer(
        DATACENTERS, Answer.of([area("dc1", entry("a")), area("dc2", entry("a"), area_id="other")])
    )

    assert gossip("rtt", "a", "b") == (1, "", reason.format("a", "b"))
    assert gossip("rtt", "-wan", "a.dc1", "a.dc2") == (1, "", reason.format("a.dc1", "a.dc2"))


def test_nodes_of_several_segments_are_compared_in_a_common_one(
    fake: FakeAgent, gossip: Any
) -> None:
    fake.answer(NODES, Answer.of([entry("a"), entry("a", segment="x"), entry("b", 1, "x")]))

    assert gossip("rtt", "a", "b").out.startswith("Estimated a <-> b rtt: 1000.020 ms")


def test_an_agent_without_a_wan_pool_says_so(fake: FakeAgent, gossip: Any) -> None:
    fake.answer(DATACENTERS, Answer.of([area("dc1", entry("a"), area_id="lan")]))

    code, _, err = gossip("rtt", "-wan", "a.dc1", "b.dc1")

    assert code == 1
    assert err == ('Could not find a coordinate for node "a.dc1": the agent is in no WAN pool\n')


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        ([], "one or two node names must be specified"),
        (["a", "b", "c"], "one or two node names must be specified"),
        (["-wan", "a", "b.dc1"], "with -wan, node names are <node name>.<datacenter>"),
    ],
)
def test_mistakes_are_explained_without_asking(
    fake: FakeAgent, gossip: Any, argv: list[str], text: str
) -> None:
    assert gossip("rtt", *argv) == (1, "", f"{text}\nsee gossip rtt -help\n")
    assert fake.requests == []


def test_coordinates_that_are_off_are_an_error(fake: FakeAgent, gossip: Any) -> None:
    fake.answer(NODES, Answer(401, b"Coordinate support disabled"))

    code, _, err = gossip("rtt", "a", "b")

    assert code == 1
    assert err == (
        "Error getting coordinates: Unexpected response code: 401 (Coordinate support disabled)\n"
    )


@pytest.mark.parametrize(
    "answer",
    [
        [{"Node": "a"}],
        [{"Node": "a", "Coord": None}],
        [entry("a", Vec="x")],
        [entry("a", Error="x")],
        [entry("a", Vec=[0] * 7)],
        [entry("a", Height=1e308)],
        [entry("a", Vec=[float("nan")] * 8)],
    ],
    ids=str,
)
def test_an_answer_that_is_no_coordinates_is_an_error(
    fake: FakeAgent, gossip: Any, answer: Any
) -> None:
    fake.answer(NODES, Answer.of(answer))

    code, out, err = gossip("rtt", "a", "a")

    assert (code, out) == (1, "")
    assert err.startswith(f"Error getting coordinates: the answer of http://{fake.address} ")


def test_it_loads_neither_asyncio_nor_the_wires_codec(fake: FakeAgent) -> None:
    fake.answer(NODES, Answer.of([entry("a"), entry("b")]))
    program = (
        "import sys; from agent.cli import main; code = main(['rtt', 'a', 'b']); "
        "print('\\n'.join(sys.modules), file=sys.stderr); sys.exit(code)"
    )

    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment(fake.address),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert result.returncode == 0, result.stderr
    imported = set(result.stderr.split())
    assert "gossip.serf.coordinates" in imported
    assert not imported & {"asyncio", "msgpack", "aiohttp", "cryptography", "gossip.wire.codec"}
