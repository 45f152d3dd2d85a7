"""Fuzz: bytes that nobody should send, at every entry from the network and from the disk (G-3).

    corpus of what our own code writes --damage--> entry --value or refusal--> next
                                                     | raises, is slow, hoards
                                                     v
                                                   finding, with the bytes

Inputs follow from the seed alone. Whatever an entry raises besides `GossipError` is a finding, and so
is an input that costs more than `SLOWEST` or a target that grows by more than `MAX_GROWTH`: its process
should have done nothing before, since what that once used it can use again without growing.
"""

from __future__ import annotations

import gc
import resource
import sys
from dataclasses import asdict, dataclass, field
from math import inf
from pathlib import Path
from random import Random
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any

from gossip.errors import GossipError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Report", "Target", "damaged", "fuzz"]

SLOWEST = 0.05
"""CPU seconds that one input may cost."""
MAX_GROWTH = 64 * 2**20
"""Bytes by which the process may grow in the course of one target."""
MAX_FINDINGS = 5
"""Findings after which a target is given up."""
TRIES = 3
"""An input counts as slow if it is so again and again: a busy machine makes every input slow once."""
INVENTED = 0.05
"""Share of the inputs that owe nothing to the corpus."""
MAX_SIZE = 4096
"""Bytes of an input; what is beyond is cut off."""
TELLING = bytes(
    (0, 1, 2, 0x0F, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, *range(0xC0, 0xE0), 0xF4, 0xFE, 0xFF)
)
"""Bytes that mean something: msgpack's types and headers of layers, and the edges of ranges."""


@dataclass(frozen=True)
class Target:
    """One entry.

    Attributes:
        name: its name.
        corpus: well-formed inputs.
        feed: gives the entry one input and tells whether it was refused; a `GossipError` says so too.
    """

    name: str
    corpus: Sequence[bytes]
    feed: Callable[[bytes], bool]


@dataclass
class Report:
    """What came of one target."""

    target: str
    inputs: int = 0
    refused: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    """CPU seconds of the dearest input, the best of its tries."""
    growth: int = 0
    """Bytes by which the process grew."""
    findings: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def fuzz(target: Target, inputs: int, seed: int = 1) -> Report:
    """Feed a target with so many inputs.

    Args:
        target: the entry.
        inputs: how many, unless it is given up before.
        seed: all inputs follow from it.
    """
    report, rng = Report(target.name), Random(f"fuzz {seed} {target.name}")
    gc.collect()
    started, before = perf_counter(), _memory()
    while report.inputs < inputs and len(report.findings) < MAX_FINDINGS:
        _feed(target, damaged(target.corpus, rng), report)
    report.seconds = perf_counter() - started
    report.growth = _memory() - before
    if report.growth > MAX_GROWTH:
        report.findings.append(f"grew by {report.growth:,} bytes")
    return report


def damaged(corpus: Sequence[bytes], rng: Random) -> bytes:
    """One of the corpus with some damage, or something invented."""
    if rng.random() < INVENTED:
        return rng.randbytes(rng.randrange(80))
    data = bytearray(rng.choice(corpus))
    for _ in range(min(1 + int(rng.expovariate(0.7)), 8)):
        rng.choice(_DAMAGES)(data, rng, corpus)
    return bytes(data[:MAX_SIZE])


def _feed(target: Target, data: bytes, report: Report) -> None:
    report.inputs += 1
    took = inf
    for _ in range(TRIES):
        started = process_time()
        try:
            refused = target.feed(data)
        except GossipError:
            refused = True
        except Exception as error:  # noqa: BLE001 - whatever else is raised is what is looked for
            report.findings.append(f"{type(error).__name__}: {error} at {data.hex()}")
            return
        took = min(took, process_time() - started)
        if took < SLOWEST:
            break
    else:
        report.findings.append(f"{took:.3g} s of CPU, more than {SLOWEST}, at {data.hex()}")
    report.refused += refused
    report.slowest = max(report.slowest, took)


def _memory() -> int:
    """The most that this process ever used, bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage's figure is never below what whoever started this process used
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(fields["VmHWM"].split()[0]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


# Kinds of damage, each to the array itself


def _flip(data: bytearray, rng: Random, _corpus: Sequence[bytes]) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _overwrite(data: bytearray, rng: Random, _corpus: Sequence[bytes]) -> None:
    at = rng.randrange(len(data) + 1)
    piece = bytes(rng.choice(TELLING) for _ in range(1 + rng.randrange(4)))
    data[at : at + len(piece)] = piece


def _insert(data: bytearray, rng: Random, _corpus: Sequence[bytes]) -> None:
    at = rng.randrange(len(data) + 1)
    data[at:at] = rng.randbytes(1 + rng.randrange(6))


def _remove(data: bytearray, rng: Random, _corpus: Sequence[bytes]) -> None:
    at = rng.randrange(len(data) + 1)
    del data[at : at + 1 + rng.randrange(8)]


def _cut(data: bytearray, rng: Random, _corpus: Sequence[bytes]) -> None:
    del data[rng.randrange(len(data) + 1) :]


def _repeat(data: bytearray, rng: Random, _corpus: Sequence[bytes]) -> None:
    at = rng.randrange(len(data) + 1)
    data[at:at] = data[at : at + 1 + rng.randrange(40)] * (1 + rng.randrange(4))


def _splice(data: bytearray, rng: Random, corpus: Sequence[bytes]) -> None:
    other = rng.choice(corpus)
    start = rng.randrange(len(other) + 1)
    data[rng.randrange(len(data) + 1) :] = other[start:]


_DAMAGES = (_flip, _flip, _overwrite, _overwrite, _insert, _remove, _cut, _repeat, _splice)
