"""Our services and checks beside genuine Consul's: the same requests, the same state, and its command line."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from simulations.local.http import request
from simulations.local.wait import eventually
from tests.helpers_agent import running
from tests.helpers_processes import output_of

if TYPE_CHECKING:
    from pathlib import Path

    from simulations.local.http import Response
    from simulations.peers import ConsulAgent
    from tests.helpers_agent import TestAgent

pytestmark = pytest.mark.interop

OURSELVES = "same"
"""Name of both agents."""
TTL = {"TTL": "1h"}


def step(path: str, body: Any = None) -> tuple[str, Any]:
    return f"/v1/agent/{path}", body


WEB = {"ID": "web1", "Name": "web", "Tags": ["a", "b"], "Port": 80, "Check": TTL}
API = {
    "Name": "api",
    "Address": "10.0.0.1",
    "Meta": {"k": "v"},
    "TaggedAddresses": {"lan": {"Address": "10.0.0.2", "Port": 5}},
    "Weights": {"Passing": 3, "Warning": 2},
    "EnableTagOverride": True,
    "Checks": [
        {"TTL": "1h", "Status": "passing"},
        {"HTTP": "http://x/", "Interval": "1h", "CheckID": "mine", "Name": "n", "Notes": "o"},
        {"TCP": "x:1", "Interval": "1h"},
        {"Args": ["true"], "Interval": "1h"},
    ],
}
STEPS = [
    step("service/register", WEB),
    step("service/register", API),
    step("check/register", {"Name": "mem", "Notes": "n"} | TTL),
    step("check/register", {"ID": "i", "Name": "of web", "ServiceID": "web1"} | TTL),
    step("check/pass/service:web1?note=hello"),
    step("check/warn/i?note=%C3%A4"),
    step("check/fail/mem"),
    step("check/update/mem", {"Status": "warning", "Output": "y" * 5000}),
    step("check/update/mem", {"Status": "passing"}),
    step("check/update/mem", {"Status": "bad"}),
    step("check/update/mem", {"Status": ""}),
    step("check/update/nope", {"Status": "passing"}),
    step("check/pass/nope"),
    step("check/pass/mine"),
    step("check/pass/"),
    step("service/register", WEB | {"Port": 81}),
    # With the same tags: Consul's checks keep those that the service had when they were registered.
    step("service/register", {"Name": "web", "ID": "web1", "Tags": ["a", "b"]}),
    step("service/register?replace-existing-checks", WEB),
    step("service/register", {}),
    step("service/register", {"Name": "x", "Address": "0.0.0.0"}),
    step("service/register", {"Name": "x", "Check": {"Interval": "1s"}}),
    step("service/register", {"Name": "x", "Check": {"TTL": "1s", "Status": "bad"}}),
    step("service/register", {"Name": "x", "Checks": [TTL, {"HTTP": "http://x"}]}),
    step("service/register", {"Name": "x", "Weights": {"Passing": -1}}),
    step("service/register", {"Name": "x", "Weights": {"Passing": 1, "Warning": 65536}}),
    step("service/register", {"Name": "x", "Meta": {"a b": "c"}}),
    step("service/register", {"Name": "x", "Meta": {"": "c"}}),
    step("service/register", {"Name": "x", "Meta": {"consul-k": "c"}}),
    step("service/register", {"Name": "x", "Meta": {f"k{n}": "" for n in range(65)}}),
    step(
        "service/register", {"Name": "no-check", "Check": {"TTL": "0s", "HTTP": "", "Args": None}}
    ),
    step("service/register", {"Name": "no-check", "Check": None, "Checks": None, "Tags": None}),
    step("service/deregister/no-check"),
    step("check/register", {"Name": "number", "TTL": 1.5e10}),
    step("check/deregister/number"),
    step("check/register", {}),
    step("check/register", {"Name": "x"}),
    step("check/register", {"Name": "x", "Interval": "1s"}),
    step("check/register", {"Name": "x", "HTTP": "http://x"}),
    step("check/register", {"Name": "x", "TTL": "-1s"}),
    step("check/register", {"Name": "x", "Status": "bad"} | TTL),
    step("check/register", {"Name": "x", "ServiceID": "nope"} | TTL),
    step("maintenance"),
    step("maintenance?enable="),
    step("maintenance?enable=x"),
    step("maintenance?enable=true&reason=why"),
    step("maintenance?enable=1&reason=other"),
    step("service/maintenance/?enable=true"),
    step("service/maintenance/web1"),
    step("service/maintenance/nope?enable=true"),
    step("service/maintenance/web1?enable=T"),
    step("maintenance?enable=false"),
    step("check/deregister/"),
    step("check/deregister/nope"),
    step("check/deregister/mem"),
    step("service/deregister/"),
    step("service/deregister/nope"),
    step("service/deregister/web1"),
    step("service/deregister/api"),
]
READS = ("/v1/agent/services", "/v1/agent/checks")


async def ask(address: tuple[str, int], method: str, target: str, body: Any = None) -> Response:
    data = b"" if body is None else json.dumps(body).encode()
    return await request(address, method, target, data, within=10, check=False)


async def both(
    consul: ConsulAgent, ours: TestAgent, method: str, target: str, body: Any = None
) -> tuple[Response, Response]:
    theirs, mine = await asyncio.gather(
        ask(consul.http, method, target, body), ask(("127.0.0.1", ours.port), method, target, body)
    )
    return theirs, mine


def fitness(answer: Response) -> Any:
    """What the status of the answer says, and what the body says about it."""
    told = answer.status, answer.headers.get("X-Consul-Reason")
    if answer.status == 500:
        return *told, answer.body
    rows = answer.json() if isinstance(answer.json(), list) else [answer.json()]
    return *told, [(one["AggregatedStatus"], one["Service"]) for one in rows]


def without_hash(answer: Response) -> tuple[int, Any]:
    """A service, or that there is none; each side has a hash of its own."""
    if answer.status != 200:
        return answer.status, answer.body
    service = answer.json()
    assert service.pop("ContentHash") == answer.headers["X-Consul-ContentHash"]
    return answer.status, [service, keys_in_order(service)]


def keys_in_order(value: Any) -> Any:
    if isinstance(value, dict):
        return [(key, keys_in_order(one)) for key, one in value.items()]
    return None


async def test_the_same_registrations_give_the_same_answers_and_the_same_state(
    start_consul: Any,
) -> None:
    consul: ConsulAgent = await start_consul(
        OURSELVES, server=False, arguments=["-enable-script-checks"]
    )
    async with running(OURSELVES, enable_script_checks=True) as ours:
        for target, body in STEPS:
            theirs, mine = await both(consul, ours, "PUT", target, body)
            assert (mine.status, mine.body) == (theirs.status, theirs.body), (target, body)
            for read in READS:
                theirs, mine = await both(consul, ours, "GET", read)
                assert mine.json() == theirs.json(), (target, body)
                assert keys_in_order(mine.json()) == keys_in_order(theirs.json()), (target, body)
                assert mine.headers["Content-Type"] == theirs.headers["Content-Type"]
            for path in ("id/web1", "id/api", "name/web", "name/nope", "id/", "name/"):
                read = f"/v1/agent/health/service/{path}"
                theirs, mine = await both(consul, ours, "GET", read)
                assert fitness(mine) == fitness(theirs), (target, read)


async def test_checks_that_are_made_say_the_same(start_consul: Any) -> None:
    consul: ConsulAgent = await start_consul(
        OURSELVES, server=False, arguments=["-enable-script-checks"]
    )
    async with running(OURSELVES, enable_script_checks=True) as ours, running("site") as site:
        python = [sys.executable, "-c"]
        url = f"http://127.0.0.1:{site.port}/v1/agent/"
        made: dict[str, dict[str, Any]] = {
            "open": {"TCP": f"127.0.0.1:{site.port}"},
            "closed": {"TCP": "127.0.0.1:1"},
            "good": {"HTTP": f"{url}services"},
            "post": {"HTTP": f"{url}check/register", "Method": "POST", "Body": "{}"},
            "bad": {"HTTP": f"{url}nope"},
            "gone": {"HTTP": "http://127.0.0.1:1/"},
            "zero": {"Args": ["echo", "fine"]},
            "one": {"Args": ["sh", "-c", "echo out; echo err >&2; exit 1"]},
            "two": {"Args": ["sh", "-c", "echo x; exit 2"]},
            "long": {"Args": [*python, "print('x' * 9000 + 'end', end='')"]},
            "slow": {"Args": ["sleep", "60"], "Timeout": "1s"},
        }
        for name, check in made.items():
            body = {"Name": name, "Interval": "1s"} | check
            theirs, mine = await both(consul, ours, "PUT", "/v1/agent/check/register", body)
            assert theirs.status == mine.status == 200, theirs.body
        lapsing = {"Name": "lapsing", "TTL": "1s"}
        await both(consul, ours, "PUT", "/v1/agent/check/register", lapsing)
        await both(consul, ours, "PUT", "/v1/agent/check/warn/lapsing?note=last%20words")

        async def states() -> list[dict[str, tuple[str, str]]]:
            return [
                {key: (check["Status"], check["Output"]) for key, check in answer.json().items()}
                for answer in await both(consul, ours, "GET", "/v1/agent/checks")
            ]

        said: list[dict[str, tuple[str, str]]] = []

        async def agree() -> bool:
            said[:] = theirs, mine = await states()
            outputs = [output for shown in said for _, output in shown.values()]
            return all(output and output != "last words" for output in outputs) and mine == theirs

        # Checks go on being made, so both are asked again where one is ahead of the other.
        await eventually(agree, within=30, what=lambda: f"every check ran on both alike: {said}")


async def test_consuls_command_line_registers_and_maintains_with_ours(
    genuine_consul: str, tmp_path: Path
) -> None:
    file = tmp_path / "web.json"
    file.write_text(json.dumps({"service": {"name": "web", "port": 1, "check": {"ttl": "1h"}}}))
    async with running(OURSELVES) as ours:

        async def cli(*arguments: str) -> str:
            *words, last = arguments
            process = await asyncio.create_subprocess_exec(
                genuine_consul,
                *words,
                f"-http-addr=127.0.0.1:{ours.port}",
                last,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            out = await output_of(process)
            assert process.returncode == 0, out
            return out

        assert await cli("services", "register", str(file)) == "Registered service: web\n"
        (check,) = ours.agent.local.checks
        assert check.definition.ttl == 3600
        out = await cli("maint", "-enable", "-service=web", "-reason=why")
        assert out == 'Service maintenance is now enabled for "web"\n'
        assert "Reason: why" in await cli("maint", "-token=")
        assert await cli("maint", "-disable", "-service=web") == (
            'Service maintenance is now disabled for "web"\n'
        )
        assert await cli("services", "deregister", str(file)) == "Deregistered service: web\n"
        assert not ours.agent.local.services
