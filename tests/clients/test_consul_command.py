"""Consul's own command line at our agent, beside what it prints at a genuine one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
from typing import TYPE_CHECKING, Any

import pytest

from agent.servers import FORWARD_TAG
from gossip.wire.keyring import encode_key
from simulations.cluster.agent import FAILED, LEFT
from tests.helpers_clients import KEY
from tests.helpers_peers import require

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from simulations.cluster.agent import LocalAgent
    from tests.helpers_clients import Pool

pytestmark = [pytest.mark.interop, pytest.mark.asyncio(loop_scope="module")]

NEW = encode_key(b"b" * 32)
OTHER_BY_NATURE = [
    (rf",{FORWARD_TAG}=1", ""),
    (r"build=[^,]*", "build"),
    (r"(alive|leaving|left|failed)( +\w+ +)(1\.8\.7|0\.1\.0)", r"\1\2build"),
    (r"127\.0\.0\.1:\d+|port=\d+", "port"),
]
"""Versions, ports, and the tag by which our servers know each other."""


@contextlib.asynccontextmanager
async def command(agent: LocalAgent, *argv: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """``consul`` with these arguments, asking this agent; interrupted at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        require("consul"),
        *argv,
        env=os.environ | {"CONSUL_HTTP_ADDR": "{}:{}".format(*agent.http)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(30):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def consul(agent: LocalAgent, *argv: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr."""
    async with command(agent, *argv) as process:
        out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()


async def both(pool: Pool, genuine: Pool, *argv: str) -> list[tuple[int, str, str]]:
    """The same at our server and at the genuine one."""
    return list(await asyncio.gather(*(consul(p.server, *argv) for p in (pool, genuine))))


def essence(result: tuple[int, str, str]) -> tuple[int, list[list[str]], str]:
    """What has to be the same: columns are as wide as the ports and versions in them."""
    code, out, err = result
    for pattern, instead in OTHER_BY_NATURE:
        out = re.sub(pattern, instead, out)
    return code, [line.split() for line in out.splitlines()], err


def without_indexes(value: Any) -> Any:
    if isinstance(value, list):
        return [without_indexes(one) for one in value]
    if isinstance(value, dict):
        own = {"CreateIndex", "ModifyIndex", "LTime"}
        return {key: without_indexes(one) for key, one in value.items() if key not in own}
    return value


@pytest.mark.parametrize(
    "argv",
    [
        ["members"],
        ["members", "-detailed"],
        ["members", "-status=^alive$"],
        ["members", "-status=gone"],
        ["members", "-wan"],
        ["catalog", "datacenters"],
        ["catalog", "nodes"],
        ["catalog", "nodes", "-detailed"],
        ["catalog", "nodes", "-service=web"],
        ["catalog", "nodes", "-near=_agent"],
        ["catalog", "nodes", "-node-meta=rack=7"],
        ["catalog", "services"],
        ["catalog", "services", "-tags"],
        ["catalog", "services", "-node=one"],
        ["catalog", "services", "-node=nobody"],
        ["event", "-name=deploy", "-node=[", "v2"],
        ["reload"],
    ],
    ids=" ".join,
)
async def test_it_prints_the_same(argv: list[str], pool: Pool, genuine: Pool) -> None:
    ours, theirs = await both(pool, genuine, *argv)
    assert essence(ours) == essence(theirs)


async def test_watch_prints_the_same_services(pool: Pool, genuine: Pool) -> None:
    ours, theirs = await both(pool, genuine, "watch", "-type=services")
    assert ours[::2] == theirs[::2] == (0, "")
    assert json.loads(ours[1]) == {"consul": [], "web": ["blue", "v1"]}
    assert {name: sorted(tags) for name, tags in json.loads(theirs[1]).items()} == json.loads(
        ours[1]
    ), "Consul's tags come in any order"


@pytest.mark.parametrize(
    "argv",
    [
        ["-type=nodes"],
        ["-type=service", "-service=web"],
        ["-type=checks", "-state=any"],
        ["-type=checks", "-service=web"],
    ],
    ids=" ".join,
)
async def test_watch_prints_the_same(argv: list[str], pool: Pool, genuine: Pool) -> None:
    ours, theirs = await both(pool, genuine, "watch", *argv)
    assert ours[::2] == theirs[::2] == (0, "")
    assert without_indexes(json.loads(ours[1])) == without_indexes(json.loads(theirs[1]))


async def test_event_prints_its_id_and_watch_shows_it(pool: Pool, genuine: Pool) -> None:
    fired = await both(pool, genuine, "event", "-name=deploy", "-node=^(one|two)$", "v2")
    listed = await both(pool, genuine, "watch", "-type=event", "-name=deploy")
    shown = []
    for (code, out, err), (_, events, _) in zip(fired, listed, strict=True):
        (event,) = json.loads(events)
        assert (code, out, err) == (0, f"Event ID: {event.pop('ID')}\n", "")
        shown.append(without_indexes(event))
    ours, theirs = shown
    assert ours == theirs
    assert list(ours) == list(theirs)


async def test_watch_runs_its_handler_again_when_something_changes(pool: Pool) -> None:
    watch = ["watch", "-type=service", "-service=later", "sh", "-c", "cat; echo"]
    async with command(pool.server, *watch) as process:
        assert process.stdout is not None

        async def shown() -> Any:
            assert process.stdout is not None
            while not (line := await process.stdout.readline()).strip():
                assert line, "it went on"
            return json.loads(line)

        assert await shown() == []
        assert (await consul(pool.server, "services", "register", "-name=later"))[0] == 0
        while not (instances := await shown()):
            pass
        assert [one["Service"]["ID"] for one in instances] == ["later"]
        assert (await consul(pool.server, "services", "deregister", "-id=later"))[0] == 0
        while await shown():
            pass
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0


async def test_join_counts_the_nodes_and_shows_why_it_failed(pool: Pool, genuine: Pool) -> None:
    for one in (pool, genuine):
        address = "{}:{}".format(*one.client.gossip)
        done = await consul(one.server, "join", address)
        assert done == (0, "Successfully joined cluster by contacting 1 nodes.\n", "")
        code, out, err = await consul(one.server, "join", "127.0.0.1:1")
        assert (code, out) == (1, "")
        first, *_, last = err.splitlines()
        start = (
            "Error joining address '127.0.0.1:1': Unexpected response code: 500 (1 error occurred:"
        )
        assert (first, last) == (start, "Failed to join any nodes.")
        assert "connection refused" in err


async def test_keyring_rotates_with_the_same_words(pool: Pool, genuine: Pool) -> None:
    for argument in (
        "-list",
        f"-install={NEW}",
        f"-use={NEW}",
        f"-remove={NEW}",
        f"-remove={KEY}",
        "-list",
        f"-install={KEY}",
        f"-use={KEY}",
        f"-remove={NEW}",
    ):
        ours, theirs = await both(pool, genuine, "keyring", argument)
        assert in_any_order(ours) == in_any_order(theirs), argument
    for code, _, err in await both(pool, genuine, "keyring", "-install=bogus"):
        assert code == 1
        assert "base64" in err


def in_any_order(result: tuple[int, str, str]) -> tuple[int, str, list[str]]:
    """Members are told of as they answered."""
    code, out, err = result
    return code, out, sorted(err.splitlines())


async def test_info_has_consuls_sections_and_keys(pool: Pool, genuine: Pool) -> None:
    ours, theirs = [sections(out) for _, out, _ in await both(pool, genuine, "info")]
    # Neither Raft nor Go's runtime is there to tell of.
    theirs["raft"].clear()
    for key in ("goroutines", "max_procs"):
        del theirs["runtime"][key]
    assert {section: theirs[section].keys() - ours[section].keys() for section in theirs} == {
        section: set() for section in theirs
    }
    for section, keys in {
        "agent": ("checks", "check_ttls", "check_monitors", "services"),
        "consul": ("acl", "bootstrap", "known_datacenters", "leader", "server"),
        "runtime": ("arch", "cpu_count", "os"),
        "serf_lan": ("encrypted", "members"),
        "serf_wan": ("encrypted", "failed", "left", "members"),
    }.items():
        for key in keys:
            assert ours[section][key] == theirs[section][key], (section, key)


def sections(out: str) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    section: dict[str, str] = {}
    for line in out.splitlines():
        if line.startswith("\t"):
            key, _, value = line[1:].partition(" = ")
            section[key] = value
        else:
            section = found.setdefault(line.removesuffix(":"), {})
    return found


async def test_monitor_prints_the_log_until_it_is_interrupted(pool: Pool) -> None:
    # At a genuine agent of this version it shows one empty line and ends.
    async with command(pool.server, "monitor", "-log-level=debug") as process:
        assert process.stdout is not None
        waiting = asyncio.ensure_future(process.stdout.readline())
        while not waiting.done():  # it takes a moment until it listens, and then something happens
            assert (await consul(pool.server, "event", "-name=seen"))[0] == 0
        stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(Z|[+-]\d{4})"
        assert re.match(rf"{stamp} \[(DEBUG|INFO|WARN)\] +agent\S*: ", (await waiting).decode())
        process.send_signal(signal.SIGINT)
        await process.communicate()
        assert process.returncode == 0


async def test_monitor_says_that_there_is_no_such_level(pool: Pool, genuine: Pool) -> None:
    ours, theirs = await both(pool, genuine, "monitor", "-log-level=loud")
    code, out, err = theirs
    assert ours == (code, out, err.replace("Bad request: ", ""))
    assert code == 1


async def test_force_leave_makes_a_failed_member_left_and_prune_forgets_it(
    pool: Pool, genuine: Pool
) -> None:
    for one in (pool, genuine):
        gone = await one.join("gone")
        await gone.process.kill()
        await one.until("gone", FAILED)
        assert await consul(one.server, "force-leave", "gone") == (0, "", "")
        await one.until("gone", LEFT)
        assert await consul(one.server, "force-leave", "-prune", "gone") == (0, "", "")
        await one.until("gone", None)
    # A member that nobody knows is left already: with us that is no error.
    assert await consul(pool.server, "force-leave", "nobody") == (0, "", "")


async def test_leave_ends_the_agent_and_others_see_it_left(pool: Pool) -> None:
    leaver = await pool.join("leaver")
    assert await consul(leaver, "leave") == (0, "Graceful leave complete\n", "")
    assert await leaver.process.wait(10) == 0
    await pool.until("leaver", LEFT)
    assert await consul(pool.server, "force-leave", "-prune", "leaver") == (0, "", "")
    await pool.until("leaver", None)
