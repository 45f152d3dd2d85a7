"""The plugin in a project of somebody else's: found, configured, and clear about what went wrong."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    RunProject = Callable[..., subprocess.CompletedProcess[str]]

SERVICE = '''
import asyncio
from gossip import Cluster, Config, UserEvent

class Service:
    """Somebody's service: knows nothing of tests or virtual time."""

    def __init__(self, name):
        self.cluster = Cluster(Config.lan(name))
        self.version = None

    async def start(self, join):
        await self.cluster.start()
        await self.cluster.join(join)
        self.following = asyncio.create_task(self.follow(self.cluster.subscribe()))

    async def follow(self, events):
        async for event in events:
            if isinstance(event, UserEvent) and event.name == "deploy":
                await asyncio.sleep(60)  # takes its time
                self.version = event.payload.decode()

    async def stop(self):
        await self.cluster.close()
        await self.following
'''
TESTS = """
import asyncio
import pytest
from service import Service

@pytest.fixture
def service(gossip_cluster):
    service = Service("web")
    with gossip_cluster.on("web"):
        gossip_cluster.run(service.start([gossip_cluster.address("node1")]))
    yield service
    gossip_cluster.run(service.stop())

@pytest.mark.gossip_cluster(nodes=2)
async def test_it_deploys(gossip_cluster, service):
    await gossip_cluster.settled("web")
    await gossip_cluster.fire("node2", "deploy", b"v2")
    await gossip_cluster.until(lambda: service.version == "v2", within=61)

class TestInAClass:
    @pytest.mark.parametrize("seconds", [1, 1000])
    async def test_it_survives_a_pause(self, gossip_cluster, service, seconds):
        await gossip_cluster.pause("web", seconds)
        await asyncio.sleep(seconds)
        await gossip_cluster.settled("web")

def test_without_a_cluster():
    pass
"""

SCOPE = ("-o", "asyncio_default_fixture_loop_scope=function")
ALONE = ("-p", "no:asyncio")


@pytest.fixture
def run_project(tmp_path: Path) -> RunProject:
    """A function that writes a test file into a folder of its own and runs pytest there."""

    def run(tests: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "service.py").write_text(SERVICE)
        (tmp_path / "test_it.py").write_text(tests)
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-W", "error", *arguments],
            cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip

    return run


@pytest.mark.parametrize(
    "arguments",
    [(*SCOPE, "--asyncio-mode=auto"), (*SCOPE, "--asyncio-mode=strict"), ALONE],
    ids=["auto", "strict", "no-asyncio-plugin"],
)
def test_a_foreign_project_tests_its_service_whatever_else_runs_coroutines(
    run_project: RunProject, arguments: tuple[str, ...]
) -> None:
    result = run_project(TESTS, "--strict-markers", *arguments)

    assert "4 passed" in result.stdout, result.stdout + result.stderr


def test_a_failure_shows_the_seed_the_views_and_what_happened_last(
    run_project: RunProject,
) -> None:
    result = run_project(
        """
        import asyncio, pytest

        @pytest.mark.gossip_cluster(nodes=2, seed=5)
        async def test_fails(gossip_cluster):
            await gossip_cluster.kill("node2")
            await asyncio.sleep(30)
            assert gossip_cluster.seed == 0
        """.replace("\n        ", "\n"),
        "--gossip-seed=77", *ALONE,
    )  # fmt: skip

    assert result.returncode == 1
    for part in (
        "gossip cluster",
        "seed 77, virtual time",
        "node1 sees node1 alive, node2 failed",
        "packet   node1 > 10.0.0.2:7946: dead Node=node2",
    ):
        assert part in result.stdout


def test_the_same_seed_fails_in_the_same_way(run_project: RunProject) -> None:
    tests = """
import asyncio, pytest

@pytest.mark.gossip_cluster(nodes=4)
async def test_fails(gossip_cluster):
    await gossip_cluster.loss(0.3)
    await asyncio.sleep(120)
    raise AssertionError(f"digest {gossip_cluster.loop.trace.digest()}")
"""

    digests = [
        next(
            line
            for line in run_project(tests, seed, *ALONE).stdout.splitlines()
            if "Error: digest" in line
        )
        for seed in ("--gossip-seed=1", "--gossip-seed=1", "--gossip-seed=2")
    ]

    assert digests[0] == digests[1] != digests[2]


def test_a_test_that_waits_for_ever_ends_and_says_where(run_project: RunProject) -> None:
    result = run_project(
        """
import asyncio, pytest

@pytest.mark.gossip_cluster(limit=100)
async def test_hangs(gossip_cluster):
    await asyncio.Event().wait()
""",
        *ALONE,
    )

    assert "StalledError: not over at 100 virtual s" in result.stdout
    assert "test_it.py:6" in result.stdout
    assert "1 failed" in result.stdout


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        ("kind='real'", "kind 'real' is neither 'virtual' nor 'processes'"),
        ("nodes=0", "nodes 0 is not between 1 and 200"),
        ("limit=0", "limit 0 is not above 0"),
        ("config={'probe_intervall': 1.0}", "unexpected keyword argument 'probe_intervall'"),
        ("config={'suspicion_mult': 0}", "suspicion_mult 0 is not"),
        ("size=3", "unexpected keyword argument 'size'"),
        ("3", "takes keyword arguments only"),
    ],
)
def test_a_wrong_marker_is_explained(
    pytestconfig: pytest.Config, marker: str, message: str
) -> None:
    from simulations.pytest_plugin import options_of  # noqa: PLC0415 - pytest has imported it

    mark = eval(f"pytest.mark.gossip_cluster({marker})")  # noqa: S307 - from the list above

    class Item:
        nodeid = "test_it.py::test_it"

        def iter_markers(self, name: str) -> list[pytest.Mark]:
            assert name == "gossip_cluster"
            return [mark.mark]

    with pytest.raises(pytest.UsageError, match=message):
        options_of(Item(), None)  # type: ignore[arg-type]


def test_a_run_that_does_not_use_the_fixture_does_not_pay_for_it() -> None:
    code = (
        "import sys, simulations.pytest_plugin\n"
        "loaded = {name.partition('.')[0] for name in sys.modules}\n"
        "assert not loaded & {'gossip', 'numpy', 'matplotlib', 'aiohttp'}, loaded\n"
        "assert not [name for name in sys.modules if name.startswith('simulations.')][1:]\n"
    )

    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
