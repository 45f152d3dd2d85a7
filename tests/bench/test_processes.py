"""CPU time and memory of processes as the kernel keeps them."""

from __future__ import annotations

import os
import time

from simulations.bench.processes import cpu_seconds, memory


def test_cpu_time_of_a_process_is_the_kernels_own_clock() -> None:
    before = time.process_time()
    measured = cpu_seconds(os.getpid())

    assert before <= measured <= time.process_time()


def test_proportional_memory_is_no_more_than_resident() -> None:
    held = memory(os.getpid())

    assert 1 << 20 < held.pss <= held.rss < 1 << 34
