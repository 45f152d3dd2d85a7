"""The other commands, and what all commands share: addresses, tokens, errors, help."""

from __future__ import annotations

import base64
import json
import os
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from agent.cli import COMMANDS
from agent.client import ApiError, Client
from tests.cli.fake_agent import Answer, FakeAgent, member

if TYPE_CHECKING:
    from pathlib import Path

REFUSED = (
    "1 error occurred:\n\t* Failed to join 127.0.0.1: dial tcp 127.0.0.1:9: connection refused\n\n"
)


def test_join_counts_the_addresses_that_worked(fake: FakeAgent, gossip: Any) -> None:
    fake.answer("/v1/agent/join/127.0.0.1%3A9", Answer(500, REFUSED.encode()))
    code, out, err = gossip("join", "127.0.0.1:9", "[::1]:8301", "node/host")
    assert (code, out) == (0, "Successfully joined cluster by contacting 2 nodes.\n")
    assert err.startswith(
        "Error joining address '127.0.0.1:9': Unexpected response code: 500 (1 error occurred:\n"
    )
    assert "* Failed to join 127.0.0.1" in err
    assert [(r.method, r.path) for r in fake.requests[1:]] == [
        ("PUT", "/v1/agent/join/%5B%3A%3A1%5D%3A8301"),
        ("PUT", "/v1/agent/join/node%2Fhost"),
    ]


def test_join_fails_when_no_address_worked(fake: FakeAgent, gossip: Any) -> None:
    fake.answer("/v1/agent/join/a", Answer(500, b"no"), Answer(500, b"no"))
    code, out, err = gossip("join", "a")
    assert (code, out) == (1, "")
    assert err.endswith("\nFailed to join any nodes.\n")
    code, out, err = gossip("join", "a", "-format=json")
    assert (code, out) == (1, "")
    assert json.loads(err) == {
        "Error": "Failed to join any nodes.",
        "Errors": {"a": "Unexpected response code: 500 (no)"},
    }


def test_join_in_json_tells_what_worked_and_what_did_not(fake: FakeAgent, gossip: Any) -> None:
    fake.answer("/v1/agent/join/a", Answer(500, b"no"))
    code, out, err = gossip("join", "-wan", "a", "b", "-format=json")
    assert (code, err) == (0, "")
    assert json.loads(out)["Joined"] == 1
    assert list(json.loads(out)["Errors"]) == ["a"]
    assert all(request.query == {"wan": "1"} for request in fake.requests)


def test_join_needs_an_address(fake: FakeAgent, gossip: Any) -> None:
    code, _, err = gossip("join")
    assert code == 1
    assert err.startswith("at least one address to join must be specified\n")


@pytest.mark.parametrize(
    ("argv", "query"),
    [([], {}), (["-prune"], {"prune": "1"}), (["-wan", "-prune"], {"prune": "1", "wan": "1"})],
)
def test_force_leave_puts_and_says_nothing(
    fake: FakeAgent, gossip: Any, argv: list[str], query: dict[str, str]
) -> None:
    assert gossip("force-leave", "web/7", *argv) == (0, "", "")
    (request,) = fake.requests
    assert (request.method, request.path) == ("PUT", "/v1/agent/force-leave/web%2F7")
    assert request.query == query


@pytest.mark.parametrize("argv", [[], ["a", "b"]])
def test_force_leave_takes_one_name(fake: FakeAgent, gossip: Any, argv: list[str]) -> None:
    code, _, err = gossip("force-leave", *argv)
    assert code == 1
    assert err.startswith("a single node name must be specified")


def test_R19_what_the_agent_says_about_a_refuted_force_leave_is_shown(  # noqa: N802 - a rule's name
    fake: FakeAgent, gossip: Any
) -> None:
    fake.answer("/v1/agent/force-leave/web", Answer(body=b"web is alive and refuted it"))
    assert gossip("force-leave", "web") == (0, "", "web is alive and refuted it\n")


def test_leave_waits_for_the_agent(fake: FakeAgent, gossip: Any) -> None:
    assert gossip("leave") == (0, "Graceful leave complete\n", "")
    assert [(r.method, r.path) for r in fake.requests] == [("PUT", "/v1/agent/leave")]
    assert json.loads(gossip("leave", "-format=json").out) == {"Left": True}


