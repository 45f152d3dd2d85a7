"""Every setting of a gossip pool, validated as a whole, with memberlist's three profiles.

Durations are seconds. The defaults are memberlist's ``DefaultLANConfig`` and Serf's
``DefaultConfig``; `Config.lan`, `Config.wan` and `Config.local` are the profiles of the same names.
Flags and files are parsed elsewhere (``agent/config.py``).
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from gossip.arguments import checked_payload, checked_tags, checked_text
from gossip.errors import ConfigError, LimitError
from gossip.wire.address import normal_ip
from gossip.wire.limits import KEY_SIZES

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Config"]

MAX_USER_EVENT_SIZE = 9 * 1024  # Serf's hard ceiling; the default limit is far below


@dataclass(frozen=True, kw_only=True)
class Config:
    """The settings of one node in one pool.

    Raises:
        ConfigError: from the constructor, naming the field, its value and the limit.
    """

    name: str
    """Identity in the pool, unique, at most 255 bytes of UTF-8."""
    bind: str = "0.0.0.0"  # noqa: S104 - a cluster member listens to its cluster, as Serf's does
    """IP address to listen on, UDP and TCP. ``::`` takes IPv4 too; a link-local one needs its zone."""
    port: int = 7946
    """Port for both; 0 lets the system choose one."""
    advertise: str | None = None
    """IP address that others are told; None takes `bind`, or the address of the way out
    when that is ``0.0.0.0`` or ``::``."""
    advertise_port: int | None = None
    """Port that others are told; None takes the bound one."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Serf tags, seen by every member; encoded they take at most 512 bytes."""

    # Wire
    keys: tuple[bytes, ...] = field(default=(), repr=False)
    """AES keys of 16, 24 or 32 bytes; the first encrypts, all decrypt. Empty: no encryption."""
    verify_incoming: bool = True
    """Drop what does not decrypt. False only while encryption is rolled out on a running pool."""
    verify_outgoing: bool = True
    """Encrypt what is sent. False only while encryption is rolled out on a running pool."""
    label: str = ""
    """Cluster prefix on every packet and stream, at most 255 bytes; others are refused."""
    skip_inbound_label_check: bool = False
    """A proxy has taken the label off what arrives."""
    compress: bool = False
    """LZW on what is sent. Costs about 0.2 ms of CPU per packet in pure Python; decoding is always on."""
    udp_buffer_size: int = 1400
    """Largest packet aimed at, bytes; above the path's MTU packets are fragmented and lost more.
    At least 1200, so that the largest news about a member fits behind the longest label."""
    tcp_timeout: float = 10.0
    """Deadline of each step of a TCP exchange; raising it keeps dead peers' exchanges longer."""
    max_streams: int = 128
    """Concurrent inbound TCP exchanges; further ones are closed at once (memberlist: 128 push/pulls)."""

    # Failure detection
    probe_interval: float = 1.0
    """Time between probes; lowering it detects sooner and costs 2 packets per probe."""
    probe_timeout: float = 0.5
    """Wait for a direct ack before indirect probes start; below the round trip everybody is suspect."""
    indirect_checks: int = 3
    """Members asked to probe on our behalf; raising it costs packets on each failed direct probe."""
    tcp_ping: bool = True
    """Fall back to a ping over TCP, so that a filtered UDP path does not look like a dead node."""
    suspicion_mult: int = 4
    """Scales the time a suspect has to refute; raising it delays detection, lowers false alarms."""
    suspicion_max_timeout_mult: int = 6
    """Upper bound of the suspicion timeout as a multiple of the lower, while nobody confirms."""
    awareness_max: int = 8
    """Health scores run from 0 to this - 1 and stretch the probe interval by up to this factor."""
    dead_node_reclaim_time: float = 0.0
    """A name dead for longer may return from another address; 0 lets only left names do so."""

    # Dissemination
    gossip_interval: float = 0.2
    """Tick on which queued broadcasts leave; lowering it spreads news faster and costs packets."""
    gossip_nodes: int = 3
    """Targets per tick."""
    gossip_to_the_dead_time: float = 30.0
    """Dead members keep hearing gossip for so long, to give them a chance to refute."""
    retransmit_mult: int = 4
    """Copies sent of each broadcast: this times ceil(log10(members + 1))."""
    eager: bool = True
    """Send a new broadcast's first copies at once instead of at the next tick (same wire, same budget)."""
    push_pull_interval: float = 30.0
    """Time between full state exchanges, stretched above 32 members; 0 turns them off."""

    # Serf
    broadcast_timeout: float = 5.0
    """How long leave and force-leave wait for their broadcast to be transmitted."""
    leave_propagate_delay: float = 1.0
    """How long a leaving node goes on answering after its farewell is out."""
    reconnect_interval: float = 30.0
    """Time between attempts to reach a failed member again."""
    reconnect_timeout: float = 24 * 3600.0
    """A failed member is forgotten after so long (Consul: 72 h)."""
    tombstone_timeout: float = 24 * 3600.0
    """A left member is forgotten after so long."""
    reap_interval: float = 15.0
    """Time between looks for members and intents to forget."""
    rejoin_after_leave: bool = False
    """A snapshot's pool is joined again even after a graceful leave; otherwise that ends it."""
    recent_intent_timeout: float = 300.0
    """Intents about members not known yet are kept for so long."""
    event_buffer: int = 512
    """Slots of the user event ring; Serf's 512 on every node, or older events are judged differently."""
    user_event_size_limit: int = 512
    """Name and payload, and the encoded event, bytes; above about 1,300 only push/pull carries it."""
    query_buffer: int = 512
    """Slots of the query ring."""
    query_size_limit: int = 1024
    """A query of ours, encoded, bytes; it has to fit into a gossip packet in any case."""
    query_timeout_mult: int = 16
    """Time for answers: this times the gossip interval times ceil(log10(members + 1)), unless the
    caller says; raising it waits longer for members that do not answer."""
    query_response_size_limit: int = 1024
    """Largest answer to a query, encoded, bytes."""
    max_ltime_jump: int = 2**32
    """A Lamport time further ahead than this is refused and counted (stricter than Serf, on purpose)."""
    max_queue_depth: int = 4096
    """Broadcasts queued per kind beyond which the most transmitted are dropped, checked at each reap."""
    min_queue_depth: int = 0
    """Above 0 the bound is the larger of this and twice the members (Consul: 4096)."""
    resolve_name_conflicts: bool = True
    """When another node claims our name, let the pool vote, and shut down if it is not for us
    (Consul: False, a duplicate is only logged)."""
    protocol_version: int = 5
    """Serf protocol announced, 2 to 5 (Serf's agent 5, Consul 4)."""
    coordinates: bool = True
    """Keep a network coordinate; costs about 100 bytes of every ack, and an estimate of every round trip."""
    coalesce_period: float = 0.0
    """Merge member changes and same-named events for at most so long (Serf's agent: 3 s); 0 is off."""
    quiescent_period: float = 0.0
    """Deliver coalesced events earlier when nothing came for so long (Serf's agent: 1 s)."""

    @classmethod
    def lan(cls, name: str, **settings: Any) -> Config:
        """memberlist's DefaultLANConfig: one data centre, sub-millisecond round trips."""
        return cls(name=name, **settings)

    @classmethod
    def wan(cls, name: str, **settings: Any) -> Config:
        """memberlist's DefaultWANConfig: round trips of up to seconds between data centres."""
        profile = {
            "tcp_timeout": 30.0,
            "suspicion_mult": 6,
            "push_pull_interval": 60.0,
            "probe_interval": 5.0,
            "probe_timeout": 3.0,
            "gossip_nodes": 4,
            "gossip_interval": 0.5,
            "gossip_to_the_dead_time": 60.0,
        }
        return cls(name=name, **(profile | settings))

    @classmethod
    def local(cls, name: str, **settings: Any) -> Config:
        """memberlist's DefaultLocalConfig: all nodes on one machine's loopback."""
        profile = {
            "tcp_timeout": 1.0,
            "indirect_checks": 1,
            "retransmit_mult": 2,
            "suspicion_mult": 3,
            "push_pull_interval": 15.0,
            "probe_timeout": 0.2,
            "gossip_interval": 0.1,
            "gossip_to_the_dead_time": 15.0,
        }
        return cls(name=name, **(profile | settings))

    def replace(self, **changes: Any) -> Config:
        """A copy with some settings changed, validated again."""
        return replace(self, **changes)

    def __post_init__(self) -> None:
        self._check_types()
        if not 1 <= len(self.name.encode("utf-8", "surrogateescape")) <= 255:
            raise ConfigError(f"name {self.name!r} is not 1 to 255 bytes long")
        if (size := len(self.label.encode("utf-8", "surrogateescape"))) > 255:
            raise ConfigError(f"label of {size} bytes exceeds the limit of 255")
        if wrong := [len(key) for key in self.keys if len(key) not in KEY_SIZES]:
            raise ConfigError(f"an encryption key has {wrong[0]} bytes, not 16, 24 or 32")
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ConfigError(f"{name} {value} is not between {low} and {high}")
        if self.probe_timeout > self.probe_interval:
            raise ConfigError(
                f"probe_timeout {self.probe_timeout} exceeds probe_interval {self.probe_interval}"
            )
        if self.verify_incoming and not self.verify_outgoing and self.keys:
            # A pool of such nodes would refuse all of its own traffic.
            raise ConfigError("verify_incoming needs verify_outgoing, or no member hears another")

    def _check_types(self) -> None:
        """What a type checker would say, for settings that come from a file or the environment."""
        for name, kind in _KINDS.items():
            value = getattr(self, name)
            wanted, _, optional = str(kind).partition(" | ")
            types, text = _TYPES.get(wanted, (object, ""))
            # True is a number to Python, and a mistake here.
            boolean = isinstance(value, bool) and wanted != "bool"
            if (not isinstance(value, types) or boolean) and not (optional and value is None):
                raise ConfigError(f"{name} {value!r} is not {text}")
        if not isinstance(self.keys, tuple | list):
            raise ConfigError(f"keys are {type(self.keys).__name__}, not a tuple of bytes")
        try:
            for name in ("name", "label"):
                checked_text(name, getattr(self, name))
            for key in self.keys:
                checked_payload("an encryption key", key)
            checked_tags("tags", self.tags)
        except (TypeError, LimitError) as error:
            raise ConfigError(str(error)) from None
        for name in ("bind", "advertise"):
            if (address := getattr(self, name)) is not None:
                try:
                    normal_ip(address)
                except ConfigError as error:
                    raise ConfigError(f"{name} {error}") from None


