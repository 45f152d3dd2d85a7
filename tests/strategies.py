"""What hypothesis draws: values within the limits of the wire, messages, and damaged bytes."""

from __future__ import annotations

from hypothesis import strategies as st

from gossip.wire.limits import META_MAX, U8_MAX, U16_MAX, U32_MAX, U64_MAX
from gossip.wire.messages import (
    Ack,
    Alive,
    Dead,
    ErrorReply,
    IndirectPing,
    Message,
    Nack,
    Ping,
    PushPull,
    PushPullNode,
    Suspect,
    UserMessage,
)
from gossip.wire.serf import (
    ConflictResponse,
    JoinIntent,
    KeyRequest,
    KeyResponse,
    LeaveIntent,
    MemberInfo,
    Query,
    QueryResponse,
    Relay,
    SerfMessage,
    StateSync,
    UserEvent,
)

u8 = st.integers(0, U8_MAX)
u16 = st.integers(0, U16_MAX)
u32 = st.integers(0, U32_MAX)
u64 = st.integers(0, U64_MAX)


def _text(min_size: int, max_size: int) -> st.SearchStrategy[str]:
    """Text as it comes out of any bytes: UTF-8 where possible, surrogates for the rest."""
    as_bytes = st.one_of(
        st.text(max_size=max_size // 4 or 1).map(str.encode), st.binary(max_size=max_size)
    )
    return as_bytes.filter(lambda raw: min_size <= len(raw) <= max_size).map(
        lambda raw: raw.decode("utf-8", "surrogateescape")
    )


texts = _text(0, 64)
names = _text(1, 64)
payloads = st.binary(max_size=64)
addresses = st.one_of(st.binary(min_size=4, max_size=4), st.binary(min_size=16, max_size=16))
metas = st.one_of(st.binary(max_size=64), st.binary(min_size=META_MAX, max_size=META_MAX))
versions = st.one_of(st.just(bytes((1, 5, 2, 2, 5, 5))), st.binary(max_size=8))
tags = st.dictionaries(texts, texts, max_size=4)
ports = u16

packet_messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(Ping, u32, texts, st.just(b"") | addresses, ports, texts),
    st.builds(IndirectPing, u32, addresses, ports, names, st.booleans(), addresses, ports, texts),
    st.builds(Ack, u32, payloads),
    st.builds(Nack, u32),
    st.builds(Suspect, u32, names, texts),
    st.builds(Dead, u32, names, texts),
    st.builds(Alive, u32, names, addresses, ports, metas, versions),
    st.builds(UserMessage, payloads),
)

push_pulls = st.builds(
    PushPull,
    st.booleans(),
    st.lists(
        st.builds(PushPullNode, names, addresses, ports, metas, u32, st.integers(0, 3), versions),
        max_size=4,
    ),
    st.binary(max_size=200),
)

stream_messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(Ping, u32, texts, addresses, ports, texts),
    st.builds(Ack, u32, payloads),
    st.builds(UserMessage, payloads),
    st.builds(ErrorReply, texts),
    push_pulls,
)

slots = st.tuples(u64, st.lists(st.tuples(texts, payloads), max_size=3))

states = st.builds(
    StateSync,
    u64,
    st.dictionaries(names, u64, max_size=4),
    st.lists(names, max_size=4),
    u64,
    st.lists(slots, max_size=4),
    u64,
)

serf_messages: st.SearchStrategy[SerfMessage] = st.one_of(
    st.builds(LeaveIntent, u64, texts, st.booleans()),
    st.builds(JoinIntent, u64, texts),
    states,
    st.builds(UserEvent, u64, texts, payloads, st.booleans()),
    st.builds(
        Query,
        u64,
        u32,
        addresses,
        ports,
        texts,
        st.lists(payloads, max_size=3),
        u32,
        u8,
        st.integers(-(2**63), 2**63 - 1),
        texts,
        payloads,
    ),
    st.builds(QueryResponse, u64, u32, texts, u32, payloads),
    st.builds(
        ConflictResponse,
        st.none()
        | st.builds(
            MemberInfo, texts, addresses, ports, tags, st.integers(0, 4), u8, u8, u8, u8, u8, u8
        ),
    ),
    st.builds(KeyRequest, payloads),
    st.builds(KeyResponse, st.booleans(), texts, st.lists(texts, max_size=3), texts),
    st.builds(Relay, addresses, ports, texts, payloads, texts),
)

aes_keys = st.sampled_from((16, 24, 32)).flatmap(lambda n: st.binary(min_size=n, max_size=n))


def damaged(whole: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Bytes that were valid before something was overwritten, inserted, cut out or cut off."""
    place = st.integers(0, 2**16)

    def overwrite(data: bytes, at: int, new: bytes) -> bytes:
        at %= len(data) + 1
        return data[:at] + new + data[at + len(new) :]

    def insert(data: bytes, at: int, new: bytes) -> bytes:
        at %= len(data) + 1
        return data[:at] + new + data[at:]

    def cut(data: bytes, at: int, new: bytes) -> bytes:
        at %= len(data) + 1
        return data[:at] + data[at + len(new) :]

    def end(data: bytes, at: int, _new: bytes) -> bytes:
        return data[: at % (len(data) + 1)]

    change = st.sampled_from((overwrite, insert, cut, end))
    return st.builds(
        lambda data, how, at, new: how(data, at, new),
        whole,
        change,
        place,
        st.binary(min_size=1, max_size=4),
    )
