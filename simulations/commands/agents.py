"""``agents``: a cluster to look at, which is what ``make run`` starts.

It starts the agents, joins them, fires an event, prints the member table and follows membership and
events until Ctrl-C. With ``--datacenters`` it does so in several, and joins their servers in the WAN pool.
With ``--exit`` it stops by itself: status 0 only if every member was seen alive by every agent of its
datacenter, the event arrived on all of them, and every server saw those of all datacenters.
"""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulations.cluster.agent import STATUS
from simulations.cluster.cluster import LocalCluster
from simulations.cluster.datacenters import LocalDatacenters
from simulations.cluster.screen import Screen, clock, table_of
from simulations.commands.terminal import add_command, between
from simulations.local.wait import eventually

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from simulations.cluster.agent import LocalAgent
    from simulations.commands.terminal import Subparsers

__all__ = ["add_to"]

EVENT, PAYLOAD = "hello", b"from node1"
MAX_AGENTS = 100
EVENT_WITHIN = 10.0
EXAMPLES = """examples:
  python -m simulations agents                    five agents until Ctrl-C, HTTP at 127.0.0.1:8500
  python -m simulations agents -n 3 --exit        three agents, show and stop; status 0 if all went well
  python -m simulations agents --datacenters 2    two datacenters of three agents, joined over the WAN
  python -m simulations agents --json             one JSON object per line, for scripts

meanwhile, in another terminal:
  curl http://127.0.0.1:8500/v1/agent/members
  curl -X PUT -d v2 http://127.0.0.1:8500/v1/event/fire/deploy
  kill -9 PID                                     of one of the agents shown: see it detected
"""


def add_to(commands: Subparsers) -> None:
    """Add the subcommand."""
    command = add_command(
        commands, "agents", "agents on this machine to look at, until Ctrl-C",
        "Start agents on this machine, join them and follow what happens, until Ctrl-C.", EXAMPLES,
    )  # fmt: skip
    command.add_argument(
        "-n",
        type=between(1, MAX_AGENTS, int),
        metavar="N",
        help="agents in each datacenter (5; 3 if several)",
    )
    command.add_argument(
        "--datacenters",
        type=between(1, MAX_AGENTS, int),
        default=1,
        metavar="D",
        help="how many (1); of several, each has one server",
    )
    command.add_argument(
        "--http-port",
        type=between(1, 65535, int),
        default=8500,
        metavar="PORT",
        help="HTTP of the first agent (8500)",
    )
    command.add_argument("--exit", action="store_true", help="stop after showing the cluster")
    command.add_argument("--json", action="store_true", help="print one JSON object per line")
    command.add_argument(
        "--keep",
        type=Path,
        metavar="DIR",
        help="put data and logs here, in place of those of the last run, and leave them",
    )
    command.add_argument("--encrypt", metavar="KEY", help="base64 gossip key for all agents")
    command.add_argument(
        "--command",
        dest="program",
        type=shlex.split,
        metavar="COMMAND",
        help="what starts an agent (this Python with -m agent)",
    )
    command.set_defaults(do=agents)


async def show(cluster: LocalCluster, screen: Screen) -> None:
    """Join, fire an event and print the member table; raises TimeoutError when that falls short."""
    agents = cluster.agents
    for agent in agents:
        screen.say(
            "agent",
            f"  {agent.name:8} {agent.url:24} gossip {agent.gossip[0]}:{agent.gossip[1]:<6}"
            f" pid {agent.process.pid}",
            name=agent.name,
            http=agent.url,
            gossip=f"{agent.gossip[0]}:{agent.gossip[1]}",
            pid=agent.process.pid,
        )
    started = time.monotonic()
    async with screen.waiting("joining"):
        await cluster.join()
        await cluster.complete(within=30)
    seconds = time.monotonic() - started
    screen.say(
        "joined",
        f"Joined: each of {len(agents)} agents sees {len(agents)} members alive after {seconds:.2f} s",
        agents=len(agents),
        seconds=round(seconds, 3),
    )
    started = time.monotonic()
    event = await agents[0].fire(EVENT, PAYLOAD)
    async with screen.waiting("waiting for the event everywhere"):
        await arrived(agents, event)
    seconds = time.monotonic() - started
    screen.say(
        "event",
        f"Event '{EVENT}' fired at {agents[0].name} arrived on {len(agents)} of {len(agents)} agents"
        f" within {seconds:.2f} s",
        id=event,
        name=EVENT,
        arrived=len(agents),
        seconds=round(seconds, 3),
    )
    members = await agents[0].member_table()
    screen.say("members", table_of(members, "build"), members=members)


