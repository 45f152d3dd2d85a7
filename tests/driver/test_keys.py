"""Keys of a whole pool: install, use, remove, list, rotate, and the file that keeps them."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from gossip import Cluster, Config, ConfigError, MemberStatus, keyring_file
from gossip.keyring_file import read_keyring, write_keyring
from gossip.wire.keyring import encode_key, fingerprint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from gossip import KeyResult, RotationStep
    from gossip.keys import KeyOperation

    Start = Callable[..., Awaitable[Cluster]]

OLD, NEW, THIRD = bytes(32), b"\x01" * 32, b"\x02" * 16
SOON_FAILED = {"probe_interval": 0.2, "probe_timeout": 0.1, "suspicion_mult": 1}
B_OLD, B_NEW = encode_key(OLD), encode_key(NEW)


def address(cluster: Cluster) -> str:
    return "{}:{}".format(*cluster.local_address)


def ring(cluster: Cluster) -> tuple[bytes, ...]:
    assert cluster.node.keyring is not None
    return cluster.node.keyring.keys


def files(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """A function that starts one more node whose keys are in ``NAME.keyring``, closed with the test."""
    clusters: list[Cluster] = []

    async def start_one(name: str, **settings: Any) -> Cluster:
        values = {"bind": "127.0.0.1", "port": 0, "keys": (OLD,), "query_timeout_mult": 8}
        values["retransmit_mult"] = 4  # both copies of a query may go to the one that is deaf
        config = Config.local(name, **(values | settings))
        cluster = Cluster(config, keyring_file=tmp_path / f"{name}.keyring")
        clusters.append(cluster)
        await cluster.start()
        return cluster

    yield start_one
    for cluster in clusters:
        await cluster.close()


async def pool(start: Start, count: int, **settings: Any) -> list[Cluster]:
    clusters = [await start(f"n{i}", **settings) for i in range(count)]
    for cluster in clusters[1:]:
        await cluster.join([address(clusters[0])])
    await settled(clusters, count)
    return clusters


async def settled(clusters: list[Cluster], count: int) -> None:
    async with asyncio.timeout(10):
        for cluster in clusters:
            while sum(m.status is MemberStatus.ALIVE for m in cluster.members()) < count:
                await cluster.members_changed(cluster.members_version)


async def steps_of(cluster: Cluster, key: bytes, **options: Any) -> list[RotationStep]:
    return [step async for step in cluster.keys.rotate(key, **options)]


def told(steps: list[RotationStep]) -> list[tuple[str, str]]:
    return [(step.action, step.problem) for step in steps]


# Operations


async def test_everybody_installs_uses_and_removes_and_keeps_it_in_the_file(
    start: Start, tmp_path: Path
) -> None:
    clusters = await pool(start, 3)
    keys = clusters[1].keys

    results = [await keys.install(NEW), await keys.use(NEW), await keys.remove(OLD)]
    listed = await keys.list()

    assert [(r.ok, r.num_nodes, r.num_responses, r.messages) for r in results] == [
        (True, 3, 3, {})
    ] * 3
    assert (listed.keys, listed.primary_keys) == ({B_NEW: 3}, {B_NEW: 3})
    assert sorted(listed.answered) == ["n0", "n1", "n2"]
    for cluster in clusters:
        assert ring(cluster) == (NEW,)
        assert read_keyring(tmp_path / f"{cluster.config.name}.keyring") == (NEW,)
        assert cluster.stats()["encrypted"] == "true"
    await clusters[0].fire("still-talking")


async def test_a_refusal_is_told_in_the_members_own_words(start: Start) -> None:
    clusters = await pool(start, 2)

    used = await clusters[0].keys.use(NEW)
    removed = await clusters[0].keys.remove(OLD)

    assert not used.ok
    assert used.messages == dict.fromkeys(["n0", "n1"], "Requested key is not in the keyring")
    assert used.problem.startswith("2/2 nodes reported failure; n0: Requested key")
    assert set(removed.messages.values()) == {"Removing the primary key is not allowed"}
    assert [ring(cluster) for cluster in clusters] == [(OLD,), (OLD,)]


async def test_a_pool_without_encryption_has_no_keys(start: Start, tmp_path: Path) -> None:
    clusters = await pool(start, 2, keys=())

    listed, installed = await clusters[0].keys.list(), await clusters[0].keys.install(NEW)

    assert set(listed.messages.values()) == {"Keyring is empty (encryption not enabled)"}
    assert set(installed.messages.values()) == {"No keyring to modify (encryption not enabled)"}
    assert clusters[0].stats()["encrypted"] == "false"
    assert files(tmp_path) == []


async def test_who_does_not_answer_is_named_and_waited_for(start: Start) -> None:
    clusters = await pool(start, 3)
    clusters[2]._driver._datagrams.close()  # deaf and mute, and not yet suspected

    result = await clusters[0].keys.list()

    assert not result.ok
    assert (result.num_nodes, result.num_responses, result.missing) == (3, 2, ["n2"])
    assert result.problem == "no answer of n2"


async def test_operations_take_their_turns(start: Start) -> None:
    clusters = await pool(start, 2)
    keys = clusters[0].keys

    results = await asyncio.gather(keys.install(NEW), keys.use(NEW), keys.remove(OLD))

    assert [result.ok for result in results] == [True] * 3
    assert [ring(cluster) for cluster in clusters] == [(NEW,), (NEW,)]


# Rotation


async def test_r47_a_rotation_ends_with_the_new_key_alone(start: Start) -> None:
    clusters = await pool(start, 3, keys=(OLD, THIRD))

    steps = await steps_of(clusters[2], NEW)

    actions = ["list", "install", "use", "verify", "remove", "remove"]
    assert told(steps) == [(action, "") for action in actions]
    assert {step.fingerprint for step in steps[4:]} == {fingerprint(OLD), fingerprint(THIRD)}
    assert [ring(cluster) for cluster in clusters] == [(NEW,)] * 3
    assert told(await steps_of(clusters[0], NEW)) == [(action, "") for action in actions[:4]]


async def test_r47_nothing_is_removed_while_a_member_has_not_confirmed(start: Start) -> None:
    clusters = await pool(start, 3)
    clusters[1].node.keyring.use = refuse_to_use  # type: ignore[method-assign, union-attr]

    def silent(*_args: object) -> None:
        """Answers nothing."""

    clusters[1].node.queries._internal["use-key"] = silent  # type: ignore[index]
    steps = await steps_of(clusters[0], NEW)

    assert told(steps) == [("list", ""), ("install", ""), ("use", "no answer of n1")]
    assert ring(clusters[1]) == (OLD, NEW)
    assert ring(clusters[0]) == (NEW, OLD)
    await clusters[1].fire("understood")


def refuse_to_use(_key: bytes) -> None:
    raise AssertionError


async def test_r47_a_failed_member_keeps_the_old_key_in_use(start: Start) -> None:
    clusters = await pool(start, 3, **SOON_FAILED)
    await clusters[2].close()
    async with asyncio.timeout(30):
        while len(failed(clusters[0])) < 1:
            await clusters[0].members_changed(clusters[0].members_version)

    kept = await steps_of(clusters[0], NEW)
    rings = [ring(cluster) for cluster in clusters[:2]]
    again = await start("n2", port=clusters[2].local_address[1])
    await again.join([address(clusters[0])])
    await settled([clusters[0], clusters[1]], 3)
    rotated = await steps_of(clusters[0], NEW)

    text = "n2 failed and would come back without the new key: wait for it, or force it to leave"
    assert told(kept) == [("list", ""), ("install", ""), ("use", text)]
    assert rings == [(OLD, NEW)] * 2
    assert [step.ok for step in rotated] == [True] * 5
    assert [ring(cluster) for cluster in (*clusters[:2], again)] == [(NEW,)] * 3


async def test_a_failed_member_that_is_gone_for_good_can_be_left_behind(start: Start) -> None:
    clusters = await pool(start, 2, **SOON_FAILED)
    await clusters[1].close()
    async with asyncio.timeout(30):
        while not failed(clusters[0]):
            await clusters[0].members_changed(clusters[0].members_version)

    steps = await steps_of(clusters[0], NEW, ignore_failed=True)

    assert [step.action for step in steps] == ["list", "install", "use", "verify", "remove"]
    assert ring(clusters[0]) == (NEW,)


def failed(cluster: Cluster) -> list[str]:
    return [m.name for m in cluster.members() if m.status is MemberStatus.FAILED]


async def test_r47_nothing_is_removed_while_a_primary_key_is_another(start: Start) -> None:
    clusters = await pool(start, 3)
    original = clusters[0].keys.operate

    async def use_and_fall_back(operation: KeyOperation, *args: Any, **options: Any) -> KeyResult:
        result = await original(operation, *args, **options)
        if operation == "use":
            assert clusters[1].node.keyring is not None
            clusters[1].node.keyring.use(OLD)
        return result

    clusters[0].keys.operate = use_and_fall_back  # type: ignore[method-assign]
    steps = await steps_of(clusters[0], NEW)

    assert told(steps)[-1] == ("verify", "1/3 nodes still encrypt with another key")
    assert all(OLD in ring(cluster) for cluster in clusters)


async def test_r47_who_joins_between_the_steps_is_noticed(start: Start) -> None:
    clusters = await pool(start, 2)
    late = await start("late")

    steps: list[RotationStep] = []
    async for step in clusters[0].keys.rotate(NEW):
        steps.append(step)
        if step.action == "use":
            assert late.node.keyring is not None
            late.node.keyring.install(NEW)
            late.node.keyring.use(NEW)
            await late.join([address(clusters[0])])
            await settled(clusters, 3)

    assert told(steps)[-1] == ("verify", "late joined meanwhile: rotate again")
    assert [step.ok for step in await steps_of(clusters[0], NEW)] == [True] * 5


async def test_a_rotation_without_encryption_ends_at_once(start: Start) -> None:
    cluster = await start("one", keys=())

    (step,) = await steps_of(cluster, NEW)

    assert (step.action, step.ok) == ("list", False)
    assert "encryption not enabled" in step.problem


async def test_a_rotation_at_a_member_that_was_closed_ends_with_a_step_that_says_so(
    start: Start,
) -> None:
    cluster = await start("one")
    await cluster.close()

    (step,) = await steps_of(cluster, NEW)

    assert (step.action, step.ok) == ("list", False)
    assert step.problem


# The file


async def test_the_file_is_made_from_the_configured_keys(start: Start, tmp_path: Path) -> None:
    await start("one", keys=(NEW, OLD))

    path = tmp_path / "one.keyring"
    assert path.read_text() == f'[\n  "{B_NEW}",\n  "{B_OLD}"\n]'
    assert path.stat().st_mode & 0o777 == 0o600
    assert files(tmp_path) == ["one.keyring"]


async def test_r46_an_existing_file_wins_and_says_so(
    start: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_keyring(tmp_path / "one.keyring", [NEW, THIRD])

    with caplog.at_level(logging.INFO):
        cluster = await start("one", keys=(OLD,))
        await start("two", keys=(NEW,))

    assert ring(cluster) == (NEW, THIRD)
    (record,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    shown = record.getMessage()
    assert fingerprint(OLD) in shown
    assert f"{fingerprint(NEW)}, {fingerprint(THIRD)}" in shown
    assert not {B_OLD, B_NEW} & set(caplog.text.split())


async def test_r46_the_configured_key_in_the_file_is_no_reason_to_warn(
    start: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_keyring(tmp_path / "one.keyring", [NEW, OLD])

    cluster = await start("one", keys=(OLD,))

    assert ring(cluster) == (NEW, OLD)
    assert caplog.records == []


async def test_a_file_alone_turns_encryption_on(start: Start, tmp_path: Path) -> None:
    write_keyring(tmp_path / "one.keyring", [NEW])

    cluster = await start("one", keys=())

    assert cluster.stats()["encrypted"] == "true"
    write_keyring(tmp_path / "two.keyring", [NEW])
    with pytest.raises(ConfigError, match="verify_incoming needs verify_outgoing"):
        await start("two", keys=(), verify_outgoing=False)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[]", "contains no keys"),
        ("", "is not a JSON list of base64 keys"),
        ("{}", "is not a JSON list of base64 keys"),
        ('[1, "x"]', "is not a JSON list of base64 keys"),
        (B_OLD, "is not a JSON list of base64 keys"),
        (json.dumps([B_OLD, "%%%"]), "key 2: key is not base64"),
        (json.dumps([B_OLD[:20]]), "key 1: key size must be 16, 24 or 32 bytes, not 15"),
        ("[" * 70_000, "is larger than 65536 bytes"),
        ("[" * 60_000, "is not a JSON list of base64 keys"),
    ],
)
async def test_r48_a_file_without_usable_keys_is_refused_and_not_quoted(
    start: Start, tmp_path: Path, content: str, reason: str
) -> None:
    path = tmp_path / "one.keyring"
    path.write_text(content)
    path.chmod(0o600)

    with pytest.raises(ConfigError) as caught:
        await start("one")

    assert f"keyring file {path}" in str(caught.value)
    assert reason in str(caught.value)
    assert B_OLD[:8] not in str(caught.value)
    assert path.read_text() == content


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
async def test_r48_a_file_that_others_may_read_is_refused(
    start: Start, tmp_path: Path, mode: int
) -> None:
    path = tmp_path / "one.keyring"
    write_keyring(path, [OLD])
    path.chmod(mode)

    with pytest.raises(ConfigError, match=rf"mode 0{mode:o}.*chmod 600 {path}"):
        await start("one")


async def test_a_file_that_cannot_be_read_or_made_is_refused(start: Start, tmp_path: Path) -> None:
    (tmp_path / "one.keyring").mkdir(mode=0o700)
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(ConfigError, match=r"cannot read keyring file .*Is a directory"):
        await start("one")
    cluster = Cluster(
        Config.local("two", bind="127.0.0.1", port=0, keys=(OLD,)),
        keyring_file=tmp_path / "file" / "two.keyring",
    )
    with pytest.raises(ConfigError, match=r"cannot (read|write) keyring file"):
        await cluster.start()


async def test_r48_a_write_that_fails_leaves_file_and_ring_as_they_were(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = await start("one")

    def no_space(_file: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", no_space)
        full = await cluster.keys.install(NEW)
    kept = read_keyring(tmp_path / "one.keyring")
    later = await cluster.keys.install(NEW)

    assert full.messages == {"one": "Failed to write keyring file: No space left on device"}
    assert kept == (OLD,)
    assert later.ok
    assert ring(cluster) == read_keyring(tmp_path / "one.keyring") == (OLD, NEW)
    assert files(tmp_path) == ["one.keyring"]


async def test_r40_a_slow_disk_holds_up_no_turn_and_closing_waits_for_it(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = await start("one")
    writing, go = threading.Event(), threading.Event()

    def slow(path: Path, keys: tuple[bytes, ...]) -> None:
        writing.set()
        go.wait(10)
        write_keyring(path, keys)

    monkeypatch.setattr(keyring_file, "write_keyring", slow)
    changing = asyncio.create_task(cluster.keys.install(NEW))
    async with asyncio.timeout(5):
        await asyncio.to_thread(writing.wait)
        acks = cluster.query("_serf_ping", request_ack=True)
        ack = await anext(acks)
    closing = asyncio.create_task(cluster.close())
    await asyncio.sleep(0.05)
    waits = not closing.done()
    go.set()
    await closing

    assert ack.node == "one"
    assert waits
    assert read_keyring(tmp_path / "one.keyring") == (OLD, NEW)
    changing.cancel()


async def test_a_link_to_the_file_stays_a_link(tmp_path: Path) -> None:
    target, link = tmp_path / "secrets" / "keys", tmp_path / "link"
    write_keyring(target, [OLD])
    link.symlink_to(target)

    write_keyring(link, [NEW])

    assert link.is_symlink()
    assert read_keyring(target) == (NEW,)
    assert target.parent.stat().st_mode & 0o777 == 0o700
