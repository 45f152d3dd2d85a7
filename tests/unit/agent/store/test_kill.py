"""A process that is killed while it writes: nothing that was acknowledged is lost, and no index comes twice."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from agent.store.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from agent.store.entries import NodeEntry

KILLS = 8
WRITERS = 5
WRITER = """
import asyncio, os, sys
from pathlib import Path
from agent.store.entries import CheckEntry, Deregistration, NodeEntry, Registration, ServiceEntry
from agent.store.store import Store

async def write(store, name):
    number = 0
    while True:
        node = f"{name}-{number}"
        index = await store.register(Registration(
            node=NodeEntry(node=node, address="x", meta={"pad": "x" * (number % 7) * 500}),
            service=ServiceEntry(node=node, id="s", service="s"),
            checks=(CheckEntry(node=node, check_id="c", name="c", service_id="s"),),
        ))
        os.write(1, f"+ {node} {index}\\n".encode())
        if number % 3 == 0:
            os.write(1, f"? {node} 0\\n".encode())
            index = await store.deregister(Deregistration(node=node))
            os.write(1, f"- {node} {index}\\n".encode())
        number += 1

async def main():
    store = Store(Path(sys.argv[1]))
    await store.start()
    await asyncio.gather(*(write(store, f"{sys.argv[2]}-{n}") for n in range(int(sys.argv[3]))))

asyncio.run(main())
"""


def killed_while_writing(path: Path, name: str, seconds: float) -> list[tuple[str, str, int]]:
    """What a writer acknowledged before it was killed, so long after its first acknowledgement."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), name, str(WRITERS)],
        stdout=subprocess.PIPE,
        text=True,
    ) as writer:
        assert writer.stdout is not None
        try:
            first = writer.stdout.readline()
            time.sleep(seconds)  # of a life that ends anywhere
        finally:
            writer.kill()
        lines = [first, *writer.stdout]
    whole = [line.split() for line in lines if line.endswith("\n")]
    return [(sign, node, int(index)) for sign, node, index in whole]


def stored(path: Path) -> tuple[dict[str, NodeEntry], dict[str, int], int]:
    """The nodes, the counts of entries and the last index of a catalog."""

    async def read() -> tuple[dict[str, NodeEntry], dict[str, int], int]:
        store = Store(path)
        await store.start()
        try:
            nodes = {node.node: node for node in store.catalog.nodes()}
            return nodes, store.catalog.counts(), store.index
        finally:
            await store.close()

    return asyncio.run(read())


def test_nothing_acknowledged_is_lost_whenever_the_process_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    dice = random.Random(7)
    expected: dict[str, int] = {}
    last = 0
    for life in range(KILLS):
        acknowledged = killed_while_writing(path, f"life{life}", dice.uniform(0, 0.25))
        assert acknowledged
        unsure = set()
        indexes = [index for sign, _, index in acknowledged if sign != "?"]
        assert len(indexes) == len(set(indexes)), "an index came twice"
        assert min(indexes) > last
        for sign, node, index in acknowledged:
            if sign == "+":
                expected[node] = index
            elif sign == "?":
                unsure.add(node)
            else:
                unsure.discard(node)
                del expected[node]
        nodes, counts, last = stored(path)
        assert last >= max(indexes)
        for node, index in expected.items():
            assert node in unsure or nodes[node].create_index == index
        # What was not acknowledged may be there, whole.
        assert counts["nodes"] == counts["services"] == counts["checks"]
        assert len(set(nodes) - set(expected)) <= WRITERS
        expected = {name: node.create_index for name, node in nodes.items()}
