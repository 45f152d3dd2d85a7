"""What every request passes, whatever its endpoint."""

from __future__ import annotations

import asyncio
import json
import logging
import stat
from typing import TYPE_CHECKING, Any

import pytest

from agent.config import Addresses
from agent.http.access_log import redact
from agent.http.answers import LONG, RENDERED, to_json
from agent.http.app import ROUTES
from agent.http.gate import GateLimits
from agent.http.routing import Call, Methods, Reply, Route, Router, Rows
from agent.http.sending import PIECE
from gossip.errors import GossipError
from tests.helpers_agent import (
    Answer,
    TestAgent,
    eventually,
    parse_answer,
    raw_exchange,
    running,
)

if TYPE_CHECKING:
    from pathlib import Path

SECURITY = {
    "content-security-policy": "default-src 'self'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
}
TEXT = "text/plain; charset=utf-8"
ENDLESS = {"/v1/agent/monitor"}  # has tests of its own
TOLD_BY_STATUS = {  # likewise; what is not there is 404
    "/v1/agent/service/",
    "/v1/agent/health/service/id/",
    "/v1/agent/health/service/name/",
}
READS = [
    f"{route.path}lead"
    if route.path.startswith("/v1/") and route.path.endswith("/")
    else route.path
    for route in ROUTES
    if route.methods is Methods.READ and route.path not in ENDLESS | TOLD_BY_STATUS
]
WRITES = [route.path for route in ROUTES if route.methods is not Methods.READ]


def serve(agent: TestAgent, handler: Any, methods: Methods = Methods.READ) -> None:
    """Give the agent one endpoint, /x."""
    agent.http._router = Router([Route("/x", methods, handler)])


# Answers


async def test_the_root_says_who_answers(one: TestAgent) -> None:
    answer = await one.get("/")
    assert (answer.status, answer.text) == (200, "Consul Agent")


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("/v1/nope", "Invalid URL path: not a recognized HTTP API endpoint"),
        (
            "/nope",
            "Invalid URL path: if attempting to use the HTTP API, ensure the path starts with '/v1/'",
        ),
    ],
)
async def test_unknown_paths(one: TestAgent, target: str, text: str) -> None:
    answer = await one.get(target)
    assert (answer.status, answer.text, answer.headers["content-type"]) == (404, text, TEXT)


@pytest.mark.parametrize(
    "request_line",
    [
        "GET / HTTP/1.1",
        "GET /v1/agent/self HTTP/1.1",
        "GET /v1/nope HTTP/1.1",
        "GET //x HTTP/1.1",
        "GET /%zz HTTP/1.1",
        "GET /a%01 HTTP/1.1",
        "POST /v1/agent/self HTTP/1.1",
        "OPTIONS /v1/agent/self HTTP/1.1",
        "BREW /v1/agent/self HTTP/1.1",
        "CONNECT localhost:80 HTTP/1.1",
        "PUT /v1/event/fire/ HTTP/1.1",
        "no request at all",
        "GET /x HTTP/9.9",
        "GET /" + "x" * 9000 + " HTTP/1.1",
        "\x16\x03\x01",
    ],
)
async def test_every_answer_carries_the_headers_for_browsers_and_a_type(
    one: TestAgent, request_line: str, caplog: pytest.LogCaptureFixture
) -> None:
    request = f"{request_line}\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode("latin-1")
    answer = parse_answer(await raw_exchange(one.port, request))
    assert answer.headers.items() >= SECURITY.items()
    assert "content-type" in answer.headers
    assert "aiohttp" not in answer.headers["server"]
    assert answer.status < 500
    assert not answer.body.endswith(b"\n")
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_json_is_minimal_and_pretty_json_is_indented_by_four(one: TestAgent) -> None:
    minimal = await one.get("/v1/agent/members")
    assert minimal.headers["content-type"] == "application/json"
    assert minimal.text == json.dumps(minimal.json, separators=(",", ":"))
    for query in ("?pretty", "?pretty=", "?pretty=0"):
        pretty = await one.get("/v1/agent/members" + query)
        assert pretty.text == json.dumps(minimal.json, indent=4) + "\n"


async def test_development_mode_is_always_pretty() -> None:
    async with running(dev=True, data_dir="") as agent:
        assert (await agent.get("/v1/status/peers")).text == "[]\n"


async def test_names_that_are_no_utf8_show_the_replacement_character() -> None:
    assert to_json(["a\udcff", "ä"], pretty=False) == '["a\ufffd","ä"]'.encode()


