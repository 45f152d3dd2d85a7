"""``python -m simulations.bench.node NAME PORT``: our library without the agent, driven by lines.

Standard input takes ``join HOST:PORT``, ``fire NAME PAYLOADHEX``, ``leave``, ``members`` and
``stats``. Standard output has ``=ok`` or ``=error`` and text for the start and for every command but
``fire``, and one JSON line ``[monotonic seconds, kind, name]`` for each thing that happened, written
in batches so that observing costs one write per 20 ms at most. It ends with its standard input.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from typing import TYPE_CHECKING

from gossip import (
    Cluster,
    Config,
    Gap,
    GossipError,
    MemberFailed,
    MemberJoined,
    MemberLeft,
    UserEvent,
)
from simulations.bench.news import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

FLUSH_AFTER = 0.02
AT_ONCE = 32
"""Commands carried out before the rest of the node gets its turn."""


class Output:
    """Writes lines to standard output, together when they come together."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._timer: asyncio.TimerHandle | None = None

    def add(self, line: str) -> None:
        """Write this line soon."""
        self._lines.append(line)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_AFTER, self.flush)

    def flush(self) -> None:
        """Write everything now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lines, self._lines = self._lines, []
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()


class Commands:
    """Lines from standard input."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[str | None] = asyncio.Queue()
        self._rest = b""
        os.set_blocking(0, False)
        asyncio.get_running_loop().add_reader(0, self._read)

    def _read(self) -> None:
        data = os.read(0, 1 << 16)
        if not data:
            asyncio.get_running_loop().remove_reader(0)
            self._queue.put_nowait(None)
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._queue.put_nowait(line.decode())

    async def next(self) -> str | None:
        """The next line, None at the end."""
        return await self._queue.get()


async def report(cluster: Cluster, output: Output) -> None:
    """Write what happens."""
    async for event in cluster.subscribe(limit=1 << 18):
        now = time.monotonic()
        match event:
            case UserEvent(name=name):
                kind = Kind.EVENT
            case MemberJoined(member=member):
                kind, name = Kind.JOINED, member.name
            case MemberLeft(member=member):
                kind, name = Kind.LEFT, member.name
            case MemberFailed(member=member):
                kind, name = Kind.FAILED, member.name
            case Gap(missed=missed):
                output.add(f"=error the observer itself missed {missed} events")
                continue
            case _:  # updates and reaping are measured by no figure
                continue
        output.add(f'[{now!r},"{kind.value}",{json.dumps(name)}]')


async def obey(cluster: Cluster, command: str, argument: str, output: Output) -> bool:
    """Carry out one command; tells whether to go on."""
    match command:
        case "fire":
            name, _, payload = argument.partition(" ")
            await cluster.fire(name, bytes.fromhex(payload), coalesce=False)
            return True
        case "join":
            await cluster.join([argument], ignore_old_events=True)
        case "leave":
            await cluster.leave()
        case "members":
            output.add(json.dumps({m.name: m.status.name.lower() for m in cluster.members()}))
        case "stats":
            output.add(json.dumps(cluster.stats()))
        case _:
            raise GossipError(f"no command {command!r}")
    output.add("=ok")
    output.flush()
    return command != "leave"


def new_loop(kind: str) -> asyncio.AbstractEventLoop:
    """The event loop of this kind; ``auto`` is uvloop where that is installed."""
    if kind != "asyncio":
        try:
            import uvloop  # noqa: PLC0415 - optional, and 20 ms that the other loop need not pay
        except ImportError:
            if kind == "uvloop":
                raise
        else:
            return uvloop.new_event_loop()
    return asyncio.new_event_loop()


async def run(name: str, port: int, *, quiet: bool) -> None:
    """Be one member until told to leave or standard input ends."""
    output = Output()
    cluster = Cluster(Config.lan(name, bind="127.0.0.1", port=port))
    reporters = [] if quiet else [asyncio.create_task(report(cluster, output))]
    await asyncio.sleep(0)  # subscribed before the start, which announces ourselves
    async with cluster:
        commands = Commands()
        output.add("=ok")
        output.flush()
        done = 0
        while (line := await commands.next()) is not None:
            command, _, argument = line.partition(" ")
            try:
                if not await obey(cluster, command, argument, output):
                    break
            except (GossipError, OSError, ValueError) as error:
                output.add(f"=error {command}: {' '.join(str(error).split())}")
                output.flush()
            done += 1
            if done % AT_ONCE == 0:
                await asyncio.sleep(0)
    await asyncio.gather(*reporters)
    output.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m simulations.bench.node", description=__doc__)
    parser.add_argument("name", help="node name")
    parser.add_argument("port", type=int, help="gossip port on 127.0.0.1")
    parser.add_argument("-loop", choices=("auto", "asyncio", "uvloop"), default="auto")
    parser.add_argument("-quiet", action="store_true", help="report nothing that happens")
    options = parser.parse_args(arguments)
    with asyncio.Runner(loop_factory=lambda: new_loop(options.loop)) as runner:
        runner.run(run(options.name, options.port, quiet=options.quiet))
    return 0


if __name__ == "__main__":
    sys.exit(main())
