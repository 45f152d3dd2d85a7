"""Who may be in which pool."""

from __future__ import annotations

from typing import Any

import pytest

from agent.merge import (
    MIN_PURGE,
    NodeIds,
    has_wan_name,
    lan_problem,
    wan_address,
    wan_problem,
)
from agent.version import BUILD
from gossip.events import Member, MemberStatus

CLIENT = {"role": "node", "dc": "dc1"}
SERVER = {"role": "consul", "dc": "dc1", "port": "8300"}
LAN_SERVER = SERVER | {"wan_join_port": "8302"}
OURS, THEIRS = "0" * 35 + "1", "0" * 35 + "2"


def member(name: str, tags: dict[str, str], status: MemberStatus = MemberStatus.ALIVE) -> Member:
    return Member(name, "10.0.0.1", 8301, tags, status, 1, 5, 2, 2, 5, 4)


# The LAN pool


@pytest.mark.parametrize(
    ("name", "tags", "problem"),
    [
        ("x", {}, None),
        ("x", {"role": "web"}, None),
        ("x", CLIENT, None),
        ("x", CLIENT | {"segment": ""}, None),
        ("x", SERVER, None),
        ("x", LAN_SERVER, None),
        ("x.dc1", CLIENT, None),
        ("x.dc1", LAN_SERVER, None),
        ("x.dc2", SERVER, None),
        ("x", {"role": "web", "dc": "dc2"}, "Member 'x' part of wrong datacenter 'dc2'"),
        ("x", CLIENT | {"dc": "dc2"}, "Member 'x' part of wrong datacenter 'dc2'"),
        ("x.dc2", SERVER | {"dc": "dc2"}, "Member 'x.dc2' part of wrong datacenter 'dc2'"),
        ("x", SERVER | {"dc": ""}, "Member 'x' part of wrong datacenter ''"),
        ("x", {"segment": "a"}, "Member 'x' part of wrong segment 'a' (expected '')"),
        (
            "x.dc1",
            SERVER,
            "Member 'x.dc1' is a server of a WAN pool, and this is the LAN pool of datacenter 'dc1'",
        ),
    ],
)
def test_r24_the_lan_pool_is_one_datacenter(
    name: str, tags: dict[str, str], problem: str | None
) -> None:
    assert lan_problem(member(name, tags), "dc1") == problem


def test_a_strict_lan_pool_refuses_plain_serf_nodes() -> None:
    plain = member("x", {"role": "web"})
    assert lan_problem(plain, "dc1") is None
    assert lan_problem(plain, "dc1", strict=True) == "Member 'x' part of wrong datacenter ''"
    assert lan_problem(member("y", CLIENT), "dc1", strict=True) is None


# The WAN pool


@pytest.mark.parametrize(
    ("name", "tags", "problem"),
    [
        ("x.dc1", SERVER, None),
        ("x.dc2", SERVER | {"dc": "dc2", "expect": "3"}, None),
        ("x.dc1", {}, "Member 'x.dc1' is not a server"),
        ("x.dc1", CLIENT, "Member 'x.dc1' is not a server"),
        ("x.dc1", SERVER | {"port": "many"}, "Member 'x.dc1' is not a server"),
        ("x.dc1", SERVER | {"port": "\u0663"}, "Member 'x.dc1' is not a server"),
        ("x.dc1", SERVER | {"port": "9" * 5000}, "Member 'x.dc1' is not a server"),
        ("x.dc1", SERVER | {"expect": "some"}, "Member 'x.dc1' is not a server"),
        (
            "x",
            SERVER,
            "Member 'x' is a server of the LAN pool of datacenter 'dc1', and this is a WAN pool",
        ),
        (
            "x.dc1",
            LAN_SERVER,
            "Member 'x.dc1' is a server of the LAN pool of datacenter 'dc1', and this is a WAN pool",
        ),
    ],
)
def test_r24_the_wan_pool_is_servers_of_datacenters(
    name: str, tags: dict[str, str], problem: str | None
) -> None:
    assert wan_problem(member(name, tags)) == problem


@pytest.mark.parametrize("dc", ["dc1", "dc2"])
@pytest.mark.parametrize("name", ["x", "x.dc1", "x.dc1.dc1", "x.dc2"])
@pytest.mark.parametrize("tags", [SERVER, LAN_SERVER])
def test_r24_no_server_fits_into_both_pools(dc: str, name: str, tags: dict[str, str]) -> None:
    server = member(name, tags | {"dc": dc})
    assert lan_problem(server, "dc1") or wan_problem(server)
    assert has_wan_name(server) is (wan_problem(server) is None)


def test_the_address_in_the_wan_pool_comes_from_the_tags() -> None:
    assert wan_address(member("x", LAN_SERVER)) == "10.0.0.1:8302"
    for port in ("0", "-1", "65536", "x", ""):
        assert wan_address(member("x", LAN_SERVER | {"wan_join_port": port})) is None
    assert wan_address(member("x", CLIENT | {"wan_join_port": "8302"})) is None


