"""Consul's user events: bytes, rules, ring."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import uuid
from dataclasses import replace

import msgpack
import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st

from agent import events as module
from agent.events import (
    EventBuffer,
    EventError,
    UserEvent,
    check_event,
    check_size,
    decode_event,
    encode_event,
    event_index,
    is_for_us,
    new_event,
)
from agent.store.entries import ServiceEntry
from gossip.errors import LimitError, WireError

ID = "b54fe110-7af5-cafc-d1fb-afc8ba432b1c"


def instance(key: str, name: str, tags: tuple[str, ...] = ()) -> ServiceEntry:
    return ServiceEntry(node="n", id=key, service=name, tags=tags)


def event(name: str = "deploy", **fields: object) -> UserEvent:
    return replace(UserEvent(str(uuid.uuid4()), name), **fields)  # type: ignore[arg-type]


# Bytes


def test_an_empty_event_is_three_keys_of_new_msgpack() -> None:
    assert encode_event(UserEvent(ID, "deploy")) == (
        b"\x83\xa2ID\xd9\x24" + ID.encode() + b"\xa1n\xa6deploy\xa1v\x01"
    )


def test_a_full_event_keeps_consuls_order_of_keys_and_packs_the_payload_as_binary() -> None:
    full = UserEvent(ID, "deploy", b"\x00\xff", "web", "api", "v1")
    assert encode_event(full) == (
        b"\x87\xa2ID\xd9\x24" + ID.encode() + b"\xa1n\xa6deploy\xa2nf\xa3web"
        b"\xa1p\xc4\x02\x00\xff\xa2sf\xa3api\xa2tf\xa2v1\xa1v\x01"
    )


@given(
    st.text(min_size=1, max_size=80),
    st.binary(max_size=70_000),
    st.text(max_size=40),
    st.text(max_size=40),
    st.text(max_size=40),
)
def test_what_is_encoded_reads_back_and_is_plain_msgpack(
    name: str, payload: bytes, node: str, service: str, tag: str
) -> None:
    sent = UserEvent(ID, name, payload, node, service, tag)
    data = encode_event(sent)
    assert decode_event(data, 7) == replace(sent, ltime=7)
    fields = msgpack.unpackb(data, raw=False)
    assert (fields["ID"], fields["n"], fields["v"]) == (ID, name, 1)
    assert fields.get("p", b"") == payload


@pytest.mark.parametrize("binary", [False, True])
def test_old_and_new_families_any_order_and_unknown_keys_are_read(binary: bool) -> None:
    packed = msgpack.packb(
        {"v": 1, "later": [1], "p": b"x", "n": "deploy", "ID": ID}, use_bin_type=binary
    )
    assert decode_event(packed, 3) == UserEvent(ID, "deploy", b"x", ltime=3)
    as_bytes = msgpack.packb({b"n": b"deploy", b"ID": ID.encode()}, use_bin_type=binary)
    assert decode_event(as_bytes, 3).name == "deploy"


def test_an_id_in_capitals_becomes_canonical() -> None:
    packed = msgpack.packb({"ID": ID.upper(), "n": "deploy"})
    assert decode_event(packed, 1).id == ID


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"\x01",
        b"\x83\xa2ID",
        msgpack.packb({"ID": ID}),
        msgpack.packb({"n": "deploy"}),
        msgpack.packb({"n": "deploy", "ID": "b54fe110"}),
        msgpack.packb({"n": "deploy", "ID": ID.replace("-", "")}),
        msgpack.packb({"n": "deploy", "ID": "{" + ID + "}"}),
        msgpack.packb({"n": "deploy", "ID": 7}),
        msgpack.packb({"n": ["deploy"], "ID": ID}),
        msgpack.packb({"n": "deploy", "ID": ID, "v": "one"}),
    ],
)
def test_a_body_that_is_no_event_is_a_wire_error(body: bytes) -> None:
    with pytest.raises(WireError):
        decode_event(body, 1)


@given(st.binary(max_size=200))
def test_any_bytes_give_an_event_or_a_wire_error(data: bytes) -> None:
    with contextlib.suppress(WireError):
        assert isinstance(decode_event(data, 1), UserEvent)


# Rules


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"name": ""}, "User event missing name"),
        ({"name": "", "tag": "x", "node": "("}, "User event missing name"),
        ({"tag": "x"}, "Cannot provide tag filter without service filter"),
        ({"tag": "x", "node": "("}, "Cannot provide tag filter without service filter"),
        ({"node": "(", "service": "("}, "Invalid node filter: "),
        ({"service": "("}, "Invalid service filter: "),
        ({"service": "ok", "tag": "["}, "Invalid tag filter: "),
        ({"node": "a" * 513}, "Invalid node filter: 513 bytes exceed"),
        ({"node": "(?P<n>a)\\1"}, "Invalid node filter: "),
    ],
)
def test_checks_come_in_consuls_order_and_words(fields: dict[str, str], text: str) -> None:
    with pytest.raises(EventError) as caught:
        new_event(fields.pop("name", "deploy"), **fields)  # type: ignore[arg-type]
    assert str(caught.value).startswith(text)


def test_a_new_event_has_a_canonical_id_of_its_own_and_version_one() -> None:
    one, two = new_event("deploy"), new_event("deploy")
    assert one.id != two.id
    assert str(uuid.UUID(one.id)) == one.id
    assert (one.version, one.ltime) == (1, 0)


def test_a_filter_that_backtracking_engines_hang_on_is_fast() -> None:
    assert not is_for_us(event(node_filter="(a+)+$"), "a" * 200 + "!")


def test_filters_cost_no_cache() -> None:
    is_for_us(event(node_filter="w[0-9]"), "w1")
    assert re2._Regexp._make.cache_info().currsize == 0


@pytest.mark.parametrize(
    ("node_filter", "wanted"),
    [("", True), ("eb", True), ("^web-1$", True), ("^eb", False), ("WEB", False), ("w.b", True)],
)
def test_the_node_filter_is_searched_anywhere_in_the_name(node_filter: str, wanted: bool) -> None:
    assert is_for_us(event(node_filter=node_filter), "web-1") is wanted


@pytest.mark.parametrize(
    ("service", "tag", "wanted"),
    [
        ("api", "", True),
        ("id-1", "", True),
        ("none", "", False),
        ("api", "v1", True),
        ("api", "v2", False),
        ("db", "v2", True),
        ("api|db", "v2", True),
    ],
)
def test_a_service_filter_looks_at_id_and_name_and_the_tag_at_the_same_one(
    service: str, tag: str, wanted: bool
) -> None:
    services = [instance("id-1", "api", ("v1",)), instance("id-2", "db", ("v2",))]
    assert is_for_us(event(service_filter=service, tag_filter=tag), "n", services) is wanted


def test_a_service_filter_selects_nobody_without_services() -> None:
    assert not is_for_us(event(service_filter="."), "n")


def test_a_filter_that_does_not_compile_here_is_an_event_error() -> None:
    with pytest.raises(EventError):
        is_for_us(event(node_filter="("), "n")


def test_re2_is_loaded_only_when_a_filter_is_used() -> None:
    code = (
        "import sys\nfrom agent.events import *\n"
        "e = new_event('deploy')\nassert is_for_us(e, 'n')\n"
        "decode_event(encode_event(e), 1)\nassert 're2' not in sys.modules\n"
        "new_event('deploy', node='x')\nassert 're2' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=20)


@pytest.mark.parametrize("over", [0, 1])
def test_r30_prefixed_name_and_body_may_have_exactly_the_limit(over: int) -> None:
    sent = UserEvent(ID, "n", b"x")
    room = 512 - len("consul:event:n")
    body = encode_event(sent).ljust(room + over, b"\0")
    if over:
        with pytest.raises(LimitError, match="configured limit of 512 bytes"):
            check_size(sent, body)
    else:
        check_size(sent, body)


def test_check_event_accepts_reserved_names() -> None:
    check_event(UserEvent(ID, "_mine"))


# The index


@pytest.mark.parametrize(
    ("ident", "index"),
    [
        ("cb9a81ad-fff6-52ac-92a7-5f70687805ec", 6430540886266763072),
        (ID, 7256511592453824992),
        ("00000000-0000-0001-0000-000000000001", 1),  # halves that cancel out: never 0
    ],
)
def test_the_index_is_the_xor_of_the_halves_of_the_newest_id(ident: str, index: int) -> None:
    assert event_index([event(), UserEvent(ident, "deploy")]) == index


def test_no_events_have_index_one() -> None:
    assert event_index([]) == 1
    assert EventBuffer().index() == 1


# The ring


def filled(count: int, *, names: tuple[str, ...] = ("deploy",), size: int = 256) -> EventBuffer:
    buffer = EventBuffer(size)
    for number in range(count):
        buffer.append(event(names[number % len(names)], ltime=number + 1))
    return buffer


def test_the_ring_keeps_the_last_256_in_order() -> None:
    events = filled(300).recent()
    assert [e.ltime for e in events] == list(range(45, 301))


def test_names_are_compared_exactly() -> None:
    buffer = filled(6, names=("deploy", "deploy2", "dep"))
    assert [e.ltime for e in buffer.recent("deploy")] == [1, 4]
    assert buffer.recent("depl.y") == []
    assert buffer.index("deploy") == event_index(buffer.recent("deploy"))


async def test_index_zero_and_another_index_answer_at_once() -> None:
    buffer = filled(1)
    current = buffer.index()
    for index in (0, current + 1, current - 1):
        events, answered = await asyncio.wait_for(buffer.query(index=index, wait=60), 5)
        assert (len(events), answered) == (1, current)


async def test_a_query_with_the_current_index_ends_with_the_next_event() -> None:
    buffer = filled(1)
    query = asyncio.ensure_future(buffer.query(index=buffer.index(), wait=60))
    await asyncio.sleep(0)
    assert not query.done()
    buffer.append(event(ltime=2))
    events, index = await asyncio.wait_for(query, 5)
    assert [e.ltime for e in events] == [1, 2]
    assert index == buffer.index()


async def test_a_query_on_an_empty_ring_blocks_with_index_one() -> None:
    buffer = EventBuffer()
    query = asyncio.ensure_future(buffer.query(index=1, wait=60))
    await asyncio.sleep(0)
    assert not query.done()
    buffer.append(event())
    assert len((await asyncio.wait_for(query, 5))[0]) == 1


async def test_a_foreign_name_neither_ends_nor_extends_the_wait() -> None:
    buffer = filled(1)
    loop = asyncio.get_running_loop()
    started = loop.time()
    query = asyncio.ensure_future(buffer.query("deploy", index=buffer.index("deploy"), wait=0.2))
    while not query.done():
        buffer.append(event("other"))
        await asyncio.sleep(0.01)
        assert loop.time() - started < 5
    assert 0.15 < loop.time() - started < 2
    events, index = query.result()
    assert [e.ltime for e in events] == [1]
    assert index == buffer.index("deploy")


async def test_a_query_ends_when_its_last_event_falls_out_of_the_ring() -> None:
    buffer = filled(4, names=("deploy", "x", "x", "x"), size=4)
    query = asyncio.ensure_future(buffer.query("deploy", index=buffer.index("deploy"), wait=60))
    await asyncio.sleep(0)
    buffer.append(event("y"))
    assert await asyncio.wait_for(query, 5) == ([], 1)


async def test_an_event_between_reading_and_waiting_is_not_slept_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    buffer = filled(1)
    before = buffer.index()
    original = EventBuffer.index

    def index_then_event(self: EventBuffer, name: str = "") -> int:
        value = original(self, name)
        if len(self) == 1:
            self.append(event(ltime=2))
        return value

    monkeypatch.setattr(EventBuffer, "index", index_then_event)
    events, _ = await asyncio.wait_for(buffer.query(index=before, wait=60), 5)
    assert len(events) == 2


async def test_a_cancelled_query_leaves_no_waiter() -> None:
    buffer = filled(1)
    queries = [
        asyncio.ensure_future(buffer.query(name, index=buffer.index(name), wait=60))
        for name in ("", "deploy")
    ]
    await asyncio.sleep(0)
    assert buffer.waiting == 2
    for query in queries:
        query.cancel()
    await asyncio.gather(*queries, return_exceptions=True)
    assert buffer.waiting == 0
    assert buffer._waiters == {}


async def test_l10_an_event_wakes_every_waiting_query_in_one_round() -> None:
    buffer = filled(1)
    queries = [
        asyncio.ensure_future(buffer.query(index=buffer.index(), wait=60)) for _ in range(1000)
    ]
    await asyncio.sleep(0)
    loop = asyncio.get_running_loop()
    started = loop.time()
    buffer.append(event())
    await asyncio.wait_for(asyncio.gather(*queries), 5)
    assert loop.time() - started < 0.5  # a thousand of them on a busy machine
    assert module.RING_SIZE == 256
