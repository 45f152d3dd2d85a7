"""Snapshot files on a real disk, on one that is full, broken or slow, and across restarts of nodes."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import threading
import time
from collections import Counter
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

from gossip import Cluster, Config, ConfigError, MemberStatus, UserEvent, snapshot_file
from gossip.events import Member, MemberJoined
from gossip.serf.lamport import LamportClock
from gossip.serf.snapshot import MIN_COMPACT_SIZE, Snapshot
from gossip.snapshot_file import FLUSH_INTERVAL, SnapshotFile, SnapshotWriter
from tests.helpers_driver import address, alive, until, until_alive

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

FAST = {
    "probe_interval": 0.2,
    "probe_timeout": 0.1,
    "suspicion_mult": 1,
    "leave_propagate_delay": 0.1,
}


class FaultyOs:
    """The `os` module on a disk with faults; only what the snapshot does goes through it."""

    def __init__(self) -> None:
        self.error = 0
        """Number that every write and fsync fails with; 0 for none."""
        self.room = 1 << 30
        """Bytes that fit on the disk: a write that does not fit is cut short, the next one fails."""
        self.may_sync = threading.Event()
        self.may_sync.set()
        self.syncs = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def write(self, file: int, data: memoryview) -> int:
        if self.error:
            raise OSError(self.error, os.strerror(self.error))
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = os.write(file, data[: self.room])
        self.room -= written
        return written

    def fsync(self, file: int) -> None:
        self.may_sync.wait(20)
        if self.error:
            raise OSError(self.error, os.strerror(self.error))
        self.syncs += 1
        os.fsync(file)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> FaultyOs:
    faulty = FaultyOs()
    monkeypatch.setattr(snapshot_file, "os", faulty)
    return faulty


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def start(stack: AsyncExitStack, name: str, path: Path | None, **settings: Any) -> Cluster:
    config = Config.local(name, **({"bind": "127.0.0.1", "port": 0} | FAST | settings))
    return await stack.enter_async_context(Cluster(config, snapshot=path))


def member(number: int) -> Member:
    return Member(f"n{number}", "10.0.0.1", number, {}, MemberStatus.ALIVE, 1, 5, 2, 2, 5, 4)


async def soon(condition: Callable[[], bool], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        await until(condition)


async def worst_lag(seconds: float) -> float:
    """The longest that the loop took to come back to a task that slept for 5 ms."""
    end, worst = time.monotonic() + seconds, 0.0
    while (begin := time.monotonic()) < end:
        await asyncio.sleep(0.005)
        worst = max(worst, time.monotonic() - begin - 0.005)
    return worst


class Rig:
    """A writer with a snapshot that a test changes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stats: Counter[str] = Counter()

    async def open(self) -> SnapshotWriter:
        self.writer = await SnapshotWriter.open(self.path, self.stats, rejoin_after_leave=False)
        return self.writer

    def join(self, *numbers: int) -> None:
        for number in numbers:
            self.writer.snapshot.record(MemberJoined(member(number)))
        self.writer.look()

    def on_disk(self) -> set[str]:
        return set(Snapshot.replay(self.path.read_bytes()).alive)


@pytest.fixture
async def rig(tmp_path: Path, stack: AsyncExitStack) -> Rig:
    rig = Rig(tmp_path / "serf" / "local.snapshot")
    stack.push_async_callback((await rig.open()).close)
    return rig


# The file


async def test_r41_nobody_else_may_read_the_file_or_its_folder(rig: Rig) -> None:
    rig.join(1)
    await soon(lambda: rig.on_disk() == {"n1"})

    assert stat.S_IMODE(rig.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(rig.path.parent.stat().st_mode) == 0o700
    assert [path.name for path in rig.path.parent.iterdir()] == [rig.path.name]


async def test_r41_a_file_that_others_could_read_no_longer_is(tmp_path: Path) -> None:
    path, compact = tmp_path / "snapshot", tmp_path / "snapshot.compact"
    for file in (path, compact):
        file.write_bytes(b"clock: 5\n")
        file.chmod(0o644)
    rig = Rig(path)
    writer = await rig.open()

    await writer.close()

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not compact.exists()
    assert Snapshot.replay(path.read_bytes()).clock == 5


async def test_two_nodes_cannot_use_one_file(rig: Rig) -> None:
    for _ in range(3):  # also after it was replaced
        with pytest.raises(ConfigError, match=r"cannot use snapshot .*: another node uses it"):
            await Rig(rig.path).open()
        rig.writer._whole = True
        before = rig.stats["snapshot_rewrites"]
        rig.join(1)
        await soon(lambda: rig.stats["snapshot_rewrites"] > before and not rig.writer._busy)  # noqa: B023

    await rig.writer.close()
    await (await Rig(rig.path).open()).close()


async def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "snapshot"):
        with pytest.raises(ConfigError, match=f"cannot use snapshot {path}: "):
            await Rig(path).open()


