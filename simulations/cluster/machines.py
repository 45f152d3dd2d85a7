"""Machines of an experiment: a network namespace for each agent, and this process's as their router.

::

    namespace of agent 1                 namespace of this process
    eth0 10.77.0.1 ------ veth pair ------ m1 --+         rules of `nftables` on all that is forwarded
    namespace of agent 2                        +-- router
    eth0 10.77.0.2 ------ veth pair ------ m2 --+-- faults0, the relay's, while packets are to be
                                                    delayed, reordered or duplicated

A namespace lives as long as a process or an open file holds it, its interfaces as long as the namespace.
So there is nothing to clean up, however the experiment ends.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import subprocess
import sys
from pathlib import Path

from simulations.bench.network import isolate

__all__ = ["RELAY_DEVICE", "TUN", "Machine", "Router", "private_mounts"]

RELAY_DEVICE = "faults0"
TUN = "/dev/net/tun"
"""Through which the relay gets packets."""
MAX_MACHINES = 250 * 250
_GATEWAY = "10.77.255.254"
_NETWORK = "10.77.0.0/16"
_RELAY_TABLE = "77"
_RELAY_RULE = f"not iif {RELAY_DEVICE} to {_NETWORK} lookup {_RELAY_TABLE} priority 1000"
_NEW_NETWORK, _NEW_MOUNTS = 0x4000_0000, 0x0002_0000
_PRIVATE_AND_BELOW = 0x0004_4000
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def private_mounts() -> None:
    """Have this process, root in its user namespace, mount what nobody else sees; raises OSError."""
    _call("unshare", _NEW_MOUNTS)
    _call("mount", b"none", b"/", None, _PRIVATE_AND_BELOW, None)


def mount_memory(folder: Path, size: int) -> None:
    """Mount a file system of so many bytes, in memory, at a folder; raises OSError."""
    _call("mount", b"none", bytes(folder), b"tmpfs", 0, b"size=%d" % size)


class Router:
    """The network between machines: this process's namespace."""

    def __init__(self) -> None:
        self._machines = 0
        self._relaying = False

    @staticmethod
    def open() -> Router | None:
        """Become the router, before this process has threads; None where the system forbids that."""
        try:
            if not isolate():
                return None
        except OSError:  # a namespace, but not one in which we may do anything
            return None
        # Packets of one machine come in by its interface or, after the relay, by another one.
        for switch in ("ip_forward=1", "conf/all/rp_filter=0", "conf/default/rp_filter=0"):
            name, _, value = switch.partition("=")
            Path(f"/proc/sys/net/ipv4/{name}").write_text(value)
        return Router()

    async def new_machine(self) -> Machine:
        """A machine with an address that none had before.

        Raises:
            OSError: the system refuses, or there is no ``ip`` command.
        """
        self._machines += 1
        number = self._machines
        return await asyncio.to_thread(Machine, number)

    def make_relay_device(self) -> None:
        """Make the interface that the relay attaches to; raises OSError when the system refuses."""
        _ip(
            f"tuntap add dev {RELAY_DEVICE} mode tun",
            f"link set {RELAY_DEVICE} up",
            f"route add {_NETWORK} dev {RELAY_DEVICE} table {_RELAY_TABLE}",
        )

    async def relay(self, *, on: bool) -> None:
        """Send all packets through the relay, or none."""
        if on is not self._relaying:
            self._relaying = on
            await asyncio.to_thread(_ip, f"rule {'add' if on else 'del'} {_RELAY_RULE}")


class Machine:
    """One machine: a network namespace with an address. Blocks for some milliseconds when made."""

    def __init__(self, number: int) -> None:
        if not 0 < number <= MAX_MACHINES:
            raise OSError(f"machine {number}: there are addresses for {MAX_MACHINES}")
        self.address = f"10.77.{(number - 1) // 250}.{(number - 1) % 250 + 1}"
        self._namespace = _new_namespace()
        outside = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _ip(
                "link set lo up",
                f"link add eth0 type veth peer name m{number} netns /proc/{os.getpid()}/fd/{outside}",
                f"addr add {self.address}/32 dev eth0",
                "link set eth0 up",
                f"route add {_GATEWAY} dev eth0",
                f"route add default via {_GATEWAY}",
                inside=self,
            )
        except OSError:
            self.close()
            raise
        finally:
            os.close(outside)
        _ip(
            f"addr add {_GATEWAY}/32 dev m{number}",
            f"link set m{number} up",
            f"route add {self.address} dev m{number}",
        )

    def enter(self) -> None:
        """Move the calling thread, or the child that is about to become a program, onto this machine."""
        _call("setns", self._namespace, _NEW_NETWORK)

    def close(self) -> None:
        """Give it up; it is gone with the last process on it."""
        os.close(self._namespace)


def _new_namespace() -> int:
    """Open a new network namespace and return to ours; concerns this thread alone."""
    ours = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _call("unshare", _NEW_NETWORK)
        try:
            return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            _call("setns", ours, _NEW_NETWORK)
    finally:
        os.close(ours)


def _ip(*commands: str, inside: Machine | None = None) -> None:
    """Run commands of iproute2."""
    done = subprocess.run(
        ["ip", "-batch", "-"],
        input="\n".join(commands),
        text=True,
        capture_output=True,
        check=False,
        preexec_fn=None if inside is None else inside.enter,
    )
    if done.returncode:
        raise OSError(f"ip: {done.stderr.strip()}")


def _call(name: str, *arguments: object) -> None:
    """A system call by the C library; raises OSError as the kernel says."""
    if _libc is None:
        raise OSError(f"{name} needs Linux")
    if getattr(_libc, name)(*arguments) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")