def test_leave_fails_when_the_connection_breaks_and_the_agent_is_still_there(
    fake: FakeAgent, gossip: Any
) -> None:
    fake.answer("/v1/agent/leave", Answer(drop=True))
    code, out, err = gossip("leave")
    assert (code, out) == (1, "")
    assert "closed the connection" in err


def test_leave_succeeds_when_the_agent_is_gone_before_its_answer(gossip: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def vanish() -> None:
            connection, _ = listener.accept()
            connection.recv(65536)
            listener.close()
            connection.close()

        thread = threading.Thread(target=vanish)
        thread.start()
        result = gossip("leave", f"-http-addr=127.0.0.1:{port}")
        thread.join(10)
    assert result == (0, "Graceful leave complete\n", "")


def test_info_shows_sections_and_keys_sorted(fake: FakeAgent, gossip: Any) -> None:
    fake.stats = {"serf_lan": {"members": "2", "failed": "0"}, "agent": {"checks": "0", "a": ""}}
    assert gossip("info") == (
        0,
        "agent:\n\ta = \n\tchecks = 0\nserf_lan:\n\tfailed = 0\n\tmembers = 2\n",
        "",
    )
    assert json.loads(gossip("info", "-format=json").out) == fake.stats


@pytest.mark.parametrize("value", [None, [], {}, {"Stats": None}, {"Stats": {"a": 1}}])
def test_info_needs_stats(fake: FakeAgent, gossip: Any, value: Any) -> None:
    fake.answer("/v1/agent/self", Answer.of(value))
    code, _, err = gossip("info")
    assert code == 1
    assert "has no Stats" in err


def test_keygen_makes_a_new_key_of_32_bytes_each_time(gossip: Any) -> None:
    first = gossip("keygen").out.removesuffix("\n")
    second = json.loads(gossip("keygen", "-format=json").out)["Key"]
    assert first != second
    assert {len(base64.b64decode(key, validate=True)) for key in (first, second)} == {32}


def test_version_names_version_and_protocols(gossip: Any) -> None:
    expected = "gossip-agent v0.1.0\nProtocol 2 spoken by default, understands 2 to 3\n"
    assert gossip("version") == gossip("--version") == (0, expected, "")
    assert json.loads(gossip("version", "-format=json").out)["Version"] == "0.1.0"


def test_reload_asks_the_agent(fake: FakeAgent, gossip: Any) -> None:
    assert gossip("reload") == (0, "Configuration reload triggered\n", "")
    assert [(r.method, r.path) for r in fake.requests] == [("PUT", "/v1/agent/reload")]
    assert json.loads(gossip("reload", "-format=json").out) == {
        "Reloaded": True,
        "RestartNeeded": [],
    }


def test_a_reload_names_what_needs_a_restart(fake: FakeAgent, gossip: Any) -> None:
    headers = {"X-Restart-Needed": "datacenter, ports.http"}
    for _ in range(2):
        fake.answer("/v1/agent/reload", Answer(headers=headers))

    assert gossip("reload").out.splitlines() == [
        "Configuration reload triggered",
        "Restart needed: datacenter",
        "Restart needed: ports.http",
    ]
    shown = json.loads(gossip("reload", "-format=json").out)
    assert shown["RestartNeeded"] == ["datacenter", "ports.http"]


def test_a_reload_that_fails_shows_every_mistake(fake: FakeAgent, gossip: Any) -> None:
    fake.answer("/v1/agent/reload", Answer(500, b"unknown key x\nunknown key y"))

    code, out, err = gossip("reload")

    assert (code, out) == (1, "")
    assert "unknown key x" in err
    assert "unknown key y" in err


# --- What all commands share ---


HTTP_COMMANDS = [
    ["members"],
    ["events"],
    ["info"],
    ["leave"],
    ["reload"],
    ["force-leave", "x"],
    ["event", "x"],
    ["monitor"],
]


@pytest.mark.parametrize("argv", HTTP_COMMANDS, ids=lambda argv: argv[0])
def test_no_agent_is_one_line_that_names_the_address(gossip: Any, argv: list[str]) -> None:
    code, out, err = gossip(*argv, "-http-addr=127.0.0.1:1")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "cannot connect to http://127.0.0.1:1: connection refused" in err


@pytest.mark.parametrize("argv", [*HTTP_COMMANDS, ["join", "x"]], ids=lambda argv: argv[0])
def test_errors_in_json_are_an_object_with_the_key_error(gossip: Any, argv: list[str]) -> None:
    code, out, err = gossip(*argv, "-http-addr=127.0.0.1:1", "-format=json")
    assert (code, out) == (1, "")
    assert json.loads(err)["Error"]


@pytest.mark.parametrize("argv", [*HTTP_COMMANDS, ["join", "x"]], ids=lambda argv: argv[0])
def test_the_token_goes_into_a_header_and_not_into_the_address(
    fake: FakeAgent, gossip: Any, monkeypatch: pytest.MonkeyPatch, argv: list[str]
) -> None:
    gossip(*argv)
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", "from-env")
    gossip(*argv)
    gossip(*argv, "-token=from-flag")
    assert [request.token for request in fake.requests] == [None, "from-env", "from-flag"]
    assert not any("from" in request.path + str(request.query) for request in fake.requests)


def test_a_token_is_read_from_a_file(
    fake: FakeAgent, gossip: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("kept\n")
    gossip("members", f"-token-file={tmp_path / 'token'}")
    monkeypatch.setenv("CONSUL_HTTP_TOKEN_FILE", str(tmp_path / "token"))
    gossip("members")
    assert [request.token for request in fake.requests] == ["kept", "kept"]
    code, _, err = gossip("members", "-token-file=/nonexistent/token")
    assert (code, err) == (
        1,
        "cannot read the token file /nonexistent/token: No such file or directory\n",
    )


@pytest.mark.parametrize("token", ["a\r\nX-Evil: 1", "\u00fc", "a b"])
def test_a_token_that_is_no_header_value_is_refused_unseen(
    fake: FakeAgent, gossip: Any, token: str
) -> None:
    code, _, err = gossip("members", "-token", token)
    assert code == 1
    assert "the token has characters that a header cannot carry" in err
    assert token not in err
    assert fake.requests == []


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("", "http://127.0.0.1:8500"),
        ("10.0.0.1", "http://10.0.0.1:8500"),
        ("host:1234", "http://host:1234"),
        (":1234", "http://localhost:1234"),
        ("http://:1234", "http://localhost:1234"),
        ("http://host:1234", "http://host:1234"),
        ("http://host:1234/", "http://host:1234"),
        ("http://host", "http://host:80"),
        ("::1", "http://[::1]:8500"),
        ("[::1]:1234", "http://[::1]:1234"),
        ("unix:///run/g.sock", "unix:///run/g.sock"),
    ],
)
def test_addresses_are_understood(given: str, shown: str) -> None:
    assert Client(given).address == shown


