"""Scale: how fast and how large a simulated pool is, and how long large pools take to agree."""

from __future__ import annotations

import gc
import resource
import sys
from time import perf_counter, process_time
from typing import TYPE_CHECKING

from gossip.events import MemberStatus
from simulations.shared import SharedWorld

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulations.host import Host

__all__ = ["measure"]

SLICE = 0.05
"""Virtual seconds between looks whether everybody knows."""
GARBAGE = 500_000
"""New objects between looks for unreachable cycles. Nearly all of a world's objects live as long as it
does, and Python looks after every 700: that takes a quarter of the time."""
LIMIT = 300.0
"""Virtual seconds after which a pool is taken not to converge."""


def measure(
    nodes: int,
    *,
    seconds: float = 10.0,
    idle_only: bool = False,
    tell: Callable[[str], None] = lambda _step: None,
) -> dict[str, float | int]:
    """Simulate a settled pool: idle, then one event, one kill, one leave.

    Args:
        nodes: how many.
        seconds: of idling, virtual.
        idle_only: no more than that.
        tell: hears what is going on.
    """
    tell(f"making a settled pool of {nodes:,} nodes")
    thresholds = gc.get_threshold()
    gc.set_threshold(GARBAGE)
    try:
        return _measure(nodes, seconds, tell, idle_only=idle_only)
    finally:
        gc.set_threshold(*thresholds)


def _measure(
    nodes: int, seconds: float, tell: Callable[[str], None], *, idle_only: bool
) -> dict[str, float | int]:
    started, started_cpu, before = perf_counter(), process_time(), _memory()
    world = SharedWorld(nodes)
    for host in world.hosts.values():
        host.keep_events = False
    figures: dict[str, float | int] = {"nodes": nodes, "made in, s": perf_counter() - started}
    tell(f"idle for {seconds:g} virtual seconds")
    world.run(2.0)
    gc.collect()
    cpu, wall = process_time(), perf_counter()
    world.run(seconds)
    figures["idle node-seconds per CPU second"] = nodes * seconds / (process_time() - cpu)
    figures["idle node-seconds per wall second"] = nodes * seconds / (perf_counter() - wall)
    if not idle_only:
        _converge(world, figures, tell)
    peak = _memory()
    figures["memory at most, MiB"] = peak / 2**20
    figures["bytes per view of a member"] = (peak - before) / nodes**2
    figures["rows held, of all views, percent"] = 100 * world.rows_held() / (2 * nodes**2)
    figures["packets"] = world.packets_sent
    figures["streams"] = world.streams_opened
    figures["all in, s"] = perf_counter() - started
    figures["all in, CPU s"] = process_time() - started_cpu
    return figures


def _converge(
    world: SharedWorld, figures: dict[str, float | int], tell: Callable[[str], None]
) -> None:
    hosts = list(world.hosts.values())
    firing, dying, leaving = hosts[0], hosts[1], hosts[2]

    tell("one event")
    clock = firing.node.event_clock.time
    _until(
        world, figures, "one event everywhere",
        lambda: world.fire(firing, "deploy", b"v2"),
        lambda host: host.node.event_clock.time > clock,
    )  # fmt: skip
    tell("one kill")
    _until(
        world, figures, "one dead member failed everywhere",
        lambda: world.kill(dying),
        lambda host: _status(host, dying.name) is MemberStatus.FAILED,
    )  # fmt: skip
    tell("one leave")
    _until(
        world, figures, "one leaving member left everywhere",
        lambda: world.leave(leaving),
        lambda host: _status(host, leaving.name) is MemberStatus.LEFT,
    )  # fmt: skip


def _until(
    world: SharedWorld,
    figures: dict[str, float | int],
    what: str,
    action: Callable[[], object],
    knows: Callable[[Host], bool],
) -> None:
    started, begin = perf_counter(), world.now
    action()
    waiting = world.running()

    def all_know() -> bool:
        nonlocal waiting
        waiting = [host for host in waiting if host.running and not knows(host)]
        return not waiting

    world.run_until(all_know, LIMIT, every=SLICE)
    figures[f"{what}, virtual s"] = world.now - begin
    figures[f"{what}, wall s"] = perf_counter() - started


def _status(host: Host, name: str) -> MemberStatus:
    member = host.node.members.get(name)
    return MemberStatus.NONE if member is None else member.status


def _memory() -> int:
    """The most that this process ever used, bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
