"""Tags at genuine peers: those of a member that was killed and came back with others, and changes at run time."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from typing import TYPE_CHECKING, Any

import pytest

from gossip.swim.members import Status
from gossip.wire.address import join_host_port
from simulations.cluster.agent import LocalAgent
from simulations.local.wait import eventually
from tests.helpers_processes import output_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from gossip import Cluster
    from simulations.local.ports import Ports
    from tests.interop.conftest import StartConsul, StartOurs, StartSerf

pytestmark = pytest.mark.interop

TOLD = 5.0
"""Seconds from the restart until every peer has to show the new tags (R-25)."""
CONSULS = {"role": "node", "dc": "dc1", "segment": "", "vsn": "2", "vsn_min": "2", "vsn_max": "3"}
"""By which a Consul server lets a node of ours into its pool."""


class Victim:
    """An agent of ours as a process, with the tag ``life`` from a file that a restart reads again."""

    def __init__(self, ports: Ports, folder: Path, seed: tuple[str, int]) -> None:
        self._file = folder / "tags.json"
        self._data = folder / "victim" / "data"
        self.agent = LocalAgent(
            "victim",
            [sys.executable, "-m", "agent", "agent"],
            http_port=ports.take(),
            gossip_port=ports.take(),
            folder=folder / "victim",
            arguments=[f"-config-file={self._file}", f"-retry-join={join_host_port(*seed)}"],
        )

    async def start(self, life: str) -> None:
        self._file.write_text(json.dumps({"tags": {"life": life}}))
        await self.agent.start()
        await self.agent.ready(20)

    async def killed_and_suspected_by(self, peer: Cluster) -> None:
        """End it with SIGKILL, and wait until the peer suspects it."""
        await self.agent.process.kill()

        def suspected() -> bool:
            record = peer.node.membership.table.get("victim")
            return record is not None and record.status is Status.SUSPECT

        await eventually(suspected, within=20, what="the victim is a suspect", every=0.005)

    def forget(self) -> None:
        """Lose the members and incarnations of earlier runs; it keeps its node ID."""
        shutil.rmtree(self._data / "serf")


def life_at(cluster: Cluster) -> str | None:
    member = cluster.member("victim")
    return None if member is None else member.tags.get("life")


async def told(peers: list[Callable[[], Awaitable[str | None]]], life: str, within: float) -> None:
    async def by_all() -> bool:
        return all([await peer() == life for peer in peers])

    await eventually(by_all, within=within, what=f"every peer shows life={life}")


@pytest.mark.parametrize("remembers", [True, False], ids=["snapshot", "no-snapshot"])
async def test_r25_a_restart_with_new_tags_within_the_suspicion_is_told_to_ours_and_serf(
    start_serf: StartSerf, start_ours: StartOurs, ports: Ports, tmp_path: Path, remembers: bool
) -> None:
    serf = await start_serf("go")
    ours = await start_ours("py")
    await ours.join([join_host_port(*serf.gossip)])
    victim = Victim(ports, tmp_path, serf.gossip)

    async def at_serf() -> str | None:
        members = {member["Name"]: member for member in await serf.rpc.members()}
        life: str | None = members.get("victim", {}).get("Tags", {}).get("life")
        return life

    async def at_ours() -> str | None:
        return life_at(ours)

    try:
        await victim.start("first")
        await told([at_serf, at_ours], "first", 20)
        await victim.killed_and_suspected_by(ours)
        if not remembers:
            victim.forget()
        await victim.start("second")
        await told([at_serf, at_ours], "second", TOLD)
        assert await serf.members() == dict.fromkeys(("go", "py", "victim"), "alive")
    finally:
        await victim.agent.process.close()


async def test_r25_a_restart_with_new_tags_within_the_suspicion_is_told_to_ours_and_consul(
    start_consul: StartConsul, start_ours: StartOurs, ports: Ports, tmp_path: Path
) -> None:
    consul = await start_consul("server")
    identity = {"id": "0f1d7b3a-8a9d-4a6e-9a53-0c4a2d7a5c11", "build": "1.8.0:"}
    ours = await start_ours("py", tags=CONSULS | identity, protocol_version=4)
    await ours.join([join_host_port(*consul.gossip)])
    victim = Victim(ports, tmp_path, consul.gossip)

    async def at_consul() -> str | None:
        members = {member["Name"]: member for member in await consul.member_table()}
        life: str | None = members.get("victim", {}).get("Tags", {}).get("life")
        return life

    async def at_ours() -> str | None:
        return life_at(ours)

    try:
        await victim.start("first")
        await told([at_consul, at_ours], "first", 20)
        await victim.killed_and_suspected_by(ours)
        await victim.start("second")
        await told([at_consul, at_ours], "second", TOLD)
        assert await consul.alive() == {"server", "py", "victim"}
    finally:
        await victim.agent.process.close()


async def test_tags_that_change_at_run_time_are_seen_on_the_other_side(
    genuine_serf: str, start_serf: StartSerf, start_ours: StartOurs
) -> None:
    go = await start_serf("go", tags={"role": "genuine", "old": "1"})
    ours = await start_ours("py", tags={"role": "ours"})
    await ours.join([join_host_port(*go.gossip)])

    async def serf(command: str, *argv: str) -> Any:
        process = await asyncio.create_subprocess_exec(
            genuine_serf,
            command,
            f"-rpc-addr={join_host_port(*go.rpc_address)}",
            *argv,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out = await output_of(process)
        assert process.returncode == 0, out
        return out

    await ours.set_tags({"role": "db", "zone": "eu"})

    async def shown() -> bool:
        members = json.loads(await serf("members", "-format=json"))["members"]
        return {m["name"]: m["tags"] for m in members}.get("py") == {"role": "db", "zone": "eu"}

    await eventually(shown, within=TOLD, what="the tags of py at serf")

    await serf("tags", "-set", "zone=us", "-delete", "old")

    def seen() -> bool:
        member = ours.member("go")
        return member is not None and member.tags == {"role": "genuine", "zone": "us"}

    await eventually(seen, within=TOLD, what="the tags of go at ours")
