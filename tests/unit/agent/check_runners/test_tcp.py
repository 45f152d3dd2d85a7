"""Checks that connect."""

from __future__ import annotations

import asyncio
import socket

import pytest

from agent.check_runners.names import Names
from agent.check_runners.tcp import connect
from agent.store.entries import Status


@pytest.mark.parametrize(
    ("family", "bind", "host"),
    [
        (socket.AF_INET, "127.0.0.1", "127.0.0.1"),
        (socket.AF_INET, "127.0.0.1", "localhost"),
        (socket.AF_INET6, "::1", "[::1]"),
    ],
)
async def test_a_port_that_takes_connections_is_passing(
    family: socket.AddressFamily, bind: str, host: str
) -> None:
    with socket.create_server((bind, 0), family=family) as server:
        target = f"{host}:{server.getsockname()[1]}"
        assert await connect(target, 30, Names()) == (
            Status.PASSING,
            f"TCP connect {target}: Success",
        )


async def test_a_port_that_takes_none_is_critical() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        target = f"127.0.0.1:{taken.getsockname()[1]}"
        assert await connect(target, 30, Names()) == (
            Status.CRITICAL,
            f"dial tcp {target}: connect: connection refused",
        )


async def test_a_name_that_is_none_is_critical() -> None:
    names = Names()
    for host in ("a" * 64, "nonexistent.invalid"):
        status, output = await connect(f"{host}:1", 30, names)
        assert status is Status.CRITICAL
        assert output.startswith(f"dial tcp {host}:1: ")
    names.close()


async def test_a_resolver_that_does_not_answer_costs_the_timeout_and_no_address_waits_for_it() -> (
    None
):
    class Silent(Names):
        async def resolve(self, host: str, port: int, family: int = 0) -> list[tuple[object, ...]]:
            if host == "silent":
                await asyncio.Event().wait()
            return await super().resolve(host, port, family)

    names = Silent()
    assert (await connect("silent:1", 0.05, names)).output == (
        "dial tcp silent:1: no connection within 50ms"
    )
    assert "refused" in (await connect("127.0.0.1:1", 30, names)).output
