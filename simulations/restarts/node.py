"""The node that is killed: it fires events and writes down what it is told, a line each.

                                 python -m simulations.restarts.node NAME PORT SNAPSHOT JOURNAL
    joined NAME
    event LTIME NAME

Each line is one write to the journal, so a kill leaves whole lines only.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from gossip import Cluster, Config, MemberJoined, UserEvent

FIRE_INTERVAL = 0.02
"""Seconds between its events."""


async def run(name: str, port: int, snapshot: Path, journal: Path) -> None:
    """Live until killed."""
    file = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(line: str) -> None:
        os.write(file, f"{line}\n".encode())

    cluster = Cluster(Config.local(name, bind="127.0.0.1", port=port), snapshot=snapshot)
    events = cluster.subscribe()

    async def fire() -> None:
        while True:
            await cluster.fire(f"{name}-{os.urandom(4).hex()}", coalesce=False)
            await asyncio.sleep(FIRE_INTERVAL)

    async with cluster, asyncio.TaskGroup() as tasks:
        tasks.create_task(fire())
        async for event in events:
            match event:
                case MemberJoined(member):
                    write(f"joined {member.name}")
                case UserEvent():
                    write(f"event {event.ltime} {event.name}")
                case _:
                    pass


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4])))
