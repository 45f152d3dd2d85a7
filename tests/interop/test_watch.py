"""``consul watch`` and ``gossip watch`` beside each other, at a genuine agent and at ours: they tell the same."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from simulations.local.http import request
from simulations.local.wait import eventually
from simulations.peers import find_peer
from tests.helpers_agent import running
from tests.helpers_forward import SERVER
from tests.helpers_processes import output_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.interop

ROOT = Path(__file__).parents[2]
OURS = [sys.executable, "-m", "agent"]
NODE = {
    "Node": "db",
    "Address": "10.0.0.9",
    "NodeMeta": {"rack": "7"},
    "Service": {"Service": "web", "Tags": ["a", "b"], "Port": 80},
    "Checks": [
        {"CheckID": "c", "Name": "c", "Status": "critical", "ServiceID": "web"},
        {"CheckID": "n", "Name": "n", "Status": "passing"},
    ],
}
EXACT = [["-type=nodes"], ["-type=event"], ["-type=event", "-name=deploy"]]
"""Printed byte for byte as Consul prints it, with ASCII in them. Of the others Consul adds to the definition of a check what is
not there, and has some keys in another order; its agents give the tags of all services in any order."""
EQUAL = [
    ["-type=services"],
    ["-type=service", "-service=web"],
    ["-type=service", "-service=web", "-tag=a", "-tag=b"],
    ["-type=service", "-service=web", "-passingonly=true"],
    ["-type=service", "-service=none"],
    ["-type=checks"],
    ["-type=checks", "-state=critical"],
    ["-type=checks", "-service=web"],
]
REFUSED = [
    [],
    ["-type=nope"],
    ["-type=service"],
    ["-type=checks", "-state=any", "-service=web"],
    ["-type=nodes", "-tag=x"],
    ["-type=service", "-service=web", "-passingonly=x"],
    ["-type=nodes", "-nonsense"],
    ["-type=nodes", "exit 3"],
    ["-type=nodes", "-shell=false", "/nonexistent/x"],
]


@pytest.fixture(params=["genuine", "ours"])
async def address(request: pytest.FixtureRequest, start_consul: Any) -> AsyncIterator[str]:
    """Of the agent that both command lines ask: it has a leader and a catalog."""
    async with contextlib.AsyncExitStack() as stack:
        if request.param == "genuine":
            server = await start_consul("server")
            await server.elected()
            yield "{}:{}".format(*server.http)
        else:
            agent = await stack.enter_async_context(running("lead", bootstrap=True, **SERVER))
            yield f"127.0.0.1:{agent.port}"


def host_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


async def put(address: str, path: str, body: Any = None) -> Any:
    data = json.dumps(body).encode() if body is not None else b""
    answer = await request(host_port(address), "PUT", path, body=data)
    assert answer.status == 200, answer.body
    return answer


async def start(program: list[str], address: str, *argv: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *program,
        "watch",
        *argv,
        cwd=ROOT,
        env=os.environ | {"CONSUL_HTTP_ADDR": address},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def run(program: list[str], address: str, *argv: str) -> tuple[int | None, str]:
    """Exit code and output of a watch without a handler."""
    process = await start(program, address, *argv)
    out = await output_of(process)
    return process.returncode, out


def said(value: Any) -> Any:
    """A JSON value without what the definitions of checks do not say, and texts in order."""
    if isinstance(value, list):
        texts = all(isinstance(one, str) for one in value)
        return sorted(value) if texts else [said(one) for one in value]
    if not isinstance(value, dict):
        return value
    kept = {key: said(one) for key, one in value.items()}
    if isinstance(definition := kept.get("Definition"), dict):
        kept["Definition"] = {k: v for k, v in definition.items() if v and v != "0s"}
    return kept


async def test_both_print_the_same(address: str) -> None:
    consul = [find_peer("consul")]
    await put(address, "/v1/catalog/register", NODE)
    for name, payload in (("deploy", "v1"), ("other", None), ("deploy", "\u00fc")):
        await put(address, f"/v1/event/fire/{name}", payload)

    async def fired() -> bool:
        return (await run(OURS, address, "-type=event"))[1].count('"ID"') == 3

    async def told() -> bool:
        nodes = (await request(host_port(address), "GET", "/v1/catalog/nodes")).json()
        return all(node["TaggedAddresses"] for node in nodes if node["Node"] != NODE["Node"])

    await eventually(fired, within=10, what="three events", every=0.1)
    await eventually(told, within=20, what="the agent has told the catalog of its node", every=0.1)
    for argv in EXACT:
        ours, theirs = await asyncio.gather(*(run(one, address, *argv) for one in (OURS, consul)))
        assert ours == theirs
        assert ours[0] == 0
    for argv in EQUAL:
        ours, theirs = await asyncio.gather(*(run(one, address, *argv) for one in (OURS, consul)))
        assert (ours[0], said(json.loads(ours[1]))) == (theirs[0], said(json.loads(theirs[1])))


@pytest.mark.parametrize("address", ["genuine"], indirect=True)
async def test_both_refuse_the_same(address: str) -> None:
    consul = [find_peer("consul")]
    for argv in REFUSED:
        ours, theirs = await asyncio.gather(*(run(one, address, *argv) for one in (OURS, consul)))
        assert ours[0] == theirs[0] == 1, argv


async def test_handlers_of_both_are_told_the_same(address: str, tmp_path: Path) -> None:
    files = {"ours": tmp_path / "ours", "theirs": tmp_path / "theirs"}
    programs = {"ours": OURS, "theirs": [find_peer("consul")]}
    processes = [
        await start(
            programs[who],
            address,
            "-type=event",
            f"(cat | tr -d '\\n'; echo \" $CONSUL_INDEX\") >>{file}",
        )
        for who, file in files.items()
    ]

    async def told(count: int) -> None:
        def both() -> bool:
            texts = [file.read_text() if file.exists() else "" for file in files.values()]
            return all(text.count("\n") == count for text in texts)

        await eventually(both, within=20, what=f"{count} lists", every=0.05)

    try:
        for number in range(5):
            await told(number + 1)
            await put(address, f"/v1/event/fire/e{number}", number)
        await told(6)
    finally:
        for process in processes:
            if process.returncode is None:
                process.terminate()
            await process.communicate()
    lines = [file.read_text().splitlines() for file in files.values()]
    assert lines[0] == lines[1]
    assert lines[0][0] == "[] 1"
    assert all(process.returncode == 0 for process in processes)
