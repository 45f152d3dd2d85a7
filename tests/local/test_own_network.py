"""Where a network of one's own cannot be made, the tests that need it say so."""

from __future__ import annotations

import struct
import subprocess
from typing import Any

import pytest

from simulations.local import nftables
from tests import own_network
from tests.own_network import UNABLE, run_in_own_network


@pytest.fixture
def unable(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: Any, **__: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], UNABLE, "", "no network of our own: not permitted")

    monkeypatch.setattr(subprocess, "run", run)


@pytest.mark.usefixtures("unable")
def test_a_missing_network_fails_where_everything_is_required(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("INTEROP", "required")
    with pytest.raises(pytest.fail.Exception, match="no network of our own: not permitted"):
        run_in_own_network("nat", "tests/x.py", within=1)


@pytest.mark.usefixtures("unable")
def test_a_missing_network_skips_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INTEROP", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no network of our own: not permitted"):
        run_in_own_network("nat", "tests/x.py", within=1)


def test_a_system_without_namespaces_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(own_network, "isolate", lambda: False)

    assert own_network.main("nat", "tests/x.py") == UNABLE
    assert capsys.readouterr().err == ("no network of our own: no network namespace can be made\n")


def test_a_kernel_that_refuses_the_nat_is_told() -> None:
    refusal = struct.pack("=IHHIIi16x", 36, 2, 0, 0, 0, -1)

    with pytest.raises(OSError, match="nftables: Operation not permitted"):
        nftables.confirms(refusal, 1)
