"""Who can be asked on behalf of a datacenter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from agent.servers import Server, Servers, server_of
from gossip.events import Member, MemberStatus

if TYPE_CHECKING:
    from gossip.aio import Cluster

ALIVE = MemberStatus.ALIVE
TAGS = {"role": "consul", "dc": "dc1", "port": "8300", "gapi": "1"}


class FakeCluster:
    """A list of members and its version."""

    def __init__(self, *members: Member) -> None:
        self.members_version = 1
        self.reads = 0
        self._members = list(members)

    def members(self) -> list[Member]:
        self.reads += 1
        return self._members

    def add(self, member: Member) -> None:
        self._members.append(member)
        self.members_version += 1


def member(name: str, ip: str = "10.0.0.1", status: MemberStatus = ALIVE, **tags: str) -> Member:
    return Member(name, ip, 8301, TAGS | tags, status, 1, 5, 2, 2, 5, 4)


def servers(lan: FakeCluster, wan: FakeCluster | None = None) -> Servers:
    return Servers(cast("Cluster", lan), cast("Cluster | None", wan), "dc1")


def names(found: list[Server]) -> list[str]:
    return [server.name for server in found]


def test_a_server_is_known_by_its_role_and_port() -> None:
    assert server_of(member("a", bootstrap="1")) == Server(
        "a", "dc1", ("10.0.0.1", 8300), ours=True, bootstrap=True
    )


@pytest.mark.parametrize(
    "tags",
    [
        {"role": "node"},
        {"port": ""},
        {"port": "0"},
        {"port": "-1"},
        {"port": "65536"},
        {"port": "8300 "},
        {"port": "٨"},
        {"port": "9" * 5000},
        {"expect": "many"},
    ],
)
def test_what_lacks_one_of_them_is_none(tags: dict[str, str]) -> None:
    assert server_of(member("a", "10.0.0.1", ALIVE, **tags)) is None


@pytest.mark.parametrize(
    ("value", "ours"), [("1", True), ("2", True), ("0", False), ("", False), ("x", False)]
)
def test_our_servers_announce_the_newest_version_they_understand(value: str, ours: bool) -> None:
    found = server_of(member("a", gapi=value))
    assert found is not None
    assert found.ours is ours


def test_our_datacenter_is_found_in_the_lan_pool_and_others_in_the_wan_pool() -> None:
    lan = FakeCluster(member("a"), member("client", role="node"), member("x", dc="dc2"))
    wan = FakeCluster(member("a.dc1"), member("b.dc2", dc="dc2"), member("c.dc3", dc="dc3"))
    found = servers(lan, wan)
    assert names(found.of("dc1")) == ["a"]
    assert names(found.of("dc2")) == ["b.dc2"]
    assert found.of("dc4") == []
    assert found.cluster_of("dc1") is cast("Any", lan)
    assert found.cluster_of("dc2") is cast("Any", wan)


def test_without_a_wan_pool_there_is_our_datacenter_only() -> None:
    found = servers(FakeCluster(member("a"), member("x", dc="dc2")))
    assert found.of("dc2") == []


@pytest.mark.parametrize("status", [s for s in MemberStatus if s is not ALIVE])
def test_only_alive_servers_are_asked(status: MemberStatus) -> None:
    assert servers(FakeCluster(member("a", status=status))).of("dc1") == []


def test_agents_of_our_datacenter_and_servers_of_all_forward_to_us() -> None:
    lan = FakeCluster(
        member("a", "10.0.0.1"),
        member("client", "10.0.0.2", role="node"),
        member("leaving", "10.0.0.3", MemberStatus.LEAVING, role="node"),
        member("failed", "10.0.0.4", MemberStatus.FAILED),
        member("serf", "10.0.0.5", role="web"),
        member("foreign", "10.0.0.6", dc="dc2"),
    )
    wan = FakeCluster(member("b.dc2", "10.2.0.1", dc="dc2"), member("n", "10.2.0.2", role="node"))
    found = servers(lan, wan)
    for last in range(1, 7):
        assert bool(found.clusters_with(f"10.0.0.{last}")) is (last <= 3)
    assert found.clusters_with("10.2.0.1") == [cast("Any", wan)]
    assert found.clusters_with("10.2.0.2") == []


def test_tags_are_read_again_only_after_a_change() -> None:
    lan = FakeCluster(member("a"))
    found = servers(lan)
    for _ in range(3):
        assert names(found.of("dc1")) == ["a"]
    assert lan.reads == 1
    lan.add(member("b"))
    assert names(found.of("dc1")) == ["a", "b"]
    assert lan.reads == 2