# Node IDs


class Index:
    """Node IDs over a pool that a test fills."""

    def __init__(self) -> None:
        self.pool: dict[str, Member] = {}
        self.ids = NodeIds("me", OURS, self.pool.get)

    def add(self, name: str, node_id: str, build: str = "1.8.7:b4adfb24") -> str | None:
        """Let a member in if it may; gives the problem."""
        newcomer = holder(name, node_id, build=build)
        problem = self.ids.admit([newcomer])
        if problem is None:
            self.pool[name] = newcomer
        return problem


def holder(
    name: str,
    node_id: str,
    status: MemberStatus = MemberStatus.ALIVE,
    build: str = "1.8.7:b4adfb24",
) -> Member:
    return member(name, CLIENT | {"build": build, "id": node_id}, status)


def test_our_own_node_id_under_another_name_is_a_conflict() -> None:
    index = Index()
    assert index.add("x", OURS) == (
        f"Member 'x' has conflicting node ID '{OURS}' with this agent's ID"
    )
    assert index.add("old", OURS, build="0.7.0:rev") is not None
    assert index.add("me", OURS) is None
    assert index.ids.admit([holder("x", OURS, MemberStatus.LEFT)]) is None


def test_a_node_id_of_another_member_is_a_conflict() -> None:
    index = Index()
    assert index.add("a", THEIRS) is None
    conflict = f"Member 'b' has conflicting node ID '{THEIRS}' with member 'a'"
    assert index.add("b", THEIRS) == conflict
    assert index.add("a", THEIRS, build="1.9.0:rev") is None, "an update is no conflict with itself"
    assert index.add("b", THEIRS) == conflict


def test_two_newcomers_of_one_merge_conflict_although_nobody_holds_their_id() -> None:
    index = Index()
    both = [holder("a", THEIRS), holder("b", THEIRS)]
    assert index.ids.admit(both) == (
        f"Member 'b' has conflicting node ID '{THEIRS}' with member 'a'"
    )
    assert index.add("b", THEIRS) is None, "nothing of a refused merge is remembered"


def test_who_left_conflicts_with_nobody() -> None:
    index = Index()
    left = holder("a", THEIRS, MemberStatus.LEFT)
    assert index.ids.admit([left, holder("b", THEIRS)]) is None
    assert index.ids.admit([holder("b", THEIRS), left]) is None


@pytest.mark.parametrize("status", [MemberStatus.LEFT, MemberStatus.FAILED, MemberStatus.LEAVING])
def test_a_renamed_node_comes_back_when_the_former_is_gone(status: MemberStatus) -> None:
    index = Index()
    index.add("a", THEIRS)
    index.pool["a"] = holder("a", THEIRS, status)
    assert index.add("b", THEIRS) is None
    assert index.add("c", THEIRS) is not None


def test_a_node_id_that_its_holder_gave_up_is_free() -> None:
    index = Index()
    index.add("a", THEIRS)
    index.add("a", "0" * 35 + "3")
    assert index.add("b", THEIRS) is None


@pytest.mark.parametrize(
    ("build", "counts"),
    [
        ("0.8.4:rev", False),
        ("0.8.5:rev", True),
        ("v1.22.0:rev", True),
        ("1.8.7+ent:rev", True),
        ("", False),
        ("new", False),
        (f"{'9' * 5000}.1.1:rev", False),
        (BUILD, True),
    ],
)
def test_two_others_conflict_when_their_versions_have_node_ids_of_their_own(
    build: str, counts: bool
) -> None:
    index = Index()
    assert index.add("a", THEIRS, build=build) is None
    assert (index.add("b", THEIRS, build=build) is not None) is counts


def test_members_without_a_node_id_do_not_conflict() -> None:
    index = Index()
    assert index.add("a", "") is None
    assert index.add("b", "") is None


def test_s13_the_index_does_not_outgrow_the_pool() -> None:
    index = Index()
    for number in range(40):
        index.add(f"stays-{number}", f"id-{number}")
    for number in range(100, 2000):
        index.add("changes", f"id-{number}")
        index.add(f"gone-{number}", f"gone-{number}")
        del index.pool[f"gone-{number}"]
    assert len(index.ids) <= max(MIN_PURGE, 2 * len(index.pool)) + 1
    for number in range(40):
        assert index.add("another", f"id-{number}") is not None


def test_admitting_costs_the_same_in_a_large_pool() -> None:
    looked_up: list[str] = []
    pool: dict[str, Member] = {}

    def find(name: str) -> Any:
        looked_up.append(name)
        return pool.get(name)

    ids = NodeIds("me", OURS, find)
    for number in range(5000):
        pool[f"n{number}"] = holder(f"n{number}", f"id-{number}")
        assert ids.admit([pool[f"n{number}"]]) is None
    assert len(looked_up) < 4 * 5000
