"""Only the server half of aiohttp is loaded, and the whole is still to be had."""

from __future__ import annotations

import subprocess
import sys

SERVE = """
import asyncio, sys
from tests.helpers_agent import running

async def main():
    async with running() as agent:
        for method, path in (("GET", "/v1/agent/self"), ("PUT", "/v1/event/fire/x"), ("X", "/")):
            assert (await agent.ask(method, path, body=b"x")).status in (200, 400)

asyncio.run(main())
assert "aiohttp" not in sys.modules
assert "aiohttp.client" not in sys.modules
assert "aiohttp.connector" not in sys.modules
"""
CLIENT = """
import aiohttp, aiohttp.web

async def fetch():
    async with running() as agent, aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{agent.port}/v1/status/peers") as answer:
            assert (answer.status, await answer.json()) == (200, [])

asyncio.run(fetch())
assert aiohttp.__version__
assert aiohttp.web.StreamResponse is sys.modules["agent.http._aiohttp"].StreamResponse
"""

FORWARD = """
from tests.helpers_forward import join, server

async def forward():
    async with server("one", "dc1") as one, running("web") as web:
        await join(web, one)
        answer = await web.put("/v1/event/fire/x?dc=dc2")
        assert answer.text == "rpc error making call: No path to datacenter"

asyncio.run(forward())
assert "aiohttp.client" in sys.modules
"""


def run(code: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_serving_loads_no_client() -> None:
    run(SERVE)


def test_the_whole_of_aiohttp_can_be_loaded_later() -> None:
    run(SERVE + CLIENT)


def test_forwarding_loads_the_client_when_it_is_needed() -> None:
    run(SERVE + FORWARD + CLIENT)


def test_the_whole_of_aiohttp_may_be_there_before() -> None:
    run("import aiohttp\n" + SERVE.replace("assert", "0 and") + CLIENT)
