"""``gossip rtt``: the estimated round trip time between two nodes."""

from __future__ import annotations

from agent.client import ApiError
from agent.commands.base import HTTP_FLAGS, Command, CommandError, printable
from agent.commands.http import heading
from agent.flags import Flag, UsageError

TYPE_CHECKING = False  # what `typing` has; importing it takes a tenth of the start time
if TYPE_CHECKING:
    from typing import Any

    from agent.client import Client, Response
    from agent.commands.base import Context
    from gossip.serf.coordinates import Coordinate

__all__ = ["COMMAND"]

LAN = "lan"


def run(context: Context) -> int:
    """Print the estimate; every node has to have a coordinate in one pool with the other."""
    names, wan = context.args, context.flags.on("wan")
    if not 1 <= len(names) <= 2:
        raise UsageError(["one or two node names must be specified"])
    with heading("Error looking up the agent's own name"):
        client = context.client()
        if len(names) == 1:
            names = [*names, _own_name(client, wan=wan)]
    if wan and not all(_is_full(name) for name in names):
        raise UsageError(["with -wan, node names are <node name>.<datacenter>"])
    with heading("Error getting coordinates"):
        pools = _wan_pools(client) if wan else _lan_pools(client)
    first, second = (name.lower() for name in names)
    seconds = next(
        (_distance(pool[first], pool[second]) for pool in pools if {first, second} <= pool.keys()),
        None,
    )
    if seconds is None:
        raise CommandError(_missing(names, pools, wan=wan))
    kind = "WAN" if wan else "LAN"
    if context.json:
        context.print_json(
            {"Node1": names[0], "Node2": names[1], "RTTSeconds": seconds, "Pool": kind}
        )
        return 0
    one, two = map(printable, names)
    estimate = f"{seconds * 1000:.3f} ms"
    context.print(f"Estimated {one} <-> {two} rtt: {estimate} (using {kind} coordinates)")
    return 0


def _own_name(client: Client, *, wan: bool) -> str:
    response = client.get("/v1/agent/self")
    try:
        config = response.json()["Config"]
        name, datacenter = str(config["NodeName"]), str(config["Datacenter"])
    except (TypeError, KeyError):
        raise ApiError(f"the answer of {response.address} has no NodeName") from None
    return f"{name}.{datacenter}" if wan else name


def _is_full(name: str) -> bool:
    node, _, datacenter = name.rpartition(".")
    return bool(node and datacenter)


def _lan_pools(client: Client) -> list[dict[str, Coordinate]]:
    """Coordinates by name in lower case, for each segment: those of different ones do not compare."""
    response = client.get("/v1/coordinate/nodes")
    pools: dict[str, dict[str, Coordinate]] = {}
    for entry in response.objects():
        name, coordinate = _read(entry, response)
        pools.setdefault(str(entry.get("Segment", "")), {})[name] = coordinate
    return list(pools.values())


def _wan_pools(client: Client) -> list[dict[str, Coordinate]]:
    """Coordinates by full name in lower case, for each area of servers."""
    response = client.get("/v1/coordinate/datacenters")
    pools: dict[str, dict[str, Coordinate]] = {}
    for datacenter in response.objects():
        area = str(datacenter.get("AreaID", ""))
        if area == LAN:
            continue  # what an agent without a WAN pool shows
        for entry in datacenter.get("Coordinates") or ():
            name, coordinate = _read(entry, response)
            full = f"{name}.{str(datacenter.get('Datacenter')).lower()}"
            pools.setdefault(area, {})[full] = coordinate
    return list(pools.values())


def _read(entry: Any, response: Response) -> tuple[str, Coordinate]:
    """Name and coordinate of one entry."""
    # It brings dataclasses; what fails before needs none of it.
    from gossip.serf.coordinates import Coordinate, is_usable  # noqa: PLC0415

    try:
        coord = entry["Coord"]
        coordinate = Coordinate(
            tuple(map(float, coord["Vec"])),
            *(float(coord[key]) for key in ("Error", "Adjustment", "Height")),
        )
        name = str(entry["Node"]).lower()
    except (TypeError, KeyError, ValueError):
        raise ApiError(f"the answer of {response.address} is no list of coordinates") from None
    if not is_usable(coordinate):
        raise ApiError(f"the answer of {response.address} has an impossible coordinate of {name}")
    return name, coordinate


def _distance(one: Coordinate, two: Coordinate) -> float:
    from gossip.serf.coordinates import distance  # noqa: PLC0415 - see above

    return distance(one, two)


def _missing(names: list[str], pools: list[dict[str, Coordinate]], *, wan: bool) -> str:
    """Why there is no estimate."""
    for name in names:
        if not any(name.lower() in pool for pool in pools):
            text = f'Could not find a coordinate for node "{name}"'
            return f"{text}: the agent is in no WAN pool" if wan and not pools else text
    return f'"{names[0]}" and "{names[1]}" are in different pools, whose coordinates do not compare'


COMMAND = Command(
    "rtt",
    "[options] node1 [node2]",
    "Estimates the round trip time between two nodes from their network coordinates, which every "
    "agent improves with each probe. Without a second node it is the agent's own.\n\n"
    "A node has a coordinate once the agent has probed it: in a pool of 100 that takes up to two minutes.",
    flags=(
        Flag("wan", "Use the WAN pool, where names are node.datacenter."),
        *HTTP_FLAGS,
    ),
    examples=(
        ("gossip rtt web7", "How far the agent is from web7."),
        (
            "gossip rtt web7 db1 -format json",
            "How far two others are from each other, for a program.",
        ),
        ("gossip rtt -wan s1.dc1 s1.dc2", "How far servers of two datacenters are apart."),
    ),
    run=run,
)