_TYPES: dict[str, tuple[type | tuple[type, ...], str]] = {
    "bool": (bool, "True or False"),
    "int": (int, "a whole number"),
    "float": ((int, float), "a number"),
    "str": (str, "text"),
}
"""What a setting may be by its annotation, and what that is called."""
_KINDS = {field.name: field.type for field in fields(Config)}
_YEAR = 366 * 24 * 3600.0
_RANGES: dict[str, tuple[float, float]] = {
    "port": (0, 65535),
    "advertise_port": (1, 65535),
    "udp_buffer_size": (1200, 65507),
    "tcp_timeout": (0.01, 3600),
    "max_streams": (1, 65536),
    "probe_interval": (0.01, 3600),
    "probe_timeout": (0.01, 3600),
    "indirect_checks": (0, 64),
    "suspicion_mult": (1, 100),
    "suspicion_max_timeout_mult": (1, 100),
    "awareness_max": (1, 100),
    "dead_node_reclaim_time": (0, _YEAR),
    "gossip_interval": (0.01, 3600),
    "gossip_nodes": (1, 64),
    "gossip_to_the_dead_time": (0, _YEAR),
    "retransmit_mult": (1, 100),
    "push_pull_interval": (0, _YEAR),
    "broadcast_timeout": (0, 3600),
    "leave_propagate_delay": (0, 3600),
    "reconnect_interval": (0.01, _YEAR),
    "reconnect_timeout": (0, 100 * _YEAR),
    "tombstone_timeout": (0, 100 * _YEAR),
    "reap_interval": (0.01, _YEAR),
    "recent_intent_timeout": (0, _YEAR),
    "event_buffer": (1, 65536),
    "user_event_size_limit": (1, MAX_USER_EVENT_SIZE),
    "query_buffer": (1, 65536),
    "query_size_limit": (1, MAX_USER_EVENT_SIZE),
    "query_timeout_mult": (1, 1000),
    "query_response_size_limit": (1, MAX_USER_EVENT_SIZE),
    "max_ltime_jump": (1, 2**63 - 1),
    "max_queue_depth": (1, 2**31),
    "min_queue_depth": (0, 2**31),
    "protocol_version": (2, 5),
    "coalesce_period": (0, 3600),
    "quiescent_period": (0, 3600),
}
assert set(_RANGES) <= {f.name for f in fields(Config)}  # noqa: S101 - guards this table itself
