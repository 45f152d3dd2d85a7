"""/v1/agent/service and /v1/agent/check"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from agent.decode import Body
from agent.definitions import check_definition, service_definition
from agent.http.checks import MAX_BODY, MAX_UPDATE
from tests.helpers_agent import Answer, TestAgent, eventually, running
from tests.helpers_processes import is_alive
from tests.http.test_reload import reload

if TYPE_CHECKING:
    from pathlib import Path

OK = (200, "")
TTL = {"TTL": "1h"}
SCRIPT = {"Args": ["sh", "-c", "echo hi; exit 1"], "Interval": "1s"}
REMOTE = "192.0.2.1"


async def put(agent: TestAgent, path: str, body: Any = None) -> tuple[int, str]:
    answer = await agent.put(
        f"/v1/agent/{path}", None if body is None else json.dumps(body).encode()
    )
    return answer.status, answer.text


async def checks(agent: TestAgent) -> Any:
    return (await agent.get("/v1/agent/checks")).json


async def status(agent: TestAgent, check_id: str) -> tuple[str, str]:
    check = (await checks(agent))[check_id]
    return check["Status"], check["Output"]


# What is shown


async def test_an_agent_has_neither_services_nor_checks_at_first(one: TestAgent) -> None:
    for path in ("services", "checks"):
        answer = await one.get(f"/v1/agent/{path}")
        assert (answer.status, answer.text) == (200, "{}")
        assert "x-consul-index" not in answer.headers


async def test_services_and_checks_are_shown_as_consul_shows_them(one: TestAgent) -> None:
    body = {"ID": "web1", "Name": "web", "Tags": ["a"], "Port": 80, "Check": TTL}
    assert await put(one, "service/register", body) == OK
    tagged = {"lan": {"Address": "10.0.0.1", "Port": 1}}
    assert await put(one, "service/register", {"Name": "api", "TaggedAddresses": tagged}) == OK
    services = (await one.get("/v1/agent/services")).json
    assert list(services) == ["api", "web1"]
    assert services["web1"] == {
        "ID": "web1",
        "Service": "web",
        "Tags": ["a"],
        "Meta": {},
        "Port": 80,
        "Address": "",
        "Weights": {"Passing": 1, "Warning": 1},
        "EnableTagOverride": False,
    }
    assert services["api"]["TaggedAddresses"] == tagged
    assert await checks(one) == {
        "service:web1": {
            "Node": "one",
            "CheckID": "service:web1",
            "Name": "Service 'web' check",
            "Status": "critical",
            "Notes": "",
            "Output": "",
            "ServiceID": "web1",
            "ServiceName": "web",
            "ServiceTags": ["a"],
            "Type": "ttl",
            "Definition": {},
            "CreateIndex": 0,
            "ModifyIndex": 0,
        }
    }


async def test_how_checks_are_made_is_shown_nowhere() -> None:
    async with running(enable_script_checks=True) as agent:
        secret = "s3cr3t-value"
        body = {
            "Name": "web",
            "Token": secret,
            "Checks": [
                {
                    "HTTP": f"http://u:{secret}@127.0.0.1:1/",
                    "Header": {"X": [secret]},
                    "Body": secret,
                    "Interval": "1s",
                },
                {"Args": ["true", secret], "Interval": "1s"},
            ],
        }
        answer = await agent.put(
            "/v1/agent/service/register", json.dumps(body).encode(), **{"X-Consul-Token": secret}
        )
        assert answer.status == 200

        async def ran() -> bool:
            return (await status(agent, "service:web:1"))[1] != ""

        await eventually(ran)
        for path in ("checks", "services", "self"):
            assert secret not in (await agent.get(f"/v1/agent/{path}")).text
        assert secret not in repr(list(agent.agent.local.checks))
        assert secret not in repr(agent.agent.local.services)


@pytest.mark.parametrize("count", [0, 1, 300])
async def test_few_and_many_are_shown_alike_also_when_they_are_to_be_pretty(count: int) -> None:
    names = sorted(f's"{number}ä' for number in range(count))
    defined = tuple(service_definition(Body({"name": n, "check": {"ttl": "1h"}})) for n in names)
    async with running(services=defined) as one:
        for path, keys in (("services", names), ("checks", [f"service:{name}" for name in names])):
            plain, pretty = (
                await one.get(f"/v1/agent/{path}"),
                await one.get(f"/v1/agent/{path}?pretty"),
            )
            assert list(plain.json) == keys
            assert plain.text == json.dumps(plain.json, ensure_ascii=False, separators=(",", ":"))
            assert pretty.text == json.dumps(plain.json, ensure_ascii=False, indent=4) + "\n"


async def test_a_reason_that_is_no_text_becomes_text(one: TestAgent) -> None:
    assert await put(one, "maintenance?enable=true&reason=a%ffb") == OK
    assert (await checks(one))["_node_maintenance"]["Notes"] == "a\ufffdb"


async def test_filter_expressions_are_refused_rather_than_ignored(one: TestAgent) -> None:
    for path in ("checks", "services"):
        assert (await one.get(f"/v1/agent/{path}?filter=x")).status == 400


async def test_counts_are_in_the_statistics(one: TestAgent) -> None:
    await put(one, "service/register", {"Name": "web", "Check": TTL})
    stats = (await one.get("/v1/agent/self")).json["Stats"]
    assert (stats["agent"]["services"], stats["agent"]["check_ttls"]) == ("1", "1")
    assert stats["checks"]["pending_changes"] == "2"
    assert all(isinstance(value, str) for value in stats["checks"].values())


# Register and deregister


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("service/register", {}, (400, "Missing service name")),
        ("service/register", {"Name": "x", "Address": "::"}, (400, "Invalid service address")),
        (
            "service/register",
            {"Name": "x", "Check": TTL | {"Status": "bad"}},
            (400, "Status for checks must 'passing', 'warning', 'critical'"),
        ),
        (
            "service/register",
            {"Name": 1},
            (400, "Request decode failed: Name is not a string"),
        ),
        (
            "service/register?replace-existing-checks=maybe",
            {"Name": "x"},
            (400, "Invalid value for replace-existing-checks: 'maybe' is not true or false"),
        ),
        ("check/register", {}, (400, "Missing check name")),
        (
            "check/register",
            {"Name": "x"},
            (400, "Invalid check: TTL must be > 0 for TTL checks"),
        ),
        ("check/register", {"Name": "x", "Status": "?"} | TTL, (400, "Bad check status")),
        (
            "check/register",
            {"Name": "x", "ServiceID": "nope"} | TTL,
            (500, 'ServiceID "nope" does not exist'),
        ),
        ("check/deregister/", None, (500, "CheckID missing")),
        ("check/deregister/nope", None, OK),
        ("service/deregister/", None, (500, "ServiceID missing")),
        ("service/deregister/nope", None, OK),
        ("check/pass/nope", None, (500, 'CheckID "nope" does not have associated TTL')),
        ("check/update/nope", {"Status": "up"}, (400, "Invalid check status: 'up'")),
        (
            "check/update/nope",
            {"Status": "passing"},
            (500, 'CheckID "nope" does not have associated TTL'),
        ),
        ("maintenance", None, (400, "Missing value for enable")),
        ("maintenance?enable=", None, (400, 'Invalid value for enable: ""')),
        ("maintenance?enable=x", None, (400, 'Invalid value for enable: "x"')),
        ("service/maintenance/?enable=1", None, (400, "Missing service ID")),
        ("service/maintenance/nope", None, (400, "Missing value for enable")),
        (
            "service/maintenance/nope?enable=1",
            None,
            (404, 'No service registered with ID "nope"'),
        ),
    ],
)
async def test_answers_are_consuls(
    one: TestAgent, path: str, body: Any, expected: tuple[int, str]
) -> None:
    assert await put(one, path, body) == expected
    assert await checks(one) == {}


async def test_what_is_no_json_or_too_much_is_refused(one: TestAgent) -> None:
    for path, most in (
        ("service/register", MAX_BODY),
        ("check/register", MAX_BODY),
        ("check/update/x", MAX_UPDATE),
    ):
        for data in (b"", b"{", b"[]"):
            answer = await one.put(f"/v1/agent/{path}", data)
            assert answer.status == 400
            assert answer.text.startswith("Request decode failed: ")
        assert (await one.put(f"/v1/agent/{path}", b" " * (most + 1))).status == 413


async def test_ids_may_be_anything_that_fits_a_path(one: TestAgent) -> None:
    assert await put(one, "service/register", {"ID": "a/b ä", "Name": "web", "Check": TTL}) == OK
    assert await put(one, "check/pass/service:a%2Fb%20%C3%A4?note=fine") == OK
    assert await status(one, "service:a/b ä") == ("passing", "fine")
    assert await put(one, "service/deregister/a/b%20%C3%A4") == OK
    assert await checks(one) == {}


async def test_the_gets_of_consuls_first_api_do_the_same(one: TestAgent) -> None:
    await put(one, "check/register", {"Name": "mem"} | TTL)
    for verb, expected in (("pass", "passing"), ("warn", "warning"), ("fail", "critical")):
        for method in ("GET", "PUT", "POST"):
            answer = await one.ask(method, f"/v1/agent/check/{verb}/mem?note={method}")
            assert (answer.status, answer.text) == OK
            assert await status(one, "mem") == (expected, method)
    assert (await one.get("/v1/agent/check/deregister/mem")).status == 200
    assert await checks(one) == {}


async def test_an_update_without_a_note_clears_the_output_and_a_long_one_is_cut(
    one: TestAgent,
) -> None:
    await put(one, "check/register", {"Name": "mem"} | TTL)
    await put(one, "check/pass/mem?note=x")
    await put(one, "check/pass/mem")
    assert await status(one, "mem") == ("passing", "")
    for size in (5000, 400_000):
        update = {"Status": "warning", "Output": "y" * size}
        assert await put(one, "check/update/mem", update) == OK
        assert await status(one, "mem") == (
            "warning",
            "y" * 4096 + f" ... (captured 4096 of {size} bytes)",
        )


async def test_checks_are_replaced_when_that_is_asked_for(one: TestAgent) -> None:
    await put(one, "service/register", {"Name": "web", "Checks": [TTL, TTL]})
    await put(one, "service/register", {"Name": "web", "Check": TTL})
    assert len(await checks(one)) == 3
    await put(one, "service/register?replace-existing-checks", {"Name": "web", "Check": TTL})
    assert list(await checks(one)) == ["service:web"]


async def test_maintenance_of_node_and_service(one: TestAgent) -> None:
    await put(one, "service/register", {"Name": "web"})
    assert await put(one, "maintenance?enable=true&reason=new%20disk") == OK
    assert await put(one, "service/maintenance/web?enable=1") == OK
    shown = await checks(one)
    assert shown["_node_maintenance"]["Notes"] == "new disk"
    assert shown["_service_maintenance:web"]["Type"] == "maintenance"
    assert await put(one, "service/maintenance/web?enable=f") == OK
    assert await put(one, "maintenance?enable=false") == OK
    assert await checks(one) == {}


# Fitness by status codes


async def fitness(agent: TestAgent, path: str) -> tuple[int, str, str]:
    answer = await agent.get(f"/v1/agent/health/service/{path}")
    return answer.status, answer.headers["x-consul-reason"], answer.text


async def test_the_worst_check_of_a_service_and_of_its_node_decides(one: TestAgent) -> None:
    await put(one, "service/register", {"Name": "web", "ID": "w1", "Check": TTL})
    await put(one, "service/register", {"Name": "web", "ID": "w2"})
    await put(one, "check/register", {"Name": "node", "Status": "passing"} | TTL)
    for verb, word, code in (
        ("pass", "passing", 200),
        ("warn", "warning", 429),
        ("fail", "critical", 503),
    ):
        await put(one, f"check/{verb}/service:w1")
        for path in ("id/w1", "name/web"):
            assert await fitness(one, f"{path}?format=text") == (code, word, word)
        shown = (await one.get("/v1/agent/health/service/id/w1")).json
        assert shown["AggregatedStatus"] == word
        assert shown["Service"]["ID"] == "w1"
        assert [check["CheckID"] for check in shown["Checks"]] == ["service:w1", "node"]
        assert await fitness(one, "id/w2?format=text") == (200, "passing", "passing")
    rows = (await one.get("/v1/agent/health/service/name/web")).json
    assert [(row["Service"]["ID"], row["AggregatedStatus"]) for row in rows] == [
        ("w1", "critical"),
        ("w2", "passing"),
    ]
    await put(one, "maintenance?enable=true")
    assert (await fitness(one, "id/w2"))[:2] == (503, "maintenance")


async def test_an_unknown_service_is_not_fit(one: TestAgent) -> None:
    nothing = '{"AggregatedStatus":"critical","Service":null,"Checks":null}'
    assert await fitness(one, "id/n%C3%A4") == (404, "ServiceId n? not found", nothing)
    assert await fitness(one, "name/nope") == (404, "ServiceName nope Not Found", "[]")
    assert (await fitness(one, "name/nope?format=text"))[2] == "ServiceName nope Not Found"
    for path, text in (("id/", "Missing serviceID"), ("name/", "Missing service Name")):
        answer = await one.get(f"/v1/agent/health/service/{path}")
        assert (answer.status, answer.text) == (500, f"Bad request: {text}")


# Scripts


async def test_scripts_are_off_until_they_are_turned_on(one: TestAgent) -> None:
    text = (
        "Scripts are disabled on this agent from remote calls;"
        " to enable, configure 'enable_script_checks' to true"
    )
    assert await put(one, "check/register", {"Name": "x"} | SCRIPT) == (500, text)
    assert await put(one, "service/register", {"Name": "x", "Check": SCRIPT}) == (500, text)
    assert await checks(one) == {}


async def test_a_script_is_run_and_ends_with_its_check(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    async with running(enable_script_checks=True) as agent:
        await put(agent, "check/register", {"Name": "x"} | SCRIPT)
        endless = ["sh", "-c", f"echo $$ >{pid}; exec sleep 1000"]
        await put(agent, "check/register", {"Name": "y", "Args": endless, "Interval": "1s"})

        async def both() -> bool:
            return await status(agent, "x") == ("warning", "hi\n") and pid.exists()

        await eventually(both)
        await put(agent, "check/deregister/y")
        child = int(await eventually(pid.read_text))
        await eventually(lambda: not is_alive(child))


async def test_scripts_are_never_taken_from_another_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agent.http.app.remote_ip", lambda _request: REMOTE)
    rules = {"allow_write_http_from": (f"{REMOTE}/32",)}
    async with running(enable_script_checks=True, http_config=rules) as agent:
        text = "Scripts are taken from clients on this machine only"
        for body in (SCRIPT, {"Script": "true", "Interval": "1s"}):
            assert await put(agent, "check/register", {"Name": "x"} | body) == (403, text)
            assert await put(agent, "service/register", {"Name": "x", "Check": body}) == (403, text)
        assert await put(agent, "check/register", {"Name": "x"} | TTL) == OK


# Restart and reload


async def test_registrations_and_states_survive_a_restart(tmp_path: Path) -> None:
    async with running(data_dir=str(tmp_path)) as agent:
        await put(agent, "service/register", {"Name": "web", "Tags": ["a"], "Check": TTL})
        await put(agent, "check/pass/service:web?note=hello")
        await put(agent, "maintenance?enable=true")
    async with running(data_dir=str(tmp_path)) as agent:
        assert await status(agent, "service:web") == ("passing", "hello")
        assert "_node_maintenance" in await checks(agent)
        assert list((await agent.get("/v1/agent/services")).json) == ["web"]


async def test_a_reload_takes_over_services_and_checks_and_asks_for_no_restart() -> None:
    web = service_definition(Body({"name": "web", "check": {"ttl": "1h"}}))
    async with running(services=(web,)) as one:
        await put(one, "check/pass/service:web?note=kept")
        moved = service_definition(Body({"name": "web", "port": 1, "check": {"ttl": "1h"}}))
        mem = check_definition(Body({"name": "mem", "ttl": "1h"}))
        assert await reload(one, services=(moved,), checks=(mem,)) == []
        assert (await one.get("/v1/agent/services")).json["web"]["Port"] == 1
        assert await status(one, "service:web") == ("passing", "kept")
        assert await reload(one, services=(), checks=(mem,)) == []
        assert list(await checks(one)) == ["mem"]


# Checks that are made


async def test_checks_over_http_and_tcp_find_the_agent_itself(one: TestAgent) -> None:
    url = f"http://127.0.0.1:{one.port}/v1/status/peers"
    await put(one, "check/register", {"Name": "http", "HTTP": url, "Interval": "1s"})
    target = f"127.0.0.1:{one.port}"
    await put(one, "check/register", {"Name": "tcp", "TCP": target, "Interval": "1s"})

    async def passing() -> bool:
        return {check["Status"] for check in (await checks(one)).values()} == {"passing"}

    await eventually(passing, seconds=30)
    assert await status(one, "http") == ("passing", f"HTTP GET {url}: 200 OK Output: []")
    assert await status(one, "tcp") == ("passing", f"TCP connect {target}: Success")


async def test_many_registrations_at_once_all_count(one: TestAgent) -> None:
    names = [f"s{number}" for number in range(40)]
    answers = await asyncio.gather(
        *(put(one, "service/register", {"Name": name, "Check": TTL}) for name in names)
    )
    assert set(answers) == {OK}
    assert set((await one.get("/v1/agent/services")).json) == set(names)
    assert len(await checks(one)) == 40


# Events


async def listed(agent: TestAgent) -> list[str]:
    answer: Answer = await agent.get("/v1/event/list")
    return [event["Name"] for event in answer.json]


async def test_filters_of_events_select_by_services_and_tags_of_the_receiver(
    one: TestAgent,
) -> None:
    body = {"ID": "id-1", "Name": "web", "Tags": ["v1", "blue"]}
    await put(one, "service/register", body)
    await put(one, "service/register", {"Name": "db", "Tags": ["v2"]})
    wanted = {
        "service=^web$": True,
        "service=id-1": True,
        "service=api": False,
        "service=web&tag=v1": True,
        "service=web&tag=^bl": True,
        "service=web&tag=v2": False,
        "service=.&tag=v2": True,
        "service=.&tag=v3": False,
        "service=(a*)*$": True,
    }
    for number, query in enumerate(wanted):
        answer = await one.put(f"/v1/event/fire/e{number}?{query}")
        assert answer.status == 200
    await one.put("/v1/event/fire/last")
    await eventually(lambda: one.agent.events.recent("last"))
    expected = [f"e{number}" for number, hit in enumerate(wanted.values()) if hit]
    assert await listed(one) == [*expected, "last"]
    await put(one, "service/deregister/id-1")
    await one.put("/v1/event/fire/gone?service=web")
    await one.put("/v1/event/fire/end")
    await eventually(lambda: one.agent.events.recent("end"))
    assert "gone" not in await listed(one)


async def test_a_pattern_that_backtracking_engines_never_finish_holds_nobody_up(
    one: TestAgent,
) -> None:
    await put(one, "service/register", {"Name": "a" * 20_000 + "!"})
    async with asyncio.timeout(10):
        await one.put("/v1/event/fire/slow?service=^(a%2B)%2B$")
        await one.put("/v1/event/fire/end")
        await eventually(lambda: one.agent.events.recent("end"))
    assert await listed(one) == ["end"]
