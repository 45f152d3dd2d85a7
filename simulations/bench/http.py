"""``python -m simulations.bench.http``: what requests to our agent cost, beside genuine Consul in one run.

Both lead a datacenter with the same catalog, each alone in its pool, and both share one core; the
clients have another. They are measured in turn, case by case, so that whatever else the machine does
disturbs both alike; requests per CPU second tell what a core does that nobody else uses. Progress goes to
standard error, the table or JSON to standard output.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import os
import platform
import resource
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING

from simulations.bench.figure import Goal, Group, Quantity, Samples
from simulations.bench.lab import share, to_stderr
from simulations.bench.load import Answer, Client, LoadError, checked, load
from simulations.bench.node import new_loop
from simulations.bench.options import chosen
from simulations.bench.report import Report
from simulations.bench.served import SYSTEMS, Catalog, Served, cores, served
from simulations.local.ports import Ports
from simulations.peers import PeerMissingError, find_peer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

EVENTS = 300
"""Fired before anything is measured: more than the list holds."""
SLOWEST = 0.1
"""Seconds; no request may take longer, however large the catalog is."""
REPEATS = 5
"""Requests to each endpoint of the full catalog after a change."""
WAIT = "wait=120s"
EXAMPLES = """examples:
  python -m simulations.bench.http                                  everything, about four minutes
  python -m simulations.bench.http -cases members,fire -nodes 10    two cases, on a small catalog
  python -m simulations.bench.http -systems agent -format json      ours alone, as JSON

