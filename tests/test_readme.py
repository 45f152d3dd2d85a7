"""What the README shows works: its program, its commands and its requests."""

from __future__ import annotations

import contextlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from simulations.cluster import LocalCluster
from simulations.local.http import request
from simulations.local.ports import Ports
from simulations.local.process import Process
from simulations.local.wait import eventually

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def commands(start: str, text: str = README) -> list[list[str]]:
    lines = [line for block in blocks("sh", text) for line in block.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith(start)]


def output_of(program: str) -> list[str]:
    """The lines that a program of the README prints."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        cwd=ROOT,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_the_library_example_runs_and_prints_what_it_says() -> None:
    first, *_ = blocks("python")

    joined, fired, members = output_of(first)

    assert joined.startswith("MemberJoined(member=Member(name='two'")
    assert fired == "UserEvent(ltime=1, name='deploy', payload=b'v2', coalesce=True)"
    assert members == "[('one', 'ALIVE', {}), ('two', 'ALIVE', {'role': 'web'})]"


def test_the_query_of_the_readme_is_answered_as_it_says() -> None:
    _, second, _ = blocks("python")

    printed = output_of(second)

    assert printed == ["QueryAck(node='one')", "QueryAnswer(node='one', payload=b'42')"]


def test_the_test_of_the_readme_passes_in_a_project_of_somebody_elses(tmp_path: Path) -> None:
    *_, example = blocks("python")
    (tmp_path / "test_service.py").write_text(example)

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
    )

    assert done.stdout.splitlines()[-1].startswith("1 passed"), done.stdout


@pytest.mark.parametrize("command", commands("python -m simulations"), ids=shlex.join)
def test_every_simulation_of_the_readme_has_only_options_that_exist(command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, *command[1:4], "--help"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        cwd=ROOT,
    )

    assert done.returncode == 0
    for argument in command[4:]:
        if argument.startswith("--"):
            assert argument in done.stdout


def test_the_library_example_is_about_ten_lines_of_work() -> None:
    program, *_ = blocks("python")
    body = program.split("async def main() -> None:\n")[1].split("\n\n\n")[0]

    assert len([line for line in body.splitlines() if line.strip()]) <= 11


async def test_every_request_of_the_readme_succeeds() -> None:
    async with LocalCluster(2) as cluster:
        first, second = cluster.agents
        http = README.split("\n### HTTP\n")[1].split("\n###")[0]
        for command in commands("curl", http):
            method, body = "GET", b""
            arguments = iter(command[1:])
            for argument in arguments:
                if argument == "-X":
                    method = next(arguments)
                elif argument == "-d":
                    body = next(arguments).encode()
                else:
                    target = argument.removeprefix("http://127.0.0.1:8500")
            target = target.replace("127.0.0.1:8311", "{}:{}".format(*second.gossip))

            answer = await request(first.http, method, target, body, within=10)

            assert answer.status == 200, command


@pytest.mark.parametrize("command", commands("gossip "), ids=shlex.join)
def test_every_command_of_the_readme_has_only_flags_that_exist(command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "agent", command[1], "-help"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        cwd=ROOT,
    )

    assert done.returncode == 0
    for argument in command[2:]:
        if argument.startswith("-"):
            assert f"  {argument.partition('=')[0]}" in done.stdout


def test_the_packet_of_the_readme_decodes() -> None:
    (command,) = commands("gossip decode")
    done = subprocess.run(
        [sys.executable, "-m", "agent", *command[1:]],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        cwd=ROOT,
    )

    assert '"nackResp"' in done.stdout


async def test_the_agents_of_the_readme_find_each_other(tmp_path: Path) -> None:
    one, two = commands("gossip agent")[:2]
    assert "-join=127.0.0.1:8301" in two, "its own port is another one than that of the first"
    with Ports() as leased:
        ports = [leased.take() for _ in range(4)]
        # The same commands, on ports and in a folder of this test's own.
        moved = {
            "-data-dir": f"-data-dir={tmp_path}",
            "-serf-lan-port": f"-serf-lan-port={ports[3]}",
            "-http-port": f"-http-port={ports[2]}",
            "-join": f"-join=127.0.0.1:{ports[1]}",
        }
        start_two = [moved.get(argument.partition("=")[0], argument) for argument in two[1:]]
        start_one = [
            *one[1:],
            f"-http-port={ports[0]}",
            f"-serf-lan-port={ports[1]}",
            "-server-port=0",
        ]
        http = ("127.0.0.1", ports[0])
        async with contextlib.AsyncExitStack() as stack:
            await start(stack, "one", start_one, tmp_path)
            await eventually(lambda: request(http, "GET", "/v1/agent/self"), within=20, what="one")
            await start(stack, "two", start_two, tmp_path)

            async def both() -> bool:
                members = (await request(http, "GET", "/v1/agent/members")).json()
                return {member["Name"] for member in members} == {"one", "two"}

            await eventually(both, within=20, what="both are members")


async def start(
    stack: contextlib.AsyncExitStack, name: str, arguments: list[str], folder: Path
) -> None:
    process = Process(name, [sys.executable, "-m", "agent", *arguments], log=folder / name)
    stack.push_async_callback(process.close)
    await process.start()