def test_of_a_huge_file_only_the_end_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_file, "MAX_SIZE", 100)
    path = tmp_path / "snapshot"
    path.write_bytes(b"x" * 50 + b"y" * 100)
    file = SnapshotFile(path)

    assert file.open() == b"y" * 100
    file.close()


# Writing


async def test_writes_are_no_more_frequent_than_the_interval(rig: Rig) -> None:
    begin = time.monotonic()
    for number in range(1, 101):
        rig.join(number)
        await asyncio.sleep(0.005)
    await soon(lambda: len(rig.on_disk()) == 100)
    took = time.monotonic() - begin

    assert rig.stats["snapshot_rewrites"] == 1, "at the start"
    assert 1 <= rig.stats["snapshot_writes"] <= took / FLUSH_INTERVAL + 1


async def test_s8_a_leap_of_the_event_clock_is_written_before_the_event_is_fired(
    tmp_path: Path, stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_file, "FLUSH_INTERVAL", 3600.0)
    (tmp_path / "one").write_bytes(b"event-clock: 20\n")
    one = await start(stack, "one", tmp_path / "one")

    ltime = await one.fire("x")

    killed = Snapshot.replay((tmp_path / "one").read_bytes())
    clock = LamportClock(2**32)
    killed.resume(LamportClock(2**32), clock, LamportClock(2**32))
    assert clock.upcoming > ltime


async def test_r40_an_event_waits_for_a_disk_that_hangs_a_moment_only(
    disk: FaultyOs, tmp_path: Path, stack: AsyncExitStack
) -> None:
    disk.may_sync.clear()
    (tmp_path / "one").write_bytes(b"event-clock: 20\n")
    one = await start(stack, "one", tmp_path / "one")

    async with asyncio.timeout(5):
        await one.fire("x")

    disk.may_sync.set()


async def test_what_was_recorded_is_in_the_file_after_closing(rig: Rig) -> None:
    rig.join(1)
    await soon(lambda: rig.on_disk() == {"n1"})
    rig.join(2)

    await rig.writer.close()
    await rig.writer.close()

    assert rig.on_disk() == {"n1", "n2"}
    rig.writer._worker.thread.join(5)
    assert not rig.writer._worker.thread.is_alive()


async def test_r41_a_file_that_has_grown_is_written_anew(rig: Rig) -> None:
    sizes = []
    for number in range(20_000):
        rig.writer.snapshot.record(MemberJoined(member(1 + number % 2 * 10_000)))
        rig.writer.snapshot.give_up(["n1", "n10001"])
        if number % 500 == 0:
            rig.writer._next_write = 0.0
            rig.join(2)
            await soon(lambda: not rig.writer._busy)
            sizes.append(rig.path.stat().st_size)

    assert rig.stats["snapshot_rewrites"] > 2
    assert max(sizes) <= 2 * MIN_COMPACT_SIZE
    assert rig.stats["snapshot_errors"] == 0


async def test_s8_a_file_in_use_does_not_look_like_one_that_was_closed_in_order(
    disk: FaultyOs, rig: Rig
) -> None:
    rig.join(1)
    rig.writer.snapshot.resume(*(LamportClock(2**32) for _ in range(3)))
    await rig.writer.close()
    assert Snapshot.replay(rig.path.read_bytes()).closed

    disk.may_sync.clear()  # so that rewriting does not get far
    again = await Rig(rig.path).open()
    again.look()
    assert again.snapshot.closed
    assert not Snapshot.replay(rig.path.read_bytes()).closed
    disk.may_sync.set()
    await again.close()


