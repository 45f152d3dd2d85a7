"""Runs the commands of a how-to of the README as they stand there, on hosts that exist only for them.

The hosts are addresses of a network namespace: 10.1.2.3 of the README is 127.1.2.3 there, and its ports
are free, so each agent has those that it has by default. What is changed besides is what several hosts
on one machine need: a data directory and an HTTP address each. An agent is started in the background,
and the next command waits until it is there and, if it was told whom to join, has joined.

    python -m tests.howto SCRIPT      runs a bash script in such a namespace
"""

from __future__ import annotations

import os
import re
import shlex
import sys

from simulations.bench.network import isolate

PRELUDE = """
set -eu -o pipefail
cd "$TMPDIR"
last=
gossip() {
  if [ "$1" = agent ]; then exec "$PYTHON" -m agent "$@"; fi
  "$PYTHON" -m agent "$@"
}
# before_long SECONDS COMMAND: until it succeeds
before_long() {
  local deadline=$((SECONDS + $1)); shift
  until "$@"; do
    if [ $SECONDS -gt $deadline ]; then echo "$last"; echo "!! never succeeded: $*"; exit 1; fi
    sleep 0.05
  done
}
# at_least N ADDRESS FLAG...: an agent sees so many members alive
at_least() {
  local count
  count=$(CONSUL_HTTP_ADDR=$2 gossip members -status=alive "${@:3}" 2>/dev/null | tail -n +2 | wc -l) || true
  [ "$count" -ge "$1" ]
}
# shows PATTERN COMMAND: a command line prints this
shows() {
  local output
  if output=$(eval "$2" 2>&1); then status=0; else status=$?; fi
  if [ $status = 0 ] && grep -qzP -- "$1" <<<"$output"; then echo "$output"; return 0; fi
  last=$output
  return 1
}
export NO_COLOR=1
"""


def script(commands: str, shows: dict[str, str]) -> str:
    """A bash script that does what the commands of a how-to do.

    Args:
        commands: lines as they stand in the README.
        shows: what the output of a command has to contain before long, a regular expression; by how
            the line begins. Every expectation has to belong to a line.
    """
    lines: list[str] = []
    unused = set(shows)
    for text in re.sub(r"\b10\.(?=\d+\.\d+\.\d+)", "127.", commands).splitlines():
        line = text.rstrip()
        wanted = {start for start in unused if line.startswith(start)}
        unused -= wanted
        if line.startswith("gossip agent"):
            lines += _agent(line)
        elif wanted:
            (start,) = wanted
            lines.append(f"before_long 60 shows {shlex.quote(shows[start])} {shlex.quote(line)}")
        else:
            lines.append(line)
    if unused:
        raise ValueError(f"no command begins with {sorted(unused)}")
    return "\n".join([PRELUDE, *lines, "echo '!! done'", ""])


def _agent(line: str) -> list[str]:
    command = line.partition("#")[0].strip().removesuffix("&").strip()
    flags = dict(re.findall(r" -([a-z-]+)=(\S+)", command))
    host = flags.get("client") or flags.get("bind", "127.0.0.1")
    address = f"{f'[{host}]' if ':' in host else host}:{flags.get('http-port', '8500')}"
    command = command.replace("/var/lib/gossip", f'"$TMPDIR"/{flags.get("node", "data")}')
    others = [
        flag for flag in ("join", "retry-join", "join-wan", "retry-join-wan") if flag in flags
    ]
    wan = ["-wan"] if any(flag.endswith("-wan") for flag in others) else []
    lines = (
        [] if "client" in flags else [f"export CONSUL_HTTP_ADDR=${{CONSUL_HTTP_ADDR:-{address}}}"]
    )
    client = "" if "client" in flags else f" -client={host}"
    return [
        *lines,
        f'{command}{client} >>"$TMPDIR"/log 2>&1 &',
        shlex.join(["before_long", "60", "at_least", "2" if others else "1", address, *wan]),
    ]


def main() -> None:
    """Become bash, in a namespace."""
    if not isolate():
        sys.exit("this system allows no network namespaces")
    os.environ["PYTHON"] = sys.executable
    os.execvp("bash", ["bash", sys.argv[1]])  # noqa: S606 - it becomes the shell of the how-to


if __name__ == "__main__":
    main()
