"""Machines with a network between them: rules drop what they name and nothing else."""

from __future__ import annotations

import subprocess
import sys

from tests.helpers_peers import missing

SCRIPT = """
import asyncio, socket, sys, threading
from simulations.cluster.machines import Router
from simulations.cluster.nftables import Among, Rule, replace_rules

def socket_on(machine, kind):
    made = []
    def make():
        machine.enter()
        made.append(socket.socket(socket.AF_INET, kind))
    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    made[0].bind((machine.address, 9))
    return made[0]

async def main():
    router = Router.open()
    if router is None:
        sys.exit(77)
    a, b, c = [await router.new_machine() for _ in range(3)]
    names = {"a": a, "b": b, "c": c}
    udp = {name: socket_on(machine, socket.SOCK_DGRAM) for name, machine in names.items()}
    tcp = {name: socket_on(machine, socket.SOCK_STREAM) for name, machine in names.items()}
    tcp["b"].listen()
    tcp["a"].settimeout(3)

    def passed(source, target, count=1):
        for _ in range(count):
            udp[source].sendto(b"x", (names[target].address, 9))
        got = 0
        udp[target].settimeout(0.3)
        try:
            while got < count:
                data, sender = udp[target].recvfrom(10)
                assert sender == (names[source].address, 9)
                got += 1
        except TimeoutError:
            pass
        return got

    def among(*machines, all_but=False):
        return Among(frozenset(machine.address for machine in machines), all_but=all_but)

    assert passed("a", "b") == passed("b", "a") == passed("c", "a") == 1
    replace_rules([Rule(among(a), among(b))])
    assert passed("a", "b") == 0, "cut"
    assert passed("b", "a") == passed("a", "c") == 1, "one way, those two"
    replace_rules([Rule(among(a), among(a, all_but=True)), Rule(among(a, all_but=True), among(a))])
    assert passed("a", "b") == passed("c", "a") == 0, "partition"
    assert passed("b", "c") == passed("c", "b") == 1, "inside it"
    replace_rules([Rule(target=among(b), rate=0.3)])
    assert 220 <= passed("a", "b", 400) <= 340, "loss of 30 %"
    assert passed("a", "c", 100) == 100
    replace_rules([Rule(among(a), among(b), udp_only=True)])
    assert passed("a", "b") == 0
    tcp["a"].connect((b.address, 9))
    replace_rules([Rule(among(), among(b))])
    assert passed("a", "b") == 1, "nobody is cut"
    try:
        replace_rules([Rule()], passing="no-such-interface")
    except OSError:
        assert passed("a", "b") == 1, "the rules before hold"
    replace_rules([])
    assert passed("a", "b") == 1

asyncio.run(main())
"""


def test_rules_drop_what_they_name_between_machines_of_a_namespace_of_its_own() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode == 77:
        missing("this system makes no network namespaces")
    assert done.returncode == 0, done.stderr