# Faults of the disk


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
async def test_r39_g26_after_an_error_the_file_is_written_anew_within_two_seconds(
    disk: FaultyOs, rig: Rig, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    rig.join(1)
    await soon(lambda: rig.on_disk() == {"n1"})

    disk.error = number
    rig.join(2)
    await soon(lambda: rig.stats["snapshot_errors"] >= 2)
    rig.join(3)
    assert rig.on_disk() == {"n1"}
    disk.error = 0

    await soon(lambda: rig.on_disk() == {"n1", "n2", "n3"}, 2)
    assert caplog.text.count("the snapshot cannot be written, trying again") == 1
    assert os.strerror(number) in caplog.text


async def test_r39_half_a_line_at_the_end_of_a_full_disk_does_no_harm(
    disk: FaultyOs, rig: Rig
) -> None:
    rig.join(1)
    await soon(lambda: rig.on_disk() == {"n1"})

    disk.room = 20
    rig.join(2)
    await soon(lambda: rig.stats["snapshot_errors"] >= 1)
    assert rig.path.read_bytes().endswith(b"\nalive: n2 10.0.0.1:2"[:21])
    assert rig.on_disk() == {"n1"}
    disk.room = 1 << 30

    await soon(lambda: rig.on_disk() == {"n1", "n2"}, 2)
    assert Snapshot.replay(rig.path.read_bytes()).skipped == 0
    assert [path.name for path in rig.path.parent.iterdir()] == [rig.path.name]


async def test_r39_a_disk_that_is_full_from_the_start_keeps_no_node_from_working(
    disk: FaultyOs, tmp_path: Path, stack: AsyncExitStack
) -> None:
    disk.error = errno.ENOSPC
    one = await start(stack, "one", tmp_path / "one")
    two = await start(stack, "two", None)

    await two.join([address(one)])
    await one.fire("x")
    await until_alive([one, two], {"one", "two"})
    await soon(lambda: "snapshot_errors" in one.stats())
    disk.error = 0

    await soon(
        lambda: set(Snapshot.replay((tmp_path / "one").read_bytes()).alive) == {"one", "two"}, 2
    )


async def test_r40_g26_an_fsync_that_hangs_stops_neither_the_loop_nor_gossip(
    disk: FaultyOs, tmp_path: Path, stack: AsyncExitStack
) -> None:
    disk.may_sync.clear()  # the first thing that the writer does is to write anew, with fsync
    one = await start(stack, "one", tmp_path / "one")
    two = await start(stack, "two", tmp_path / "two")
    await two.join([address(one)])
    subscription = two.subscribe()

    lags = []
    for _ in range(
        5
    ):  # a machine under load stalls the loop too: an fsync of 5 s stalls it each time
        await one.fire("x")
        lags.append(await worst_lag(0.3))
        async with asyncio.timeout(5):
            while not isinstance(await anext(subscription), UserEvent):
                pass

    assert min(lags) < 0.05
    disk.may_sync.set()
    await soon(lambda: Snapshot.replay((tmp_path / "two").read_bytes()).event_clock == 5)
    assert alive(one) == {"one", "two"}


async def test_a_disk_that_hangs_does_not_keep_a_node_from_ending(
    disk: FaultyOs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(snapshot_file, "CLOSE_TIMEOUT", 0.1)
    disk.may_sync.clear()
    rig = Rig(tmp_path / "snapshot")
    writer = await rig.open()
    rig.join(1)

    async with asyncio.timeout(5):
        await writer.close()

    assert "the disk of the snapshot does not answer" in caplog.text
    disk.may_sync.set()
    await asyncio.to_thread(writer._worker.thread.join, 5)
    await (await Rig(rig.path).open()).close()


async def test_closing_that_is_cancelled_gives_the_file_back_all_the_same(
    disk: FaultyOs, tmp_path: Path
) -> None:
    disk.may_sync.clear()
    rig = Rig(tmp_path / "snapshot")
    writer = await rig.open()
    closing = asyncio.ensure_future(writer.close())
    await asyncio.sleep(0)

    closing.cancel()
    disk.may_sync.set()

    await asyncio.gather(closing, return_exceptions=True)
    await asyncio.to_thread(writer._worker.thread.join, 5)
    await (await Rig(rig.path).open()).close()


# Nodes


async def test_a_restarted_node_finds_its_pool_and_gets_only_what_it_has_missed(
    tmp_path: Path, stack: AsyncExitStack
) -> None:
    one = await start(stack, "one", None)
    two = await start(stack, "two", tmp_path / "two")
    await two.join([address(one)])
    await one.fire("seen")
    ltime = await two.fire("own")
    await soon(lambda: Snapshot.replay((tmp_path / "two").read_bytes()).event_clock == ltime)
    await two.close()
    await one.fire("missed")

    again = Cluster(two.config.replace(port=two.local_address[1]), snapshot=tmp_path / "two")
    subscription = again.subscribe()
    await stack.enter_async_context(again)
    assert again.node.event_clock.time == ltime + 1
    await until_alive([one, again], {"one", "two"})
    await one.fire("new")
    await soon(lambda: int(again.stats()["event_time"]) >= ltime + 3)
    subscription.close()

    assert [e.name async for e in subscription if isinstance(e, UserEvent)] == ["missed", "new"]


@pytest.mark.parametrize("rejoin", [False, True])
async def test_after_a_leave_the_pool_is_joined_again_only_when_wanted(
    tmp_path: Path, stack: AsyncExitStack, rejoin: bool
) -> None:
    one = await start(stack, "one", None)
    two = await start(stack, "two", tmp_path / "two", rejoin_after_leave=rejoin)
    await two.join([address(one)])
    await until_alive([one, two], {"one", "two"})
    await soon(lambda: "one" in Snapshot.replay((tmp_path / "two").read_bytes()).alive)
    await two.leave()
    await two.close()
    assert b"\nleave\n" in (tmp_path / "two").read_bytes()

    again = await start(stack, "two", tmp_path / "two", rejoin_after_leave=rejoin)

    assert again.rejoining == rejoin
    assert again.node.member_clock.time > 1, "S8: clocks go on in both cases"
    if rejoin:
        await until_alive([one, again], {"one", "two"})


async def test_a_leave_is_on_the_disk_before_the_others_have_heard_of_it(
    disk: FaultyOs, tmp_path: Path, stack: AsyncExitStack
) -> None:
    one = await start(stack, "one", None)
    two = await start(stack, "two", tmp_path / "two", leave_propagate_delay=30.0)
    await two.join([address(one)])
    await soon(lambda: "one" in Snapshot.replay((tmp_path / "two").read_bytes()).alive)
    before = disk.syncs

    leaving = asyncio.ensure_future(two.leave())
    await soon(lambda: b"\nleave\n" in (tmp_path / "two").read_bytes(), FLUSH_INTERVAL * 5)
    await soon(lambda: disk.syncs > before)
    assert not leaving.done()
    leaving.cancel()

    await two.close()
    assert Snapshot.replay((tmp_path / "two").read_bytes()).alive == {}


async def test_a_start_that_fails_gives_the_file_back(
    tmp_path: Path, stack: AsyncExitStack
) -> None:
    one = await start(stack, "one", None)
    (tmp_path / "two").write_bytes(b"alive: x 10.0.0.1:1\nclock: 9\n")
    failing = Cluster(
        Config.local("two", bind="127.0.0.1", port=one.local_address[1]), snapshot=tmp_path / "two"
    )
    with pytest.raises(OSError, match="in use"):
        await failing.start()

    left = Snapshot.replay((tmp_path / "two").read_bytes())
    assert (left.clock, set(left.alive)) == (9, {"x"})
    await start(stack, "two", tmp_path / "two")


async def test_r24_a_stale_snapshot_brings_no_foreign_members(
    tmp_path: Path, stack: AsyncExitStack
) -> None:
    others = [
        await start(stack, "key", None, keys=(bytes(16),)),
        await start(stack, "label", None, label="other"),
        await start(stack, "plain", None),
    ]
    lines = "".join(f"alive: {c.config.name} {address(c)}\n" for c in others)
    (tmp_path / "me").write_text(lines)

    me = await start(stack, "me", tmp_path / "me")

    await until_alive([me, others[2]], {"me", "plain"})
    await soon(lambda: me.node._rejoin is not None and me.node._rejoin._missing_rounds < 8)
    assert {m.name for m in me.members()} == {"me", "plain"}
    assert [alive(other) for other in others[:2]] == [{"key"}, {"label"}]


async def test_r38_a_node_starts_from_its_file_broken_at_any_byte(tmp_path: Path) -> None:
    snapshot = Snapshot()
    for number in range(1, 30):
        snapshot.record(MemberJoined(member(number)))
    snapshot.record(UserEvent(12, "x", b"", coalesce=False))
    whole = snapshot.image()
    snapshot.record(UserEvent(13, "x", b"", coalesce=False))
    whole += snapshot.take()

    for at in range(len(whole) + 1):
        for broken in (whole[:at], whole[:at] + bytes(len(whole) - at), _flip(whole, at)):
            left = Snapshot.replay(broken)
            assert left.alive.items() <= snapshot.alive.items()
            assert left.event_clock in {0, 12, 13}
    for at in range(0, len(whole), 97):
        (tmp_path / "snapshot").write_bytes(_flip(whole, at))
        config = Config.local("me", bind="127.0.0.1", port=0)
        async with Cluster(config, snapshot=tmp_path / "snapshot") as cluster:
            assert cluster.node.event_clock.time >= 13


def _flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes(byte ^ 0x02 for byte in data[at : at + 1]) + data[at + 1 :]
