"""The same seed gives the same history, in every process."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from gossip.wire.keyring import Keyring
from tests.helpers import Pool
from tests.wall_clock import jumps, set_wall_clock

ROOT = Path(__file__).parents[2]


def digest(seed: int) -> str:
    """A busy minute of a pool as one hash: every packet, every event, every counter."""
    pool = Pool(seed=seed, tags={"b": "2", "a": "1"})
    ring = Keyring([b"0123456789abcdef"])
    hosts = pool.joined(9, keyring=ring)
    dice = random.Random(seed)
    pool.loss = 0.1
    for _ in range(20):
        host = dice.choice(pool.running())
        match dice.randrange(6):
            case 0 | 1 | 2:
                pool.fire(host, "deploy", dice.randbytes(20))
            case 3:
                pool.pause(host, dice.random() * 4)
            case 4:
                host.node.set_tags({str(key): "x" for key in range(dice.randrange(5))}, pool.now)
                pool.drain(host)
            case _ if len(pool.running()) > 6:
                pool.leave(host)
            case _:
                host.node.force_leave(dice.choice(hosts).name, pool.now)
                pool.drain(host)
        pool.run(dice.random() * 3)
    pool.loss = 0.0
    pool.run(20)
    digest = sha256()
    for entry in pool.packets:
        digest.update(repr(entry).encode())
    for host in hosts:
        digest.update(repr(host.events).encode())
        digest.update(repr(host.notices).encode())
        digest.update(repr(sorted(host.node.stats.items())).encode())
    return digest.hexdigest()


def test_g05_the_same_seed_gives_the_same_history() -> None:
    assert digest(1) == digest(1)


def test_another_seed_gives_another_history() -> None:
    assert digest(1) != digest(2)


def test_r10_a_wall_clock_that_jumps_by_ten_years_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steady = digest(3)

    set_wall_clock(monkeypatch, jumps)

    assert digest(3) == steady


@pytest.mark.parametrize("hash_seed", ["1", "4242"])
def test_g05_under_another_hash_seed_too(hash_seed: str) -> None:
    code = f"""
import sys
sys.path.insert(0, {str(ROOT / "tests" / "simulation")!r})
from test_determinism import digest
print(digest(3))
"""
    answer = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert answer.stdout.strip() == digest(3)