async def test_configured_headers_are_on_every_answer_and_endpoints_win() -> None:
    headers = {
        "Access-Control-Allow-Origin": "*",
        "X-Frame-Options": "SAMEORIGIN",
        "X-Consul-Index": "7",
        "Content-Type": "text/html",
    }
    async with running(http_config={"response_headers": headers}) as agent:
        for target in ("/", "/v1/nope", "/v1/event/list"):
            answer = await agent.get(target)
            assert answer.headers["access-control-allow-origin"] == "*"
            assert answer.headers["x-frame-options"] == "SAMEORIGIN"
        assert answer.headers["x-consul-index"] == "1"
        assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("size", [2 * PIECE - 2, 2 * PIECE - 1, 9 * PIECE + 1])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_long_answers_arrive_whole(one: TestAgent, size: int, method: str) -> None:
    async def long(_call: Call) -> Reply:
        return Reply("x" * size)

    serve(one, long)
    answer = await one.ask(method, "/x")
    assert answer.headers["content-length"] == str(size + 2)
    assert len(answer.body) == (size + 2 if method == "GET" else 0)
    assert answer.headers.items() >= SECURITY.items()


async def test_an_answer_with_a_version_is_rendered_once_for_all(one: TestAgent) -> None:
    made: list[int] = []
    version = 1

    async def versioned(_call: Call) -> Reply:
        def make() -> list[int]:
            made.append(version)
            return [version]

        return Reply(make, version=version)

    serve(one, versioned)
    assert [(await one.get("/x")).json for _ in range(3)] == [[1]] * 3
    assert made == [1]
    assert (await one.get("/x?pretty")).text == "[\n    1\n]\n"
    for version in range(2, RENDERED + 10):
        assert (await one.get("/x")).json == [version]
    assert len(one.http.endpoints.renderer._rendered) == RENDERED


async def test_a_long_list_is_rendered_item_by_item_and_once_for_all_that_wait(
    one: TestAgent,
) -> None:
    made: list[int] = []

    def item(number: int) -> str:
        made.append(number)
        return json.dumps({"n": number})

    async def numbers(call: Call) -> Reply:
        count = int(call.get("count"))
        return Reply(lambda: Rows(range(count), item), version=count)

    serve(one, numbers)
    for count in (0, 1, LONG - 1, LONG, 3 * LONG):
        made.clear()
        answers = await asyncio.gather(*(one.get(f"/x?count={count}") for _ in range(5)))
        expected = [{"n": number} for number in range(count)]
        assert [answer.json for answer in answers] == [expected] * 5
        assert made == list(range(count))
        pretty = await one.get(f"/x?count={count}&pretty")
        assert pretty.body == to_json(expected, pretty=True)