@pytest.mark.parametrize(
    "given",
    ["https://host", "ftp://host", "host:port", "host:70000", "http://", "http://h/p", "unix://",
     "http://u:p@host", "http://h?x=1", "[::1", "unix://a\0b", ":", ":port"],
)  # fmt: skip
def test_addresses_that_mean_nothing_are_refused(given: str) -> None:
    with pytest.raises(ApiError, match="address"):
        Client(given)


@pytest.mark.parametrize("argv", [("leave",), ("reload",), ("join", "a"), ("members",)])
def test_a_web_page_is_no_agents_answer(
    fake: FakeAgent, gossip: Any, argv: tuple[str, ...]
) -> None:
    page = Answer(200, b"<html>hello</html>", {"Content-Type": "text/html; charset=utf-8"})
    for path in ("/v1/agent/leave", "/v1/agent/reload", "/v1/agent/join/a", "/v1/agent/members"):
        fake.answer(path, page)
    found = gossip(*argv)
    assert found.code == 1
    assert "answers with a web page and is no agent" in found.err


def test_the_flag_wins_over_the_environment(
    fake: FakeAgent, gossip: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.members = [member("a")]
    monkeypatch.setenv("CONSUL_HTTP_ADDR", "127.0.0.1:1")
    assert gossip("members", f"-http-addr=http://{fake.address}").code == 0
    assert gossip("members").code == 1


def test_a_unix_socket_works(fake: FakeAgent, gossip: Any, tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnull")

        thread = threading.Thread(target=serve)
        thread.start()
        assert gossip("members", f"-http-addr=unix://{path}") == (2, "", "")
        thread.join(10)
    assert "cannot connect to unix://" in gossip("members", "-http-addr=unix:///nonexistent").err


def test_an_answer_cut_short_is_an_error(gossip: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for answer in (
                b"HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n[",
                b"\x00garbage\r\n\r\n",
            ):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        for _ in range(2):
            code, out, err = gossip("members", f"-http-addr={address}")
            assert (code, out) == (1, "")
            assert f"lost the connection to http://{address}" in err
        thread.join(10)


def test_an_agent_that_does_not_answer_is_given_up_on() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = Client(f"127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(ApiError, match=r"no answer from http://.* within 0\.05 seconds"):
            client.get("/v1/agent/self", timeout=0.05)


def test_what_the_agent_says_cannot_steer_the_terminal(fake: FakeAgent, gossip: Any) -> None:
    fake.answer("/v1/agent/members", Answer(500, b"\x1b]0;owned\x07" + b"x" * 100_000))
    err = gossip("members").err
    assert "\x1b" not in err
    assert len(err) < 10_000


@pytest.mark.parametrize("name", sorted(COMMANDS))
@pytest.mark.parametrize("flag", ["-h", "-help", "--help"])
def test_every_command_has_help_with_examples(gossip: Any, name: str, flag: str) -> None:
    code, out, err = gossip(name, flag)
    assert (code, err) == (0, "")
    assert out.startswith(f"Usage: gossip {name}")
    assert "\nExamples\n" in out
    assert "    $ " in out
    assert max(map(len, out.splitlines())) <= 90
    assert gossip("help", name).out == out


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_knows_both_forms_of_output(gossip: Any, name: str) -> None:
    assert "-format=<form>" in gossip(name, "-h").out
    code, _, err = gossip(name, "-format=yaml")
    assert code == 1
    assert 'flag -format: "yaml" is not text or json' in err


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_refuses_unknown_flags_with_1(gossip: Any, name: str) -> None:
    code, out, err = gossip(name, "-formt=json")
    assert (code, out) == (1, "")
    assert 'unknown flag -formt (value "json"); did you mean -format?' in err
    assert f"see gossip {name} -help" in err


@pytest.mark.parametrize(
    "name", ["events", "info", "keygen", "leave", "members", "reload", "version"]
)
def test_stray_arguments_are_refused(fake: FakeAgent, gossip: Any, name: str) -> None:
    code, out, err = gossip(name, "stray")
    assert (code, out) == (1, "")
    assert err.startswith("unexpected arguments: stray\n")
    assert fake.requests == []


def test_usage_errors_in_json_are_listed_one_by_one(gossip: Any) -> None:
    code, out, err = gossip("members", "-format=json", "-a", "-b")
    assert (code, out) == (1, "")
    assert json.loads(err) == {
        "Error": "unknown flag -a\nunknown flag -b",
        "Errors": ["unknown flag -a", "unknown flag -b"],
    }


@pytest.mark.parametrize("argv", [["-h"], ["--help"], ["help"], ["help", "nonsense"]])
def test_help_lists_the_commands(gossip: Any, argv: list[str]) -> None:
    code, out, _ = gossip(*argv)
    assert code == 0
    assert all(f"  {name}" in out for name in COMMANDS)


def test_no_command_is_127_with_the_list(gossip: Any) -> None:
    code, out, err = gossip()
    assert (code, out) == (127, "")
    assert "Usage: gossip <command>" in err


def test_an_unknown_command_is_127_with_the_nearest_one(gossip: Any) -> None:
    assert gossip("membres") == (
        127,
        "",
        'there is no command membres; did you mean "members"?\n',
    )
    assert "Error" in json.loads(gossip("xyzzy", "-format=json").err)


def test_an_unknown_command_that_is_near_to_none_is_127_with_where_they_are(gossip: Any) -> None:
    assert gossip("xyzzy").err == "there is no command xyzzy; `gossip -help` lists them\n"


def test_the_obsolete_rpc_address_is_ignored(fake: FakeAgent, gossip: Any) -> None:
    fake.members = [member("a")]
    assert gossip("members", "-rpc-addr=127.0.0.1:8400").code == 0
    assert "rpc-addr" not in gossip("members", "-h").out


def test_an_interrupt_ends_a_command_with_130(
    fake: FakeAgent, gossip: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Client, "request", interrupt)
    assert gossip("members") == (130, "", "")
    assert gossip("events", "-follow") == (0, "", "")
    assert gossip("members", "-watch") == (0, "", "")


def test_the_environment_is_only_read(gossip: Any) -> None:
    before = dict(os.environ)
    gossip("members", "-http-addr=127.0.0.1:1")
    assert dict(os.environ) == before
