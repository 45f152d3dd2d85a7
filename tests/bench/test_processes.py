"""CPU time and memory of processes as the kernel keeps them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from simulations.bench.processes import cpu_seconds, memory, python_compiled

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_cpu_time_of_a_process_is_the_kernels_own_clock() -> None:
    before = time.process_time()
    measured = cpu_seconds(os.getpid())

    assert before <= measured <= time.process_time()


def test_proportional_memory_is_no_more_than_resident() -> None:
    held = memory(os.getpid())

    assert 1 << 20 < held.pss <= held.rss < 1 << 34


def test_processes_measured_compile_their_modules_once_and_not_into_the_sources(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "measured.py").write_text("")
    code = "import os, measured; print(os.path.exists(measured.__cached__))"

    with python_compiled():
        kept = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)

    assert kept.stdout == b"True\n"
    assert [path.name for path in tmp_path.iterdir()] == ["measured.py"]
    assert os.environ["PYTHONDONTWRITEBYTECODE"] == "1"
    assert "PYTHONPYCACHEPREFIX" not in os.environ
