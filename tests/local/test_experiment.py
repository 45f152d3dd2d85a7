"""Plans on real agents: every kind of fault does something, and nothing is left, however a run ends."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from simulations.__main__ import main
from simulations.cluster.experiment import Row, run_processes
from simulations.cluster.machines import Router
from simulations.local.wait import eventually
from simulations.plan import Plan, PlanError
from tests.helpers_peers import missing

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
FAST = {"probe_interval": 0.5, "probe_timeout": 0.25, "suspicion_mult": 2}


@pytest.fixture
def root() -> None:
    """For tests whose plans make network namespaces and mount file systems."""
    if sys.platform != "linux" or os.geteuid() != 0:
        missing("only root makes network namespaces with an address for each agent")


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder with a short path, since sockets have no long ones."""
    folder = Path(tempfile.mkdtemp(prefix="x-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def a_plan(*steps: dict[str, Any], **fields: Any) -> Plan:
    return Plan.parse({"settings": FAST, "steps": list(steps), **fields})


async def started(scratch: Path, plan: Plan) -> asyncio.subprocess.Process:
    """The command running a plan, its temporary files below `scratch`."""
    path = scratch / "plan.json"
    path.write_text(plan.to_json())
    (scratch / "tmp").mkdir()
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "simulations", "cluster", "--plan", str(path), "--json",
        "--out", str(scratch / "report"),
        cwd=ROOT, env={**os.environ, "TMPDIR": str(scratch / "tmp")},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def namespace_of(pid: int) -> int:
    return Path(f"/proc/{pid}/ns/net").stat().st_ino


def used_namespaces() -> set[int]:
    """The network namespaces that some process is in."""
    found = set()
    for process in Path("/proc").iterdir():
        try:
            found.add((process / "ns" / "net").stat().st_ino)
        except OSError:  # no process, or one that just ended
            continue
    return found


@pytest.mark.usefixtures("root")
async def test_faults_of_processes_network_disk_and_keys_do_what_they_say_to_real_agents(
    scratch: Path,
) -> None:
    plan = a_plan(
        {"at": 0.1, "do": "rotate_key"},  # needs every disk and all packets, for as long as it takes
        {"at": 3.5, "do": "loss", "rate": 0.2, "seconds": 2},
        {"at": 3.6, "do": "fire", "nodes": "all", "name": "lossy"},
        {"at": 3.8, "do": "plaintext", "nodes": "all", "count": 3},
        {"at": 6.0, "do": "delay", "delay": 0.05, "seconds": 1.5},
        {"at": 6.1, "do": "duplicate", "rate": 1.0, "seconds": 1.4},
        {"at": 6.3, "do": "fire", "nodes": "first:1", "name": "slow"},
        {"at": 8.0, "do": "partition", "nodes": "node-000,node-001", "seconds": 4},
        {"at": 8.5, "do": "disk_full", "nodes": "node-004", "seconds": 3},
        {"at": 13.0, "do": "kill", "nodes": "node-003", "machine": True},
        {"at": 13.1, "do": "disk_damage", "nodes": "node-003"},
        {"at": 13.2, "do": "pause", "nodes": "node-002", "seconds": 1},
        {"at": 18.5, "do": "restart", "nodes": "node-003", "with_memory": True},
        nodes=5, seconds=19, encrypted=True,
    )  # fmt: skip

    process = await started(scratch, plan)
    output, errors = await process.communicate()

    found = json.loads(output)
    assert found["problems"] == []
    assert process.returncode == 0, errors.decode()
    assert found["settled"]
    assert len(found["deeds"]) == len(plan.steps)
    values = found["figures"]
    assert values["events"] == 6
    assert values["deliveries missing"] == 0
    assert values["kills noticed"] == 1
    assert values["running members said failed"] >= 2, "each side of the partition about the other"
    slow = next(event["seconds"] for event in found["events"] if event["name"] == "slow")
    assert len(slow) == 3, "the one that was killed later does not count"
    assert min(slow) >= 0.025, "no packet takes less than half of the delay"
    assert found["facts"]["packets_duplicated"] > 0
    assert sorted(path.name for path in (scratch / "report").iterdir()) == [
        "detection.png", "events.png", "report.json", "report.md", "views.png",
    ]  # fmt: skip
    assert list((scratch / "tmp").iterdir()) == []


def test_what_applications_and_operators_do_needs_no_namespace(scratch: Path) -> None:
    plan = a_plan(
        {"at": 0.1, "do": "ask", "nodes": "first:1", "name": "uptime"},
        {"at": 0.2, "do": "tags", "nodes": "node-001", "tags": {"zone": "b"}},
        {"at": 0.4, "do": "join", "nodes": "newcomer"},
        {"at": 3.0, "do": "kill", "nodes": "node-002"},
        {"at": 8.5, "do": "force_leave", "nodes": "first:1", "to": "node-002", "prune": True},
        {"at": 8.7, "do": "fire", "nodes": "newcomer", "count": 3},
        {"at": 9.0, "do": "leave", "nodes": "node-001"},
        {"at": 9.5, "do": "restart", "nodes": "node-001"},
        {"at": 9.6, "do": "join", "nodes": "node-002"},
        nodes=3, seconds=10.5,
    )  # fmt: skip
    rows: list[Row] = []

    record = run_processes(plan, rows.append)

    assert record.problems == []
    assert record.settled()
    assert record.undelivered() == 0
    assert len(record.events) == 3
    assert [len(times) for times in record.detections().values()] == [2]
    assert rows[-1].running == rows[-1].right_views == 4
    assert rows[-1].what == "settled"


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
async def test_an_interrupted_or_killed_run_leaves_no_process_namespace_or_folder(
    scratch: Path, how: signal.Signals
) -> None:
    steps = [{"at": 0.1, "do": "loss", "rate": 0.1}, {"at": 0.2, "do": "delay", "delay": 0.01}]
    process = await started(scratch, a_plan(*steps, nodes=3, seconds=60))
    assert process.stderr is not None
    while b"delay" not in await asyncio.wait_for(process.stderr.readline(), 40):
        pass
    children = children_of(process.pid)
    inodes = {namespace_of(pid) for pid in [process.pid, *children]} - {namespace_of(os.getpid())}
    assert len(inodes) == 4, "three machines and their router"
    assert len(list((scratch / "tmp").iterdir())) == 1

    process.send_signal(how)
    await process.communicate()

    await eventually(
        lambda: not any(Path(f"/proc/{pid}").exists() for pid in children),
        within=20,
        what=lambda: f"children end: {children}",
    )
    assert not inodes & used_namespaces()
    await eventually(
        lambda: not list((scratch / "tmp").iterdir()), within=20, what="the folder goes"
    )
    assert process.returncode == (-9 if how is signal.SIGKILL else 130)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"steps": [{"at": 1, "do": "slow", "nodes": "all", "delay": 1}]}, "steps[0]: slow is for the"),
        ({"steps": [{"at": 1, "do": "jump", "nodes": "all", "seconds": 1}]}, "steps[0]: jump is for"),
        ({"steps": [{"at": 1, "do": "poison", "nodes": "all"}]}, "steps[0]: poison is for the"),
        ({"nodes": 501}, "nodes 501 are more than the 500 that can be processes"),
        ({"settings": {"compress": True}}, "settings.compress cannot be set for processes"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_to_processes_is_refused_before_anything_starts(
    fields: dict[str, Any], text: str
) -> None:
    def no_row(_: Row) -> None:
        pytest.fail("it must not start")

    with pytest.raises(PlanError) as error:
        run_processes(Plan.parse(fields), no_row)
    assert text in str(error.value)


@pytest.mark.parametrize(
    ("step", "named"),
    [
        ({"do": "partition", "nodes": "first:1"}, "steps[0]: partition needs network namespaces"),
        ({"do": "kill", "nodes": "all", "machine": True}, "steps[0]: kill of a machine needs"),
        ({"do": "restart", "nodes": "all", "new_address": True}, "restart with new_address needs"),
        ({"do": "disk_full", "nodes": "all"}, "steps[0]: disk_full needs"),
    ],
)
def test_without_namespaces_a_step_that_needs_them_is_named_before_anything_starts(
    step: dict[str, Any], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Router, "open", lambda: None)

    with pytest.raises(PlanError) as error:
        run_processes(a_plan({"at": 1, **step}), lambda _: None)
    assert named in str(error.value)


def test_without_the_tun_device_a_step_of_the_relay_is_named_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("simulations.cluster.experiment.TUN", "/no/such/device")

    with pytest.raises(PlanError, match=r"steps\[0\]: delay needs /no/such/device"):
        run_processes(a_plan({"at": 1, "do": "delay", "delay": 0.1}), lambda _: None)


def test_a_wrong_plan_is_bad_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cluster", "--plan", "no-such-plan"]) == 2
    assert "partition-and-heal" in capsys.readouterr().err
    assert main(["compare", "loss", "--nodes", "1000000"]) == 2
    assert "between 1 and 100000" in capsys.readouterr().err
