"""gossip services and gossip maint"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.fake_agent import Answer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.fake_agent import FakeAgent

REGISTER = "/v1/agent/service/register"
DEREGISTER = "/v1/agent/service/deregister/"


def write(path: Path, content: Any) -> str:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def test_a_service_is_registered_from_flags(fake: FakeAgent, gossip: Any) -> None:
    fake.answer(REGISTER, Answer())
    argv = [
        "-name=web",
        "-id=web1",
        "-port=80",
        "-tag=a",
        "-tag=b",
        "-meta=k=v=w",
        "-address=10.0.0.1",
    ]
    assert gossip("services", "register", *argv) == (0, "Registered service: web\n", "")
    (request,) = fake.requests
    assert request.method == "PUT"
    assert json.loads(request.body) == {
        "id": "web1",
        "name": "web",
        "address": "10.0.0.1",
        "port": 80,
        "tags": ["a", "b"],
        "meta": {"k": "v=w"},
    }


def test_tagged_addresses_are_registered_from_flags(fake: FakeAgent, gossip: Any) -> None:
    fake.answer(REGISTER, Answer())
    argv = ["-name=web", "-tagged-address=lan=10.0.0.1:80", "-tagged-address=wan=[2001:db8::1]:81"]
    assert gossip("services", "register", *argv).code == 0
    (request,) = fake.requests
    assert json.loads(request.body)["tagged_addresses"] == {
        "lan": {"address": "10.0.0.1", "port": 80},
        "wan": {"address": "2001:db8::1", "port": 81},
    }


def test_services_are_registered_from_files_in_their_order(
    fake: FakeAgent, gossip: Any, tmp_path: Path
) -> None:
    check = {"ttl": "1s"}
    one = write(tmp_path / "1.json", {"services": [{"name": "f1"}, {"Name": "f2", "check": check}]})
    two = write(tmp_path / "2.json", {"service": {"name": "f3"}})
    fake.answer(REGISTER, Answer(), Answer(), Answer())
    code, out, err = gossip("services", "register", one, two)
    lines = "".join(f"Registered service: f{number}\n" for number in (1, 2, 3))
    assert (code, out, err) == (0, lines, "")
    assert json.loads(fake.requests[1].body) == {"name": "f2", "check": check}


def test_services_are_deregistered_by_id_or_by_files(
    fake: FakeAgent, gossip: Any, tmp_path: Path
) -> None:
    file = write(tmp_path / "1.json", {"services": [{"name": "f1"}, {"name": "f2", "id": "i/2"}]})
    for path in ("cli", "f1", "i%2F2"):
        fake.answer(DEREGISTER + path, Answer())
    assert gossip("services", "deregister", "-id=cli").out == "Deregistered service: cli\n"
    out = gossip("services", "deregister", file).out
    assert out == "Deregistered service: f1\nDeregistered service: i/2\n"


def test_the_json_form_names_what_was_done(fake: FakeAgent, gossip: Any) -> None:
    fake.answer(REGISTER, Answer())
    code, out, _ = gossip("services", "register", "-name=web", "-format=json")
    assert (code, json.loads(out)) == (0, {"Registered": ["web"]})


@pytest.mark.parametrize(
    ("argv", "error"),
    [
        ([], "expects register or deregister"),
        (["foo"], "expects register or deregister"),
        (["register"], "Service registration requires at least one argument or flags."),
        (["register", "-id=x"], "Service registration requires at least one argument or flags."),
        (
            ["register", "-name=x", "f.json"],
            "Service registration requires arguments or -id, not both.",
        ),
        (["register", "-name=x", "-meta=k"], "flag -meta: expects key=value"),
        (["register", "-name=x", "-tagged-address=lan"], "flag -tagged-address: expects key=value"),
        (
            ["register", "-name=x", "-tagged-address=lan=10.0.0.1"],
            "flag -tagged-address: expects key=address:port",
        ),
        (["register", "-name=x", "-port=http"], 'flag -port: invalid number "http"'),
        (["register", "/nonexistent.json"], "cannot read /nonexistent.json: No such file"),
        (["deregister"], "Service deregistration requires at least one argument or -id."),
        (
            ["deregister", "-id=x", "f.json"],
            "Service deregistration requires arguments or -id, not both.",
        ),
    ],
)
def test_a_command_line_that_asks_for_nothing_or_too_much_fails(
    fake: FakeAgent, gossip: Any, argv: list[str], error: str
) -> None:
    code, out, err = gossip("services", *argv)
    assert (code, out, fake.requests) == (1, "", [])
    assert err.startswith(error)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("{", "is not JSON"),
        ([], "has other keys than service and services, or none"),
        ({}, "has other keys than service and services, or none"),
        ({"name": "f4"}, "has other keys than service and services, or none"),
        ({"service": 1}, "a service is not an object"),
        ({"services": [{"port": 1}]}, "a service has no name"),
    ],
)
def test_a_file_that_defines_no_services_is_named(
    fake: FakeAgent, gossip: Any, tmp_path: Path, content: Any, error: str
) -> None:
    file = write(tmp_path / "f.json", content)
    for action in ("register", "deregister"):
        code, out, err = gossip("services", action, file)
        assert (code, out, fake.requests) == (1, "", [])
        assert file in err
        assert error in err


def test_what_the_agent_refuses_is_told_with_the_service(fake: FakeAgent, gossip: Any) -> None:
    fake.answer(REGISTER, Answer(400, b"Invalid service address"))
    code, _, err = gossip("services", "register", "-name=web")
    assert code == 1
    assert err == (
        'Error registering service "web": Unexpected response code: 400 (Invalid service address)\n'
    )


# maint


@pytest.mark.parametrize(
    ("argv", "path", "query"),
    [
        (
            ["-enable", "-reason=new disk"],
            "/v1/agent/maintenance",
            {"enable": "true", "reason": "new disk"},
        ),
        (
            ["-disable"],
            "/v1/agent/maintenance",
            {"enable": "false"},
        ),
        (
            ["-enable", "-service=web1"],
            "/v1/agent/service/maintenance/web1",
            {"enable": "true", "reason": ""},
        ),
        (
            ["-disable", "-service=web1"],
            "/v1/agent/service/maintenance/web1",
            {"enable": "false"},
        ),
    ],
)
def test_maintenance_begins_and_ends(
    fake: FakeAgent, gossip: Any, argv: list[str], path: str, query: dict[str, str]
) -> None:
    fake.answer(path, Answer())
    what, of = ("Service", ' for "web1"') if "service" in path else ("Node", "")
    state = "enabled" if "-enable" in argv else "disabled"
    assert gossip("maint", *argv) == (0, f"{what} maintenance is now {state}{of}\n", "")
    (request,) = fake.requests
    assert request.method == "PUT"
    assert {key: request.query.get(key, "") for key in query} == query


def test_what_is_out_of_service_is_shown_with_the_reason(fake: FakeAgent, gossip: Any) -> None:
    checks = {
        "_service_maintenance:redis": {"ServiceID": "redis", "Notes": "why\x1b[2J"},
        "_node_maintenance": {"Node": "one", "Notes": "disk"},
        "mem": {"Node": "one", "Notes": "x"},
    }
    fake.answer("/v1/agent/checks", Answer.of(checks), Answer.of(checks), Answer.of({}))
    assert gossip("maint").out == (
        "Node:\n  Name:   one\n  Reason: disk\n\n"
        "Service:\n  ID:     redis\n  Reason: why\\x1b[2J\n\n"
    )
    assert json.loads(gossip("maint", "-format=json").out) == {
        "Node": "disk",
        "Services": {"redis": "why\x1b[2J"},
    }
    assert gossip("maint") == (0, "", "")


@pytest.mark.parametrize(
    ("argv", "error"),
    [
        (["-enable", "-disable"], "Only one of -enable or -disable may be provided\n"),
        (["-reason=x"], "Reason may only be provided with -enable\n"),
        (["-service=x"], "Service requires either -enable or -disable\n"),
    ],
)
def test_a_maintenance_that_contradicts_itself_fails_in_consuls_words(
    fake: FakeAgent, gossip: Any, argv: list[str], error: str
) -> None:
    assert gossip("maint", *argv) == (1, "", error)
    assert fake.requests == []


def test_an_unknown_service_is_told_in_the_agents_words(fake: FakeAgent, gossip: Any) -> None:
    text = b'No service registered with ID "nope"'
    fake.answer("/v1/agent/service/maintenance/nope", Answer(404, text))
    assert gossip("maint", "-enable", "-service=nope").err == (
        "Error enabling service maintenance: "
        'Unexpected response code: 404 (No service registered with ID "nope")\n'
    )