async def test_a_long_list_that_fails_is_tried_again(one: TestAgent) -> None:
    async def failing(_call: Call) -> Reply:
        return Reply(Rows([0] * LONG, lambda number: str(1 // number)), version=1)

    serve(one, failing)
    for _ in range(2):
        assert (await one.get("/x")).status == 500
    assert one.http.endpoints.renderer._rendered == {}


async def test_answers_are_kept_up_to_a_number_of_bytes(
    one: TestAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.http.answers.RENDERED_BYTES", 1000)

    async def sized(call: Call) -> Reply:
        return Reply("x" * int(call.get("size")), version=call.get("size"))

    serve(one, sized)
    renderer = one.http.endpoints.renderer
    for size in (400, 401, 402, 5000, 10):
        await one.get(f"/x?size={size}")
        assert renderer._bytes == sum(map(len, renderer._rendered.values()))  # type: ignore[arg-type]
    assert len(renderer._rendered) == 1


async def test_a_failure_behind_the_handler_is_500_with_its_text(one: TestAgent) -> None:
    async def fail(_call: Call) -> Reply:
        raise GossipError("No known Consul servers")

    serve(one, fail)
    answer = await one.get("/x")
    assert (answer.status, answer.text, answer.headers["content-type"]) == (
        500,
        "No known Consul servers",
        TEXT,
    )


async def test_a_mistake_of_ours_is_logged_and_not_shown(
    one: TestAgent, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(_call: Call) -> Reply:
        raise ValueError("the key is s3cret")

    serve(one, fail)
    answer = await one.get("/x?token=hush")
    assert (answer.status, answer.text) == (500, "Internal error")
    assert "s3cret" in caplog.text
    assert "hush" not in caplog.text


# Methods


@pytest.mark.parametrize("path", [route.path for route in ROUTES])
async def test_methods_an_endpoint_does_not_take_are_405(one: TestAgent, path: str) -> None:
    route = next(route for route in ROUTES if route.path == path)
    allowed = route.methods.allowed(strict=False)
    for method in {"GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "TRACE"} - set(allowed):
        answer = await one.ask(method, path)
        assert answer.status == 405
        assert answer.headers["allow"] == ",".join(("OPTIONS", *allowed))
        assert answer.text == ("" if method == "HEAD" else f"method {method} not allowed")


@pytest.mark.parametrize("path", [route.path for route in ROUTES])
async def test_options_lists_the_methods_and_does_nothing(one: TestAgent, path: str) -> None:
    answer = await one.ask("OPTIONS", path)
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["allow"].startswith("OPTIONS,")
    assert not one.agent.finished.done()


@pytest.mark.parametrize("path", READS)
async def test_head_is_get_without_the_body(leader: TestAgent, path: str) -> None:
    got, head = await leader.get(path), await leader.ask("HEAD", path)
    assert (head.status, head.body) == (200, b"")
    assert {**head.headers, "date": ""} == {**got.headers, "date": ""}


async def test_strict_mode_refuses_the_gets_that_change_state() -> None:
    async with running(strict_http_methods=True) as agent:
        for path in ("/v1/agent/join/127.0.0.1:1", "/v1/agent/force-leave/x"):
            answer = await agent.get(path)
            assert (answer.status, answer.headers["allow"]) == (405, "OPTIONS,PUT")
        answer = await agent.put("/v1/agent/force-leave/x")
        assert (answer.status, answer.text) == (500, "agent: No node found with name 'x'")
        assert (await agent.put("/v1/agent/force-leave/one")).status == 200
        assert (await agent.ask("HEAD", "/v1/agent/self")).status == 405


# Who may ask


@pytest.mark.parametrize("path", [route.path for route in ROUTES])
async def test_h10_no_endpoint_answers_for_a_foreign_host_name(one: TestAgent, path: str) -> None:
    for method in ("GET", "PUT", "OPTIONS"):
        answer = await one.ask(method, path, headers={"Host": f"evil.example:{one.port}"})
        assert answer.status == 421
    assert not one.agent.finished.done()
    assert one.agent.events.recent() == []


async def test_h10_an_absolute_target_names_the_host_too(one: TestAgent) -> None:
    assert (await one.get("http://localhost/v1/status/peers")).json == []
    assert (await one.get("http://evil.example/v1/status/peers")).status == 421


async def test_h10_missing_and_repeated_hosts_are_bad_requests(one: TestAgent) -> None:
    for hosts in ("", "Host: localhost\r\nHost: localhost\r\n"):
        request = f"GET / HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n".encode()
        assert parse_answer(await raw_exchange(one.port, request)).status == 400
    old = parse_answer(await raw_exchange(one.port, b"GET / HTTP/1.0\r\n\r\n"))
    assert (old.status, old.text) == (200, "Consul Agent")


@pytest.mark.parametrize(
    ("version", "asks", "says", "stays"),
    [
        ("1.1", "", "", True),
        ("1.1", "close", "close", False),
        ("1.0", "", "", False),
        ("1.0", "keep-alive", "keep-alive", True),
    ],
)
async def test_an_answer_says_what_its_version_does_not_imply_about_the_connection(
    one: TestAgent, version: str, asks: str, says: str, stays: bool
) -> None:
    connection = f"Connection: {asks}\r\n" if asks else ""
    first = f"GET / HTTP/{version}\r\nHost: localhost\r\n{connection}\r\n".encode()
    last = b"GET /v1/status/peers HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    data = await raw_exchange(one.port, first + (last if stays else b""))  # until it is closed
    head, _, rest = data.partition(b"Consul Agent")
    answer = parse_answer(head + b"Consul Agent")
    assert head.startswith(f"HTTP/{version} 200 OK\r\n".encode())
    assert answer.headers.get("connection", "") == says
    assert answer.headers["date"].endswith(" GMT")
    assert bool(rest) is stays


async def test_h10_configured_host_names_are_answered() -> None:
    async with running(http_config={"allow_hosts": ("agent.example",)}) as agent:
        assert (await agent.get("/", Host="agent.example")).status == 200
        assert (await agent.get("/", Host="other.example")).status == 421


@pytest.mark.parametrize("path", WRITES)
async def test_h10_no_endpoint_changes_state_for_another_site(one: TestAgent, path: str) -> None:
    route = next(route for route in ROUTES if route.path == path)
    target = path + "x" if path.endswith("/") else path
    for method in route.methods.allowed(strict=False):
        for header, value in (("Origin", "https://evil.example"), ("Sec-Fetch-Site", "cross-site")):
            answer = await one.ask(method, target, headers={header: value})
            assert (answer.status, answer.text) == (
                403,
                "Requests of other sites may not change state",
            )
    assert not one.agent.finished.done()
    assert one.agent.events.recent() == []


@pytest.mark.parametrize("path", READS)
async def test_reading_is_open_to_other_sites_whose_browser_keeps_the_answer(
    leader: TestAgent, path: str
) -> None:
    answer = await leader.get(path, Origin="https://evil.example")
    assert answer.status == 200
    assert "access-control-allow-origin" not in answer.headers


async def test_our_own_pages_may_change_state(one: TestAgent) -> None:
    origin = f"http://127.0.0.1:{one.port}"
    headers = {"Origin": origin, "Sec-Fetch-Site": "same-origin"}
    assert (await one.ask("PUT", "/v1/event/fire/x", headers=headers)).status == 200


@pytest.mark.parametrize("path", WRITES)
async def test_no_endpoint_changes_state_for_another_network(
    one: TestAgent, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.http.app.remote_ip", lambda _request: "192.0.2.1")
    answer = await one.put(path + "x" if path.endswith("/") else path)
    assert answer.status == 403
    assert "http_config.allow_write_http_from" in answer.text
    assert (await one.get("/v1/agent/members")).status == 200


async def test_a_listed_network_may_change_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.http.app.remote_ip", lambda _request: "192.0.2.1")
    async with running(http_config={"allow_write_http_from": ("192.0.2.0/24",)}) as agent:
        assert (await agent.put("/v1/event/fire/x")).status == 200


async def test_blocked_endpoints_are_403_for_every_method() -> None:
    async with running(http_config={"block_endpoints": ("/v1/agent", "/v1/event/fire")}) as agent:
        for method, path in (
            ("GET", "/v1/agent/members"),
            ("OPTIONS", "/v1/agent/self"),
            ("PUT", "/v1/event/fire/x"),
            ("PUT", "/v1/event/%66ire/x"),
            ("GET", "/v1/agentx"),
        ):
            answer = await agent.ask(method, path)
            assert (answer.status, answer.text) == (
                403,
                "Endpoint is blocked by agent configuration",
            )
        assert (await agent.get("/v1/event/list")).status == 200
        # No spelling leads around it.
        for path in ("//v1/agent/members", "/v1/event/../agent/members", "/v1/%61gent/members"):
            assert (await agent.get(path)).status in {301, 403}


# Paths


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("//v1/agent/members?a=b", "/v1/agent/members?a=b"),
        ("/v1/agent/%2e%2e/agent/members", "/v1/agent/members"),
        ("/v1/agent/join", "/v1/agent/join/"),
    ],
)
async def test_paths_have_one_spelling(one: TestAgent, target: str, location: str) -> None:
    answer = await one.get(target)
    assert (answer.status, answer.headers["location"], answer.body) == (301, location, b"")


async def test_encoded_letters_are_the_same_path(one: TestAgent) -> None:
    assert (await one.get("/v1/agent/memb%65rs")).json[0]["Name"] == "one"


# Bodies


async def test_a_client_that_asks_first_is_told_to_go_on(one: TestAgent) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
    writer.write(
        b"PUT /v1/event/fire/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n"
        b"Expect: 100-continue\r\nConnection: close\r\n\r\n"
    )
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"ab")
    assert parse_answer(await reader.read()).json["Payload"] == "YWI="
    writer.close()
    await writer.wait_closed()


async def test_a_client_that_asks_first_is_refused_without_its_body() -> None:
    headers = {"Content-Length": "5000", "Expect": "100-continue"}
    async with running(limits=GateLimits(body_timeout=0.1)) as agent:
        answer = await agent.ask("PUT", "/v1/event/fire/x", headers=headers)
    assert answer.status == 413


async def test_a_compressed_body_is_taken_as_it_is(one: TestAgent) -> None:
    body = bytes.fromhex("1f8b0800000000000003ab000083dceff701000000")
    answer = await one.put("/v1/event/fire/x", body, **{"Content-Encoding": "gzip"})
    assert (answer.status, len(answer.json["Payload"])) == (200, 28)


async def test_a_body_nobody_asked_for_does_not_become_a_request(one: TestAgent) -> None:
    inner = b"GET /v1/agent/members HTTP/1.1\r\nHost: localhost\r\n\r\n"
    request = (
        b"GET /v1/status/peers HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        b"Content-Length: %d\r\n\r\n" % len(inner)
    ) + inner
    answer = parse_answer(await raw_exchange(one.port, request))
    assert answer.json == []


@pytest.mark.parametrize("chunks", [b"zz\r\nabc\r\n", b"3\r\nabcdef\r\n", b"-1\r\n"])
async def test_a_broken_chunk_ends_the_connection_without_a_line_in_the_log(
    chunks: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(limits=GateLimits(body_timeout=0.2)) as agent:
        request = (
            b"PUT /v1/event/fire/x HTTP/1.1\r\nHost: localhost\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        answer = parse_answer(await raw_exchange(agent.port, request + chunks))
        assert answer.status in {400, 408}
        assert agent.agent.events.recent() == []
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_client_that_goes_away_in_its_body_leaves_no_line_in_the_log(
    one: TestAgent, caplog: pytest.LogCaptureFixture
) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", one.port)
    writer.write(
        b"PUT /v1/event/fire/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nabc"
    )
    await eventually(lambda: one.http.endpoints.writes)
    writer.close()
    await eventually(lambda: not one.http.endpoints.writes and len(one.http.gate) == 0)
    assert one.agent.events.recent() == []
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_change_is_finished_when_its_client_has_gone(one: TestAgent) -> None:
    go, done = asyncio.Event(), asyncio.Event()

    async def slow(_call: Call) -> Reply:
        await go.wait()
        done.set()
        return Reply()

    serve(one, slow, Methods.UPDATE)
    _, writer = await asyncio.open_connection("127.0.0.1", one.port)
    writer.write(b"PUT /x HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await eventually(lambda: one.http.endpoints.writes)
    writer.close()
    await eventually(lambda: len(one.http.gate) == 0)
    go.set()
    await asyncio.wait_for(done.wait(), 5)


# Secrets in URLs


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ("/v1/agent/self", "/v1/agent/self"),
        ("/v1/agent/self?token=abc", "/v1/agent/self?token=<hidden>"),
        ("/x?a=1&token=abc&b=2", "/x?a=1&token=<hidden>&b=2"),
        ("/x?%74oken=abc", "/x?%74oken=<hidden>"),
        ("/x?token=abc&token=def", "/x?token=<hidden>&token=<hidden>"),
        ("/x?token=", "/x?token="),
        ("/x?%zz=abc", "/x?%zz=abc"),
        ("/x?tokens=abc", "/x?tokens=abc"),
        ("/v1/acl/info/abc", "/v1/acl/info/<hidden>"),
        ("/v1/acl/destroy/abc/def?x", "/v1/acl/destroy/<hidden>?x"),
        ("/v1/acl/list", "/v1/acl/list"),
        ("/v1/acl/clone/", "/v1/acl/clone/"),
    ],
)
def test_the_log_hides_tokens(target: str, shown: str) -> None:
    assert redact(target) == shown


async def test_a_token_in_a_url_is_warned_about_once_and_never_logged(
    one: TestAgent, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for _ in range(3):
        assert (await one.get("/v1/agent/self?token=hush-hush")).status == 200
    assert caplog.text.count("token in the URL") == 1
    assert caplog.text.count('url="/v1/agent/self?token=<hidden>"') == 3
    assert "hush-hush" not in caplog.text


# Listening


async def test_a_unix_socket_is_for_its_owner_and_may_change_state(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    async with running(addresses=Addresses(http=f"unix://{path}")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(
            b"PUT /v1/event/fire/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        answer: Answer = parse_answer(await reader.read())
        assert answer.json["Name"] == "x"
        writer.close()
        await writer.wait_closed()
    assert not path.exists()


async def test_two_addresses_are_both_served() -> None:
    async with running(client_addr="127.0.0.1 127.0.0.2") as agent:
        assert [ip for ip, _ in agent.http.addresses] == ["127.0.0.1", "127.0.0.2"]
        answer = await agent.get("/", Host="127.0.0.2:1")
        assert answer.status == 200