async def show_wan(datacenters: LocalDatacenters, screen: Screen) -> None:
    """Join the servers and print what they see; raises TimeoutError when that falls short.

    The LAN pools have to be what they were.
    """
    started = time.monotonic()
    async with screen.waiting("joining the WAN pool"):
        await datacenters.join()
        await datacenters.complete(within=30)
        for cluster in datacenters.clusters:
            await cluster.complete(within=30)
    seconds = time.monotonic() - started
    servers = list(datacenters.servers().values())
    known = await servers[0].datacenters()
    screen.say(
        "wan_joined",
        f"\nJoined over the WAN: each of {len(servers)} servers sees {len(servers)} members alive"
        f" after {seconds:.2f} s; {servers[0].name} knows the datacenters {', '.join(known)}",
        servers=len(servers),
        datacenters=known,
        seconds=round(seconds, 3),
    )
    members = await servers[0].member_table(wan=True)
    screen.say("wan_members", table_of(members, "dc"), members=members)


async def arrived(agents: Sequence[LocalAgent], event: str) -> None:
    """Wait until every agent lists the event; raises TimeoutError naming those that do not."""
    missing = {agent.name: agent for agent in agents}

    async def looks() -> bool:
        for agent in list(missing.values()):
            events, _ = await agent.events(EVENT)
            if any(e["ID"] == event and e["Payload"] == PAYLOAD for e in events):
                del missing[agent.name]
        return not missing

    await eventually(
        looks,
        within=EVENT_WITHIN,
        what=lambda: f"event {event} listed by {', '.join(missing)}",
    )


async def follow(clusters: Sequence[LocalCluster], screen: Screen) -> None:
    """Print every change of membership and every event, until cancelled or nobody runs any more."""
    first, last = clusters[0], clusters[-1]
    pools = [(cluster.running, False) for cluster in clusters]
    pools += [(cluster.servers, True) for cluster in clusters if len(clusters) > 1]
    views = [
        {agent.name: await agent.members(wan=wan) for agent in agents()} for agents, wan in pools
    ]
    screen.say(
        "following",
        "\nFollowing membership and events; Ctrl-C ends the cluster. Try, in another terminal:\n"
        f"  curl -X PUT -d v2 {first.agents[0].url}/v1/event/fire/deploy\n"
        f"  kill -9 {last.agents[-1].process.pid}\n",
    )
    await asyncio.gather(
        *(follow_events(cluster, screen) for cluster in clusters),
        *(
            follow_members(agents, view, screen, wan=wan)
            for (agents, wan), view in zip(pools, views, strict=True)
        ),
    )
    screen.say("ended", "All agents have ended.")


async def follow_members(
    running: Callable[[], list[LocalAgent]],
    views: dict[str, dict[str, int]],
    screen: Screen,
    *,
    wan: bool,
) -> None:
    """Print what the agents of a pool say about each other when any of them changes its mind.

    `views` is what each of them said before.
    """
    while running():
        await asyncio.sleep(0.5)
        changes: dict[tuple[str, int], list[str]] = {}
        for agent in running():
            with contextlib.suppress(OSError):  # it may be ending, or be paused by the user
                view = await agent.members(wan=wan)
                for name, status in view.items():
                    if views[agent.name].get(name) != status:
                        changes.setdefault((name, status), []).append(agent.name)
                views[agent.name] = view
        for (name, status), tellers in changes.items():
            screen.say(
                "member",
                f"{clock()}  {name} {STATUS[status]:8} says {', '.join(tellers)}",
                name=name,
                status=STATUS[status],
                seen_by=tellers,
            )