Consul's binary is found through CONSUL_BIN or the search path.
"""


@dataclass(frozen=True)
class Request:
    """A request that is sent again and again."""

    about: str
    target: str
    method: str = "GET"
    body: bytes = b""
    goal: float = 0.5
    """At least so many times as many per CPU second as Consul answers."""


REQUESTS = {
    "members": Request("the members", "/v1/agent/members"),
    "self": Request("the agent itself", "/v1/agent/self"),
    "fire": Request(
        "fire an event; in a pool of several, ours take 816 a second so that everybody gets every one",
        "/v1/event/fire/deploy",
        "PUT",
        b"x" * 30,
        goal=1.0,
    ),
    "events": Request("list the events, of which there are 256", "/v1/event/list"),
    "catalog": Request("ten instances of a service", "/v1/catalog/service/service-1"),
    "health": Request("the same with their checks", "/v1/health/service/service-1"),
}

FULL = {
    "nodes": "/v1/catalog/nodes",
    "names": "/v1/catalog/services",
    "few": "/v1/catalog/service/service-1",
    "many": "/v1/catalog/service/web",
    "node": "/v1/catalog/node/node-1",
    "health of a node": "/v1/health/node/node-1",
    "checks": "/v1/health/checks/web",
    "health of few": "/v1/health/service/service-1",
    "health of many": "/v1/health/service/web?passing",
    "every check": "/v1/health/state/any",
    "members": "/v1/agent/members",
    "self": "/v1/agent/self",
    "events": "/v1/event/list",
}
"""Endpoints of the full catalog."""


def _request_group(name: str, request: Request) -> Group:
    goal = Goal(request.goal, above=True, against="consul")
    return Group(
        name,
        request.about,
        (
            Quantity("core", "requests per CPU second", "/s", goal),
            Quantity("rate", "requests per second", "/s"),
            Quantity("median", "answer, median", "ms"),
            Quantity("p99", "answer, p99", "ms"),
        ),
    )


_NEVER_SLOW = Goal(1e3 * SLOWEST, against=None)
GROUPS: dict[str, Group] = {
    **{name: _request_group(name, request) for name, request in REQUESTS.items()},
    **{
        name: Group(
            name,
            f"{about}, until clients that wait have the answer",
            (
                Quantity("first", "first", "ms"),
                Quantity("median", "median", "ms"),
                Quantity("p99", "p99", "ms", Goal(1.5, against="consul")),
                Quantity("last", "last", "ms"),
            ),
        )
        for name, about in (
            ("wake-event", "from firing an event"),
            ("wake-health", "from registering a check"),
        )
    },
    "fill": Group(
        "fill",
        "registering nodes, services and checks, and asking for all of them",
        (
            Quantity("rate", "registrations per second", "/s"),
            Quantity("core", "registrations per CPU second", "/s"),
            Quantity("cold", "slowest first answer of any endpoint", "ms", _NEVER_SLOW),
        ),
    ),
    "full": Group(
        "full",
        "one request at a time to the full catalog",
        tuple(
            Quantity(key, f"{target}, slowest of {REPEATS}", "ms", _NEVER_SLOW)
            for key, target in FULL.items()
        ),
    ),
}


@dataclass
class Bench:
    """One run.

    Attributes:
        catalog: what the servers hold.
        seconds: of one load.
        connections: of one load.
        waiters: clients that wait for one change.
        changes: made so far; each has another text.
    """

    catalog: Catalog
    seconds: float
    connections: int
    waiters: int
    changes: int = 0

    async def prepare(self, server: Served) -> Samples:
        """Fill a catalog and the list of events."""
        before = server.cpu()
        timing = await server.fill(self.catalog)
        rate = len(timing.times)
        samples = {"rate": [rate / timing.seconds], "core": [rate / (server.cpu() - before)]}
        fire = server.request("PUT", "/v1/event/fire/deploy", b"x" * 30)
        async with server.connected(self.connections) as clients:
            fires = repeat(fire, EVENTS)
            await load(clients, lambda: next(fires, None), within=60)
        async with server.connected(1) as (client,):
            times = [await _time(client, server, target) for target in FULL.values()]
        return {**samples, "cold": [1e3 * max(times)]}

    async def measure(self, name: str, server: Served) -> Samples:
        """Measure one of `GROUPS` once."""
        if name in REQUESTS:
            return await self._load(server, REQUESTS[name])
        if name == "full":
            return await self._full(server)
        self.changes += 1
        if name == "wake-event":
            fire = server.request("PUT", "/v1/event/fire/deploy", b"%d" % self.changes)
            return await self._wake(server, "/v1/event/list?name=deploy", fire)
        body = self.catalog.registration(1, f"ok {self.changes}")
        change = server.request("PUT", "/v1/catalog/register", body)
        return await self._wake(server, f"/v1/health/service/{self.catalog.service(1)}", change)

    async def _load(self, server: Served, request: Request) -> Samples:
        data = server.request(request.method, request.target, request.body)
        async with server.connected(self.connections) as clients:
            for client in clients:  # a connection's first answer pays for the connection
                await client.call(data)
            before, deadline = server.cpu(), time.perf_counter() + self.seconds
            timing = await load(
                clients,
                lambda: data if time.perf_counter() < deadline else None,
                within=self.seconds + 30,
            )
            spent = server.cpu() - before
        return {
            "core": [len(timing.times) / spent],
            "rate": [len(timing.times) / timing.seconds],
            "median": [1e3 * share(timing.times, 0.5)],
            "p99": [1e3 * share(timing.times, 0.99)],
        }

    async def _wake(self, server: Served, target: str, change: bytes) -> Samples:
        woken: list[float] = []
        everybody: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done(result: Answer | LoadError) -> None:
            woken.append(time.perf_counter())
            if everybody.done():
                return
            try:
                checked(result)
            except LoadError as error:
                everybody.set_exception(error)
                return
            if len(woken) == self.waiters:
                everybody.set_result(None)

        async with server.connected(1) as (writer,):
            index = (await writer.call(server.request("GET", target))).index
            mark = "&" if "?" in target else "?"
            query = server.request("GET", f"{target}{mark}index={index}&{WAIT}")
            async with server.connected(self.waiters, lambda waiter: waiter.ask(query, done)):
                await server.settled()
                if woken:
                    raise LoadError(f"{server.system}: {len(woken)} clients did not wait")
                started = time.perf_counter()
                await writer.call(change)
                async with asyncio.timeout(60):
                    await everybody
        times = [1e3 * (at - started) for at in woken]
        parts = {"first": 0.0, "median": 0.5, "p99": 0.99, "last": 1.0}
        return {key: [share(times, part)] for key, part in parts.items()}

    async def _full(self, server: Served) -> Samples:
        samples: Samples = {}
        async with server.connected(1) as (client,):
            for key, target in FULL.items():
                self.changes += 1
                for number in (0, 1):  # a check of both kinds of service: nothing is as it was
                    body = self.catalog.registration(number, f"ok {self.changes}")
                    await client.call(server.request("PUT", "/v1/catalog/register", body))
                times = [await _time(client, server, target) for _ in range(REPEATS)]
                samples[key] = [1e3 * max(times)]
        return samples


async def _time(client: Client, server: Served, target: str) -> float:
    started = time.perf_counter()
    await client.call(server.request("GET", target))
    return time.perf_counter() - started


async def compare(options: argparse.Namespace) -> Report:
    """Measure everything that was asked for."""
    catalog = Catalog(options.nodes, options.services)
    about = {
        "nodes": catalog.nodes,
        "services": catalog.nodes * catalog.services,
        "connections": options.connections,
        "waiters": options.waiters,
        "seconds": options.seconds,
        "rounds": options.rounds,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }
    report = Report(options.systems, about, GROUPS)
    async with contextlib.AsyncExitStack() as stack:
        ports = stack.enter_context(Ports())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gossip-http-")))
        servers = []
        for system in options.systems:
            to_stderr(f"{system}: starting")
            servers.append(await stack.enter_async_context(served(system, ports, folder / system)))
        os.sched_setaffinity(0, {cores()[1]})
        bench = Bench(catalog, options.seconds, options.connections, options.waiters)
        for server in servers:
            to_stderr(f"{server.system}: registering {about['services']} services")
            report.add("fill", server.system, await bench.prepare(server))
        turn = 0
        for number in range(1, options.rounds + 1):
            for name in options.cases:
                turn += 1
                for server in servers if turn % 2 else servers[::-1]:
                    to_stderr(f"round {number} of {options.rounds}: {name}: {server.system}")
                    await server.settled()
                    report.add(name, server.system, await bench.measure(name, server))
    return report


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; exits with status 2 when it is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m simulations.bench.http",
        description="Measure the HTTP interface of our agent beside genuine Consul's.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    cases = {name: None for name in GROUPS if name != "fill"}

    def add(name: str, default: float, text: str, kind: Callable[[str], float] = int) -> None:
        parser.add_argument(
            f"-{name}",
            f"--{name}",
            type=kind,
            default=default,
            help=f"{text} (default {default:g})",
        )

    parser.add_argument(
        "-systems", "--systems", default=",".join(SYSTEMS), metavar="A,B", help="(default both)"
    )
    parser.add_argument(
        "-cases",
        "--cases",
        default=",".join(cases),
        metavar="A,B",
        help=f"which, of {', '.join(cases)} (default all)",
    )
    add("nodes", 1000, "nodes in the catalog")
    add("services", 10, "services on each node")
    add("rounds", 5, "of everything")
    add("seconds", 1.0, "length of one load", float)
    add("connections", 8, "of one load")
    add("waiters", 1000, "clients that wait for one change")
    parser.add_argument("-format", "--format", choices=("text", "json"), default="text")
    options = parser.parse_args(arguments)
    options.systems = chosen(parser, "systems", options.systems, SYSTEMS)
    options.cases = chosen(parser, "cases", options.cases, cases)
    for name in ("nodes", "services", "rounds", "seconds", "connections", "waiters"):
        value = getattr(options, name)
        if not 0 < value < math.inf:
            parser.error(f"-{name} {value:g} is not above 0")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = parse(arguments)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    try:
        if "consul" in options.systems:
            find_peer("consul")
        with asyncio.Runner(loop_factory=lambda: new_loop("auto")) as runner:
            report = runner.run(compare(options))
    except KeyboardInterrupt:
        print("\ninterrupted; all agents ended", file=sys.stderr)
        return 130
    except (OSError, RuntimeError, PeerMissingError) as error:
        print(f"\nerror: {error}", *getattr(error, "__notes__", ()), sep="\n", file=sys.stderr)
        return 1
    print(file=sys.stderr)
    print(json.dumps(report.as_json(), indent=2) if options.format == "json" else report.as_table())
    return 0


if __name__ == "__main__":
    sys.exit(main())
