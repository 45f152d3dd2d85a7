"""gossip keyring, query and reachability"""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import pytest

from gossip.wire.keyring import decode_key, encode_key, fingerprint
from tests.cli.fake_agent import Answer, member

if TYPE_CHECKING:
    from tests.cli.fake_agent import FakeAgent

OLD, NEW = encode_key(b"a" * 32), encode_key(b"b" * 32)
PATH, PING = "/v1/operator/keyring", "/v1/agent/query/_serf_ping"


def pool(keys: dict[str, int], nodes: int = 2, **fields: Any) -> dict[str, Any]:
    """The keys of a LAN pool as Consul before 1.11 lists them."""
    shown = {"WAN": False, "Datacenter": "dc1", "Segment": "", "Keys": keys, "NumNodes": nodes}
    return shown | fields


def test_the_list_reads_as_consuls(fake: FakeAgent, gossip: Any) -> None:
    wan = pool({OLD: 1}, 1, WAN=True)
    lan = pool({OLD: 2}, Segment="a", Messages={"n\x1b": "odd\x07"})
    fake.answer(PATH, Answer.of([wan, lan]))

    code, out, err = gossip("keyring", "-list")

    assert (code, err) == (0, "")
    assert out == (
        "==> Gathering installed encryption keys...\n"
        f"\nWAN:\n  {OLD} [1/1]\n"
        f"\ndc1 (LAN) [a]:\n  ===> n\\x1b: odd\\x07\n  {OLD} [2/2]\n"
    )


@pytest.mark.parametrize("argument", [NEW, "-"])
def test_a_key_comes_from_the_argument_or_from_stdin(
    fake: FakeAgent, gossip: Any, monkeypatch: pytest.MonkeyPatch, argument: str
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{NEW}\n"))

    code, out, err = gossip("keyring", "-use", argument, "-relay-factor=2")

    assert (code, out, err) == (0, "==> Changing primary gossip encryption key...\n", "")
    (request,) = fake.requests_for(PATH)
    assert (request.method, request.query) == ("PUT", {"relay-factor": "2"})
    assert json.loads(request.body) == {"Key": NEW}


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        ((), "exactly one of"),
        (("-list", "-rotate"), "exactly one of"),
        (("-list", "x"), "unexpected arguments: x"),
        (("-rotate", "-relay-factor=6"), '"6" is not a whole number from 0 to 5'),
        (("-use=x", "-local-only"), "only -list can be local"),
    ],
)
def test_mistakes_on_the_command_line(
    fake: FakeAgent, gossip: Any, argv: tuple[str, ...], text: str
) -> None:
    code, out, err = gossip("keyring", *argv)
    assert (code, out) == (1, "")
    assert text in err
    assert not fake.requests


def test_a_new_key_that_is_none_is_refused_without_showing_it(fake: FakeAgent, gossip: Any) -> None:
    code, out, err = gossip("keyring", "-rotate", "c2hvcnQ=")
    assert (code, out) == (1, "")
    assert err == "the new key is not base64 of 16, 24 or 32 bytes\n"
    assert not fake.requests


@pytest.mark.parametrize(
    ("after", "problem"),
    [
        (pool({OLD: 2, NEW: 1}), "1/2 nodes do not list the new key"),
        (
            pool({OLD: 2, NEW: 2}, PrimaryKeys={OLD: 1, NEW: 1}),
            "1/2 nodes still encrypt with another key",
        ),
        (pool({OLD: 3, NEW: 3}, 3), "members came or went meanwhile: rotate again"),
    ],
)
def test_r47_the_old_key_stays_while_somebody_has_not_moved(
    fake: FakeAgent, gossip: Any, after: dict[str, Any], problem: str
) -> None:
    # The fake agent answers in order: list, install, use, list.
    fake.answer(PATH, Answer.of([pool({OLD: 2})]), Answer(), Answer(), Answer.of([after]))
    fake.set_members(member("a"), member("b"))

    code, out, err = gossip("keyring", "-rotate", NEW)

    assert code == 1
    assert out.splitlines()[-1] == f"verify   {fingerprint(decode_key(NEW))}  {problem}"
    assert "rotate again" in err
    assert [request.method for request in fake.requests_for(PATH)] == ["GET", "POST", "PUT", "GET"]
    assert OLD not in out + err
    assert NEW not in out + err


def federated(keys: dict[str, int], *failed: str) -> list[dict[str, Any]]:
    """A WAN pool of two and the LAN pools of two datacenters."""
    other = pool(keys, Datacenter="dc2") | ({"FailedNodes": list(failed)} if failed else {})
    return [pool(keys, WAN=True), pool(keys), other]


