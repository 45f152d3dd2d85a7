"""The nodes of an experiment on processes: what a kill forgets, and what processor time is told."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from simulations.cluster.agent import LocalAgent
from simulations.cluster.faults import RealFaults
from simulations.cluster.network import Network
from simulations.cluster.observe import Observer
from simulations.cluster.pool import Host, Pool
from simulations.cluster.record import Record
from simulations.local.ports import Ports
from simulations.plan import Plan, Step

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    ports = Ports()
    yield Pool(Plan(), tmp_path, ports, None, Observer())
    ports.close()


def host(tmp_path: Path) -> Host:
    agent = LocalAgent(
        "one", ["agent"], http_socket=tmp_path / "http", gossip_port=1, folder=tmp_path
    )
    return Host(agent, None, {})


async def test_a_pause_ends_with_the_process_that_was_paused(pool: Pool, tmp_path: Path) -> None:
    """The next process of the node may be paused for a shorter time than was left to the old one."""
    killed = host(tmp_path)
    killed.paused_until = 100.0

    await pool.kill(killed)

    assert killed.paused_until == 0.0


async def test_keys_are_rotated_where_nobody_runs_any_more(pool: Pool) -> None:
    record, observer = Record("processes"), Observer()
    faults = RealFaults(pool, Network(None, dict, Path()), observer, record)

    await faults.do(Step(at=1, do="rotate_key"))

    assert record.problems == []
    assert [deed.what for deed in record.deeds] == ["rotate_key"]


@pytest.mark.skipif(
    sys.platform != "linux", reason="the processor time of others is Linux's to tell"
)
def test_processor_time_is_told_in_finer_steps_than_ten_milliseconds(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive, dead = host(tmp_path), host(tmp_path)
    pids = {id(alive.agent.process): os.getpid(), id(dead.agent.process): 2**22 + 1}
    monkeypatch.setattr(
        type(alive.agent.process), "pid", property(lambda process: pids[id(process)])
    )
    alive.running = dead.running = True
    pool.hosts = {"alive": alive, "dead": dead}

    before = time.process_time()
    told = pool.cpu_seconds()
    after = time.process_time()

    assert told.keys() == {os.getpid()}, "no process has the other id"
    assert before <= told[os.getpid()] <= after
