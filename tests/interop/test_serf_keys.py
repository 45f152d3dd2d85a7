"""Key rotation in encrypted pools of our nodes and genuine Serf agents, led by either side."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from gossip import MemberStatus
from gossip.keyring_file import write_keyring
from gossip.wire.address import join_host_port
from gossip.wire.keyring import encode_key
from simulations.local.wait import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from gossip import Cluster
    from simulations.peers import SerfAgent
    from tests.interop.conftest import StartOurs, StartSerf

pytestmark = pytest.mark.interop

OLD, NEW = bytes(range(32)), b"\x07" * 32
B_OLD, B_NEW = encode_key(OLD), encode_key(NEW)
NAMES = ["go-1", "go-2", "py-1", "py-2"]
NOT_INSTALLED = "Requested key is not in the keyring"
PRIMARY = "Removing the primary key is not allowed"


class Pool:
    """Two genuine agents and two nodes of ours, each with a keyring file of its own."""

    def __init__(
        self, serf: str, folder: Path, serfs: list[SerfAgent], ours: list[Cluster]
    ) -> None:
        self.serfs = serfs
        self.ours = ours
        self._serf = serf
        self._folder = folder

    def files(self) -> dict[str, str]:
        """The keyring files as they are, by node."""
        return {name: (self._folder / f"{name}.keyring").read_text() for name in NAMES}

    async def keys(self, action: str) -> tuple[int, str]:
        """Exit status and output of ``serf keys ACTION`` at the first genuine agent."""
        host, port = self.serfs[0].rpc_address
        process = await asyncio.create_subprocess_exec(
            self._serf, "keys", f"-rpc-addr={host}:{port}", action,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        async with asyncio.timeout(30):
            output, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, output.decode()

    async def whole(self) -> bool:
        for serf in self.serfs:
            if await serf.alive() != set(NAMES):
                return False
        return all(
            {m.name for m in c.members() if m.status is MemberStatus.ALIVE} == set(NAMES)
            for c in self.ours
        )


@pytest.fixture
async def pool(
    genuine_serf: str, start_serf: StartSerf, start_ours: StartOurs, tmp_path: Path
) -> Pool:
    for name in NAMES[:2]:
        write_keyring(tmp_path / f"{name}.keyring", [OLD])
    serfs = [await start_serf(name, keyring=tmp_path / f"{name}.keyring") for name in NAMES[:2]]
    ours = [
        await start_ours(name, keys=(OLD,), keyring_file=tmp_path / f"{name}.keyring")
        for name in NAMES[2:]
    ]
    await ours[0].join([join_host_port(*serfs[0].gossip)])
    await serfs[1].join([ours[0].local_address])
    await ours[1].join([join_host_port(*serfs[0].gossip)])
    made = Pool(genuine_serf, tmp_path, serfs, ours)
    await eventually(made.whole, within=10, what="everybody sees everybody alive")
    return made


def as_file(*keys: str) -> str:
    return json.dumps(keys, indent=2)


async def still_talking(pool: Pool) -> None:
    """A query of each side is heard by everybody, with the keys that there are."""
    async with asyncio.timeout(10), pool.ours[1].query("_serf_ping", request_ack=True) as acks:
        assert sorted([(await anext(acks)).node for _ in NAMES]) == NAMES
    answers: list[Any] = []
    await pool.serfs[1].rpc.subscribe(
        "query",
        {"Name": "_serf_ping", "RequestAck": True, "Timeout": 3_000_000_000, "Payload": b""},
        answers.append,
    )
    await eventually(
        lambda: sorted(a["From"] for a in answers if a["Type"] == "ack") == NAMES,
        within=5,
        what="acks of everybody at go-2",
    )


async def test_r47_serf_keys_rotates_the_keys_of_our_nodes_too(pool: Pool) -> None:
    installed, _ = await pool.keys(f"-install={B_NEW}")
    files_installed = pool.files()
    used, _ = await pool.keys(f"-use={B_NEW}")
    files_used = pool.files()
    listed, listing = await pool.keys("-list")
    removed, _ = await pool.keys(f"-remove={B_OLD}")

    assert [installed, used, listed, removed] == [0, 0, 0, 0]
    for key in (B_OLD, B_NEW):
        assert f"{key}  [4/4]" in listing
    assert files_installed == dict.fromkeys(NAMES, as_file(B_OLD, B_NEW))
    assert files_used == dict.fromkeys(NAMES, as_file(B_NEW, B_OLD))
    assert pool.files() == dict.fromkeys(NAMES, as_file(B_NEW))
    assert [c.node.keyring and c.node.keyring.keys for c in pool.ours] == [(NEW,), (NEW,)]
    await still_talking(pool)


async def test_r47_our_rotation_rotates_the_keys_of_genuine_agents_too(pool: Pool) -> None:
    steps = [step async for step in pool.ours[0].keys.rotate(NEW)]

    actions = ["list", "install", "use", "verify", "remove"]
    assert [(step.action, step.problem) for step in steps] == [(name, "") for name in actions]
    assert [step.result and step.result.num_responses for step in steps] == [4] * 5
    assert pool.files() == dict.fromkeys(NAMES, as_file(B_NEW))
    await still_talking(pool)


async def test_r47_single_operations_of_ours_end_in_the_same_files(pool: Pool) -> None:
    keys = pool.ours[1].keys

    installed = await keys.install(NEW)
    listed = await keys.list(relay_factor=2)
    used = await keys.use(NEW)
    files = pool.files()

    assert [r.ok for r in (installed, listed, used)] == [True] * 3
    assert listed.keys == {B_OLD: 4, B_NEW: 4}
    assert listed.primary_keys[B_OLD] >= 2  # this Serf is too old to say it
    assert files == dict.fromkeys(NAMES, as_file(B_NEW, B_OLD))
    await still_talking(pool)


async def test_we_refuse_in_the_same_words_as_serf(pool: Pool) -> None:
    used = await pool.ours[0].keys.use(NEW)
    removed = await pool.ours[0].keys.remove(OLD)
    status, output = await pool.keys(f"-use={B_NEW}")

    assert used.messages == dict.fromkeys(NAMES, NOT_INSTALLED)
    assert removed.messages == dict.fromkeys(NAMES, PRIMARY)
    assert status == 1
    assert output.count(NOT_INSTALLED) == 4
    assert pool.files() == dict.fromkeys(NAMES, as_file(B_OLD))


async def test_without_encryption_both_say_so_in_the_same_words(
    start_serf: StartSerf, start_ours: StartOurs
) -> None:
    serf, ours = await start_serf("go-1"), await start_ours("py-1")
    await ours.join([join_host_port(*serf.gossip)])

    async def two() -> bool:
        return await serf.alive() == {"go-1", "py-1"} and len(ours.members()) == 2

    await eventually(two, within=10, what="both see both")
    listed, installed = await ours.keys.list(), await ours.keys.install(NEW)

    for result in (listed, installed):
        assert sorted(result.answered) == ["go-1", "py-1"]
        assert len(set(result.messages.values())) == 1


async def test_r31_a_long_list_is_cut_alike(pool: Pool) -> None:
    # With fewer than 40 this Serf's own cutting runs out of bounds, and it dies (serf issue 649).
    for number in range(44):
        assert (await pool.ours[0].keys.install(bytes([number + 100]) * 32)).ok

    listed = await pool.ours[0].keys.list()
    status, _ = await pool.keys("-list")

    assert listed.ok
    assert sorted(listed.messages) == NAMES
    for text in listed.messages.values():
        assert text.startswith("truncated key list response, showing first ")
        assert text.endswith(" of 45 keys")
    assert status == 0


async def test_r46_a_restarted_node_of_ours_goes_on_with_the_rotated_keys(
    pool: Pool, start_ours: StartOurs, tmp_path: Path
) -> None:
    steps = [step async for step in pool.ours[0].keys.rotate(NEW)]
    port = pool.ours[1].config.port
    await pool.ours[1].close()

    pool.ours[1] = await start_ours(
        "py-2", port=port, keys=(OLD,), keyring_file=tmp_path / "py-2.keyring"
    )
    await pool.ours[1].join([join_host_port(*pool.serfs[1].gossip)])
    await eventually(pool.whole, within=15, what="everybody sees py-2 again")

    assert steps[-1].ok
    await still_talking(pool)
