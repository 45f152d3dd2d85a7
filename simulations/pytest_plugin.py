"""pytest plugin: a fixture ``gossip_cluster``, members of a pool that a test can hurt.

It is there wherever this package is installed. In virtual time, the default, every member is a real
`gossip.Cluster` under an event loop whose hours pass in milliseconds, and one seed is one history::

    import pytest

    @pytest.mark.gossip_cluster(nodes=5, seed=3, config={"suspicion_mult": 3})
    async def test_the_others_notice(gossip_cluster):
        await gossip_cluster.partition(["node1", "node2"])
        await asyncio.sleep(60)  # no time at all
        assert (await gossip_cluster.members("node3"))["node1"] == "failed"
        await gossip_cluster.heal()
        await gossip_cluster.settled(within=120)

A service of yours is tested in the same network, with no change to it. Whatever is started ``on`` a
machine of its own can be paused, partitioned and lose packets like the other members::

    async def test_my_service(gossip_cluster):
        with gossip_cluster.on("web"):
            service = Service(Config.lan("web"))
            await service.start(join=[gossip_cluster.address("node1")])
        await gossip_cluster.fire("node2", "deploy", b"v2")
        await gossip_cluster.until(lambda: service.version == "v2", within=5)

With ``kind="processes"`` the members are agents on loopback, and time is real.

* Verbs, all coroutines: ``partition``, ``loss``, ``heal``, ``pause``, ``resume``, ``kill``, ``restart``,
  ``leave``, ``add``, ``fire``; what is seen: ``members``, ``events``, ``address``, ``names``, ``running``;
  waiting: ``until``, ``settled``. `simulations.fixture.base.GossipCluster` describes them.
* ``@pytest.mark.gossip_cluster(kind=, nodes=, seed=, config=, limit=)``: see
  `simulations.fixture.base.Options`.
* ``--gossip-seed N`` runs every such test with that seed.
* A failure shows the seed, how the members see each other, and the last packets or lines of the logs.

The plugin runs coroutine tests that ask for the fixture itself, whatever other plugins do about the rest;
so asynchronous fixtures of others live on another loop. ``gossip_cluster.run(coroutine)`` serves a plain
fixture or test instead. In virtual time threads, processes, real sockets, and code that reads
``time.monotonic`` stay in real time; executors run what they are given at once.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from simulations.fixture.base import GossipCluster, Options

__all__ = ["gossip_cluster", "options_of"]

MARKER = "gossip_cluster"
_running = pytest.StashKey["tuple[GossipCluster, Callable[..., Any]]"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that chooses the seed."""
    parser.getgroup("gossip").addoption(
        "--gossip-seed", type=int, metavar="N", help="seed of every gossip_cluster"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Describe the marker."""
    config.addinivalue_line(
        "markers",
        "gossip_cluster(kind='virtual', nodes=3, seed=1, config={}, limit=3600): "
        "what the fixture gossip_cluster gives",
    )


@pytest.fixture
def gossip_cluster(request: pytest.FixtureRequest) -> Iterator[GossipCluster]:
    """A joined pool under test; the module `simulations.pytest_plugin` says how it is used."""
    # Imported here: most runs of pytest where this is installed do not need any of it.
    import asyncio  # noqa: PLC0415

    options = options_of(request.node, request.config.getoption("--gossip-seed"))
    with asyncio.Runner(loop_factory=_loop_factory(options)) as runner:
        loop = runner.get_loop()
        cluster = _make(options, loop)
        # Another plugin may replace the function by one that runs it on a loop of its own.
        request.node.stash[_running] = (cluster, request.node.obj)
        try:
            loop.run_until_complete(cluster.start())
            yield cluster
        finally:
            loop.run_until_complete(cluster.close())


def options_of(item: pytest.Item, seed: int | None) -> Options:
    """What the markers of a test, and the command line, ask for; raises pytest.UsageError."""
    from simulations.fixture.base import Options  # noqa: PLC0415

    settings: dict[str, Any] = {}
    for marker in item.iter_markers(MARKER):  # the closest comes first, and wins
        if marker.args:
            raise pytest.UsageError(f"{item.nodeid}: gossip_cluster takes keyword arguments only")
        settings = {**marker.kwargs, **settings}
    if seed is not None:
        settings["seed"] = seed
    try:
        return Options(**settings)
    except (TypeError, ValueError) as error:
        raise pytest.UsageError(f"{item.nodeid}: gossip_cluster: {error}") from error


def _loop_factory(options: Options) -> Callable[[], Any] | None:
    if options.kind == "processes":
        return None
    from simulations.virtual import VirtualLoop  # noqa: PLC0415

    return lambda: VirtualLoop(options.seed, limit=options.limit)


def _make(options: Options, loop: Any) -> GossipCluster:
    if options.kind == "processes":
        from simulations.fixture.processes import ProcessCluster  # noqa: PLC0415

        return ProcessCluster(options, loop)
    from simulations.fixture.virtual import VirtualCluster  # noqa: PLC0415

    return VirtualCluster(options, loop)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine test on the loop of its cluster."""
    held = pyfuncitem.stash.get(_running, None)
    if held is None or not inspect.iscoroutinefunction(held[1]):
        return None
    cluster, test = held
    names = pyfuncitem._fixtureinfo.argnames  # noqa: SLF001 - what pytest's own implementation passes
    cluster.run(test(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what happened in the cluster of a test that failed."""
    report = yield
    held = item.stash.get(_running, None)
    if held is not None and call.when != "teardown" and report.failed:
        report.sections.append(("gossip cluster", held[0].report()))
    if call.when == "teardown" and held is not None:
        del item.stash[_running]
    return report
