"""Runs tests in a network namespace of their own: ``python -m tests.own_network KIND FILE``.

    nat     every source port is renumbered, see `simulations.local.nat`
    link    loopback has link-local addresses too, which need a zone: LINK_LOCAL

The namespace is made for the process, which therefore is one of its own, and goes with it.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

from simulations.bench.network import isolate
from simulations.local.nat import rewrite_source_ports
from tests.helpers_peers import missing

__all__ = ["LINK_LOCAL", "run_in_own_network"]

LINK_LOCAL = ("fe80::1", "fe80::2", "fe80::3")
UNABLE = 77
"""Exit code when this system lets us have no such network."""
_SIOCSIFADDR = 0x8916


def run_in_own_network(kind: str, cases: str, *, within: float) -> None:
    """Run the tests of a file there; skipped where that cannot be, which with INTEROP=required fails."""
    command = [sys.executable, "-m", "tests.own_network", kind, cases]
    root = Path(__file__).parents[1]
    done = subprocess.run(
        command, cwd=root, capture_output=True, text=True, timeout=within, check=False
    )
    if done.returncode == UNABLE:
        missing(done.stderr.strip())
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"


def _renumber_ports() -> None:
    for family in (socket.AF_INET, socket.AF_INET6):
        rewrite_source_ports(family)


def _add_link_local() -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as handle:
        for ip in LINK_LOCAL:
            packed = socket.inet_pton(socket.AF_INET6, ip)
            request = struct.pack("=16sIi", packed, 64, socket.if_nametoindex("lo"))
            fcntl.ioctl(handle, _SIOCSIFADDR, request)


_KINDS = {"nat": _renumber_ports, "link": _add_link_local}


def main(kind: str, cases: str) -> int:  # noqa: RET503 - at its end it is another program
    """Make the network and run the tests in it, in place of this program."""
    try:
        if not isolate():
            raise OSError("no network namespace can be made")
        _KINDS[kind]()
    except OSError as error:
        sys.stderr.write(f"no network of our own: {error}\n")
        return UNABLE
    _become_pytest(cases)


def _become_pytest(cases: str) -> NoReturn:
    """A program of its own: pytest wants to be the first to import what plugins consist of."""
    arguments = ["-q", "-x", "--durations=5", "-p", "no:cacheprovider", "-p", "no:xdist", cases]
    command = [sys.executable, "-m", "pytest", *arguments]
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