async def follow_events(cluster: LocalCluster, screen: Screen) -> None:
    """Print events as the first agent that runs lists them."""
    seen: set[str] = set()
    index = 0
    watched = None
    while running := cluster.running():
        if watched is not running[0]:
            watched, index = running[0], 0
        try:
            events, index = await watched.events(index=index, wait=10)
        except OSError:
            index = 0
            await asyncio.sleep(0.5)
            continue
        for event in events:
            if event["ID"] not in seen and event["Name"] != EVENT:
                screen.say(
                    "event",
                    f"{clock()}  event {event['Name']} {event['Payload']!r} (time {event['LTime']})",
                    id=event["ID"],
                    name=event["Name"],
                    payload=event["Payload"].decode(errors="replace"),
                    ltime=event["LTime"],
                )
            seen.add(event["ID"])


async def run(options: argparse.Namespace) -> None:
    """Start the cluster, show it and follow it."""
    screen = Screen("json" if options.json else "text")
    if options.keep is not None:
        for pattern in ("node*", "dc*-node*"):
            for earlier in options.keep.glob(pattern):
                shutil.rmtree(earlier)
    settings: dict[str, Any] = {
        "folder": options.keep,
        "http_port": options.http_port,
        "join": False,
    }
    if options.encrypt:
        settings["arguments"] = [f"-encrypt={options.encrypt}"]
    if options.program:
        settings["command"] = options.program
    if options.datacenters > 1:
        await run_datacenters(options, settings, screen)
    else:
        await run_cluster(options, settings, screen)
    if options.exit:
        screen.say("done", "All agents ended; everything was seen.")


async def run_cluster(
    options: argparse.Namespace, settings: dict[str, Any], screen: Screen
) -> None:
    """One datacenter, without servers."""
    screen.say("starting", f"Starting {options.n} agents", agents=options.n)
    async with contextlib.AsyncExitStack() as stack:
        async with screen.waiting("starting"):
            cluster = await stack.enter_async_context(LocalCluster(options.n, **settings))
        await show(cluster, screen)
        if not options.exit:
            await follow([cluster], screen)


async def run_datacenters(
    options: argparse.Namespace, settings: dict[str, Any], screen: Screen
) -> None:
    """Several datacenters, one server each."""
    count = options.datacenters
    screen.say(
        "starting",
        f"Starting {count} datacenters of {options.n} agents",
        datacenters=count,
        agents=options.n,
    )
    async with contextlib.AsyncExitStack() as stack:
        async with screen.waiting("starting"):
            datacenters = await stack.enter_async_context(
                LocalDatacenters(count, options.n, **settings)
            )
        for cluster in datacenters.clusters:
            name = cluster.datacenter
            screen.say("datacenter", f"\nDatacenter {name}", datacenter=name)
            await show(cluster, screen)
        await show_wan(datacenters, screen)
        if not options.exit:
            await follow(datacenters.clusters, screen)


def agents(options: argparse.Namespace) -> int:
    """Run the command; without ``--exit`` Ctrl-C is how it is meant to end."""
    options.n = options.n or (5 if options.datacenters == 1 else 3)
    if options.n * options.datacenters > MAX_AGENTS:
        sys.stderr.write(
            f"-n {options.n} is not between 1 and {MAX_AGENTS // options.datacenters},"
            f" {MAX_AGENTS} agents in all\n"
        )
        return 2
    try:
        asyncio.run(run(options))
    except KeyboardInterrupt:
        if options.exit:  # not everything was seen
            raise
        sys.stderr.write("\nAll agents ended.\n")
        return 0
    except (OSError, RuntimeError) as error:
        sys.stderr.write(f"error: {error}\n")
        if "is taken by another process" in str(error):
            sys.stderr.write(
                "Stop what listens there, or choose another port:"
                f" make run HTTP_PORT={options.http_port + 1000}\n"
            )
        return 1
    return 0
