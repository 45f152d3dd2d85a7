"""Registrations on the disk."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import stat
import threading
from typing import TYPE_CHECKING

import pytest

from agent import local_files
from agent.decode import Body
from agent.definitions import check_definition, service_definition
from agent.local_files import Folder, LocalFiles, State, check_data, service_data
from agent.store.entries import Status
from gossip.errors import GossipError

if TYPE_CHECKING:
    from pathlib import Path

SERVICE = service_definition(Body({"Name": "web", "Tags": ["a"], "Token": "s3cret"}))
CHECK = check_definition(Body({"Name": "mem", "TTL": "10s"}))
ALL = {
    (Folder.SERVICES, "web"): service_data(SERVICE),
    (Folder.CHECKS, "mem"): check_data(CHECK),
}
NOW = 1_800_000_000.5


def path_of(folder: Path, kind: str, key: str) -> Path:
    return folder / kind / hashlib.sha256(key.encode()).hexdigest()


async def test_what_is_saved_is_there_after_a_restart(tmp_path: Path) -> None:
    await LocalFiles(tmp_path).save(ALL)
    stored = await LocalFiles(tmp_path).load()
    assert stored.services == {"web": SERVICE}
    assert stored.checks == {"mem": CHECK}


async def test_files_are_named_by_a_hash_and_their_owners_alone(tmp_path: Path) -> None:
    await LocalFiles(tmp_path).save(ALL)
    file = path_of(tmp_path, "services", "web")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert path_of(tmp_path, "checks", "mem").exists()


async def test_what_is_removed_is_gone_after_a_restart(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    await files.save(ALL)
    await files.save(dict.fromkeys(ALL))
    await files.save(dict.fromkeys(ALL))
    stored = await LocalFiles(tmp_path).load()
    assert (stored.services, stored.checks) == ({}, {})


async def test_a_removal_is_on_the_disk_when_it_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = LocalFiles(tmp_path)
    await files.save(ALL)
    removed = path_of(tmp_path, "services", "web")
    synced: list[bool] = []
    sync = os.fsync

    def watched(descriptor: int) -> None:
        if os.path.samestat(os.fstat(descriptor), removed.parent.stat()):
            synced.append(not removed.exists())
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    await files.save({(Folder.SERVICES, "web"): None})
    assert synced == [True]
    await files.save({(Folder.STATES, "never"): None})  # whose folder was never made


async def test_the_state_of_a_ttl_check_holds_until_its_time_is_over(tmp_path: Path) -> None:
    state = State(Status.WARNING, "hm")
    files = LocalFiles(tmp_path, lambda: NOW)
    files.save_state("mem", state, 10)
    await files.close()
    assert (await LocalFiles(tmp_path, lambda: NOW + 9).load()).states == {"mem": state}
    assert (await LocalFiles(tmp_path, lambda: NOW + 11).load()).states == {}


async def test_of_many_states_of_a_check_the_last_one_counts(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path, lambda: NOW)
    for number in range(500):
        files.save_state("mem", State(Status.PASSING, str(number)), 10)
    await files.save({(Folder.STATES, "other"): None})
    files.save_state("mem", State(Status.PASSING, "last"), 10)
    await files.close()
    stored = await LocalFiles(tmp_path, lambda: NOW).load()
    assert stored.states["mem"].output == "last"


async def test_a_registration_does_not_wait_for_the_states_of_all_checks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    monkeypatch.setattr(local_files, "write_private", lambda path, data: order.append(path.name))
    files = LocalFiles(tmp_path, lambda: NOW)
    for number in range(1000):
        files.save_state(str(number), State(Status.PASSING, ""), 10)
    await files.save(ALL)
    await files.close()
    name = path_of(tmp_path, "services", "web").name
    assert order.index(name) <= 2 * local_files.BATCH
    assert len(order) == 1002


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\x00",
        b"[]",
        b'{"Name": 1}',
        b"{}",
        b'{"Name": "other", "TTL": "1s"}',
        b"[" * 100_000,
        b" " * (local_files.MAX_FILE + 1),
    ],
)
async def test_a_file_that_cannot_be_used_is_named_in_the_log_and_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    await LocalFiles(tmp_path).save(ALL)
    broken = path_of(tmp_path, "services", "web")
    broken.write_bytes(content)
    stored = await LocalFiles(tmp_path).load()
    assert (stored.services, stored.checks) == ({}, {"mem": CHECK})
    (message,) = caplog.messages
    assert str(broken) in message
    assert broken.read_bytes() == content


async def test_a_log_line_about_a_file_does_not_quote_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = {"Name": "web", "Token": "s3cret", "Port": "s3cret"}
    file = path_of(tmp_path, "services", "web")
    file.parent.mkdir()
    file.write_text(json.dumps(data))
    await LocalFiles(tmp_path).load()
    assert "s3cret" not in caplog.text
    assert "Port is not a whole number" in caplog.text


async def test_more_files_than_are_read_are_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await LocalFiles(tmp_path).save(
        {(Folder.SERVICES, name): {"Name": name} for name in ("a", "b", "c")}
    )
    monkeypatch.setattr(local_files, "MAX_FILES", 2)
    assert len((await LocalFiles(tmp_path).load()).services) == 2
    assert "more files than are read" in caplog.text


async def test_what_a_crash_left_of_a_write_is_not_read(tmp_path: Path) -> None:
    await LocalFiles(tmp_path).save(ALL)
    (tmp_path / "services" / ".half.123").write_bytes(b"{")
    assert (await LocalFiles(tmp_path).load()).services == {"web": SERVICE}


async def test_a_disk_that_takes_nothing_is_told_to_who_registers(tmp_path: Path) -> None:
    (tmp_path / "services").write_text("in the way")
    files = LocalFiles(tmp_path)
    with pytest.raises(GossipError, match="cannot keep it on the disk: "):
        await files.save(ALL)
    assert files.failed == 1
    assert (await LocalFiles(tmp_path).load()).checks == {"mem": CHECK}


async def test_a_disk_that_does_not_answer_does_not_hold_up_the_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answers = threading.Event()
    monkeypatch.setattr(local_files, "write_private", lambda path, data: answers.wait(60))
    monkeypatch.setattr(local_files, "CLOSE_WAIT", 0.05)
    files = LocalFiles(tmp_path)
    saving = asyncio.ensure_future(files.save(ALL))
    await asyncio.sleep(0)
    files.save_state("mem", State(Status.PASSING, ""), 10)
    await files.close()
    assert "registrations not written before the stop" in caplog.text
    assert not saving.done()
    saving.cancel()
    answers.set()


async def test_nothing_is_kept_without_a_folder() -> None:
    files = LocalFiles(None)
    await files.save(ALL)
    files.save_state("mem", State(Status.PASSING, ""), 10)
    await files.close()
    assert (await files.load()).services == {}


async def test_whoever_gives_up_waiting_disturbs_nobody(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    first = asyncio.ensure_future(files.save({(Folder.SERVICES, "a"): {"Name": "a"}}))
    await asyncio.sleep(0)
    first.cancel()
    await files.save(ALL)
    await files.close()
    assert set((await LocalFiles(tmp_path).load()).services) == {"a", "web"}
