"""The how-tos of the README do what they say, command by command."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from simulations.local.process import Process
from tests.helpers_peers import missing, require
from tests.howto import script

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


@dataclass(frozen=True)
class HowTo:
    """One block of commands and what has to come of it.

    Attributes:
        section: the heading that it stands under.
        number: of its blocks of commands.
        before: commands that set the stage.
        shows: what commands print, by how they begin.
        after: commands that look at what came of it.
        peers: genuine programs that it needs.
    """

    section: str
    number: int = 0
    before: str = ""
    shows: dict[str, str] = field(default_factory=dict)
    after: str = ""
    peers: tuple[str, ...] = ()


ONE = "gossip agent -node=one -bind=10.0.0.1 -data-dir=/var/lib/gossip\n"

HOW_TOS = [
    HowTo(
        "Services, checks and health",
        shows={
            "curl 'http://127.0.0.1:8500/v1/health/service/db": r'"Node":"two".*"Output":"512 MiB free"',
            "curl 'http://127.0.0.1:8500/v1/health/state/critical'": "_service_maintenance:db",
            "gossip events -http-addr=127.0.0.2": "deploy",
        },
        after="gossip events -http-addr=10.0.0.2:8500\n",
    ),
    HowTo("Watches", shows={"gossip watch": '"Name": ?"deploy"', "cat deploys.json": "deploy"}),
    HowTo(
        "Datacenters",
        shows={
            "gossip members -wan": r"(?s)east-1\.east.*alive.*west-1\.west.*alive",
            "gossip rtt -wan": r"[0-9.]+ ?ms",
            "gossip events -http-addr=127.2.0.1": "deploy",
        },
        after="gossip events -http-addr=10.2.0.1:8500\n",
    ),
    HowTo(
        "Keys",
        before="KEY=$(gossip keygen)\n",
        shows={
            "gossip keyring -list": r"(?m)\[2/2\]",
            "gossip members": "(?s)one.*alive.*two.*alive",
        },
        after="gossip members\n",
    ),
    HowTo("Restarts", before=ONE, shows={"gossip members": "three .*alive"}),
    HowTo(
        "Queries",
        before=ONE
        + """
"$PYTHON" -c '
import asyncio
from gossip import Cluster, Config
async def main():
    config = Config.lan("web-3", bind="10.0.0.3", port=8301, tags={"role": "web"})
    async with Cluster(config) as cluster:
        cluster.on_query("uptime", lambda query: b"42")
        await cluster.join(["10.0.0.1:8301"])
        await asyncio.Event().wait()
asyncio.run(main())
' >>"$TMPDIR/log" 2>&1 &
before_long 60 at_least 2 10.0.0.1:8500
""",
        shows={"gossip query": "(?s)web-3.*42", "gossip reachability": "all live nodes"},
    ),
    HowTo(
        "Tags and other settings, while it runs",
        shows={"gossip members -detailed": "tier=cache"},
    ),
    HowTo(
        "IPv6",
        shows={"gossip members": r"(?s)one +\[::1\]:8301 +alive.*two +\[::1\]:8311 +alive"},
    ),
    HowTo(
        "Serf's command line",
        shows={
            "serf members": "one.*alive",
            "serf event": "dispatched",
            "serf reachability": "Success",
        },
        peers=("serf",),
    ),
    HowTo(
        "Join genuine agents",
        before="KEY=$(gossip keygen)\n"
        'serf agent -node=genuine -bind=10.0.0.1:7946 -encrypt="$KEY" >"$TMPDIR/log" 2>&1 &\n'
        "before_long 30 serf members >/dev/null 2>&1\n",
        shows={"serf members": "ours.*alive", "gossip members": "genuine.*alive"},
        after="serf members\ngossip members\n",
        peers=("serf",),
    ),
    HowTo(
        "Join genuine agents",
        1,
        before="KEY=$(gossip keygen)\n"
        "consul agent -server -bootstrap -node=genuine -bind=10.0.0.1 -client=10.0.0.1"
        ' -data-dir="$TMPDIR/genuine" -encrypt="$KEY" -disable-host-node-id'
        " -hcl='performance { raft_multiplier = 1 }' >\"$TMPDIR/log\" 2>&1 &\n"
        "before_long 60 consul members -http-addr=10.0.0.1:8500 >/dev/null 2>&1\n",
        shows={
            "consul catalog nodes -http-addr=127.0.0.1:8500": "ours",
            "consul members -http-addr=127.0.0.1:8500": "ours.*alive",
        },
        after="consul members -http-addr=10.0.0.1:8500\n"
        "consul catalog nodes -http-addr=10.0.0.1:8500\n",
        peers=("consul",),
    ),
]


def block(section: str, number: int) -> str:
    """The commands of a section of the README."""
    text = README.split(f"### {section}\n")[1]
    return str(re.findall(r"```sh\n(.*?)```", re.split(r"\n##", text)[0], re.DOTALL)[number])


@pytest.mark.parametrize("how_to", HOW_TOS, ids=lambda how_to: f"{how_to.section} {how_to.number}")
async def test_a_how_to_of_the_readme_does_what_it_says(how_to: HowTo, tmp_path: Path) -> None:
    folders = [str(Path(require(peer)).parent) for peer in how_to.peers]
    file = tmp_path / "script"
    commands = how_to.before + block(how_to.section, how_to.number) + how_to.after
    file.write_text(script(commands, how_to.shows))
    process = Process(
        "the how-to",
        [sys.executable, "-m", "tests.howto", str(file)],
        log=tmp_path / "output",
        environment={
            "PYTHONPATH": str(ROOT),
            "TMPDIR": str(tmp_path),
            "PATH": os.pathsep.join([*folders, os.environ["PATH"]]),
        },
    )
    async with process:
        status = await process.wait(100)

    output = (tmp_path / "output").read_text(errors="replace")
    if "allows no network namespaces" in output:
        missing(output.strip())
    assert (status, output.splitlines()[-1:]) == (0, ["!! done"]), output