def test_a_rotation_covers_all_pools_and_says_so(fake: FakeAgent, gossip: Any) -> None:
    both = federated({OLD: 2, NEW: 2})
    # list, install, (failed elsewhere?) list, use, verify in another order, list, remove
    answers = [federated({OLD: 2}), None, both, None, both[::-1], both, None]
    fake.answer(PATH, *(Answer() if pools is None else Answer.of(pools) for pools in answers))
    fake.set_members(member("a"), member("b"))

    code, out, err = gossip("keyring", "-rotate", NEW)

    assert (code, err) == (0, ""), out
    assert out.splitlines()[0] == "pools    WAN, dc1 (LAN), dc2 (LAN)"
    assert [line.split()[0] for line in out.splitlines()[1:]] == [
        "install", "use", "verify", "remove",
    ]  # fmt: skip


def test_r47_a_member_that_failed_in_another_datacenter_keeps_the_old_key(
    fake: FakeAgent, gossip: Any
) -> None:
    answers = Answer.of(federated({OLD: 2})), Answer(), Answer.of(federated({OLD: 2}, "web-7"))
    fake.answer(PATH, *answers)
    fake.set_members(member("a"), member("b"))

    code, out, _ = gossip("keyring", "-rotate", NEW, "-format=json")

    assert code == 1
    result = json.loads(out)
    assert result["Pools"] == ["WAN", "dc1 (LAN)", "dc2 (LAN)"]
    assert [(step["Action"], step["OK"]) for step in result["Steps"]] == [
        ("install", True),
        ("use", False),
    ]
    assert result["Steps"][1]["Problem"].startswith("web-7.dc2 failed and would come back")


def test_r47_members_that_change_places_between_pools_are_noticed(
    fake: FakeAgent, gossip: Any
) -> None:
    before = [pool({OLD: 2, NEW: 2}), pool({OLD: 3, NEW: 3}, 3, Datacenter="dc2")]
    after = [pool({OLD: 3, NEW: 3}, 3), pool({OLD: 2, NEW: 2}, Datacenter="dc2")]
    fake.answer(PATH, Answer.of(before), Answer(), Answer(), Answer.of(after))
    fake.set_members(member("a"), member("b"))

    code, out, _ = gossip("keyring", "-rotate", NEW)

    assert code == 1
    assert out.splitlines()[-1].endswith("members came or went meanwhile: rotate again")


def test_r47_a_refused_install_ends_the_rotation_without_any_key_in_the_output(
    fake: FakeAgent, gossip: Any
) -> None:
    fake.answer(PATH, Answer.of([pool({OLD: 2})]), Answer(500, f"b: no {NEW} {OLD}".encode()))

    code, out, err = gossip("keyring", "-rotate", NEW, "-format=json")

    assert (code, err) == (1, "")
    (step,) = json.loads(out)["Steps"]
    assert (step["Action"], step["OK"]) == ("install", False)
    assert OLD not in out
    assert NEW not in out


def test_a_cluster_without_keys_is_not_rotated(fake: FakeAgent, gossip: Any) -> None:
    fake.answer(PATH, Answer(500, b"1 error occurred:"))
    code, out, err = gossip("keyring", "-rotate")
    assert (code, out) == (1, "")
    assert err.startswith("Error rotating: Unexpected response code: 500")


@pytest.mark.parametrize(
    ("acks", "code", "text"),
    [
        (["a", "b"], 0, "Successfully contacted all live nodes\n"),
        (
            ["a"],
            1,
            "Failed to contact all live nodes! Acks: 1 Live: 2\nMissing: b\n",
        ),
        (
            ["a", "b", "c"],
            1,
            "Received more acks than live nodes! Acks: 3 Live: 2\nNot alive here: c\n",
        ),
    ],
)
def test_reachability_compares_acks_with_live_members(
    fake: FakeAgent, gossip: Any, acks: list[str], code: int, text: str
) -> None:
    fake.set_members(member("a"), member("b"), member("gone", 4))
    replies = [{"Type": "ack", "From": name, "Payload": None} for name in acks]
    fake.answer(PING, Answer.of({"Name": "_serf_ping", "Replies": replies}))

    assert gossip("reachability") == (code, f"Starting reachability test...\n{text}", "")


def test_an_answer_is_shown_without_what_could_steer_a_terminal(
    fake: FakeAgent, gossip: Any
) -> None:
    reply = {"Type": "response", "From": "a", "Payload": "G1sybQo="}
    answer = {"Name": "q", "Replies": [reply], "Truncated": True}
    fake.answer("/v1/agent/query/q", Answer.of(answer))

    code, out, err = gossip("query", "-no-ack", "-tag=role=web", "q", "x")

    assert code == 0
    assert out == "Query 'q' dispatched\nResponse from 'a': \\x1b[2m\nTotal Responses: 1\n"
    assert err == "there were more answers than the agent collects\n"
    (request,) = fake.requests
    assert (request.query, request.body) == ({"tag": "role=web"}, b"x")
