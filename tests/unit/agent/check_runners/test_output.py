"""What is kept of long outputs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.check_runners.output import MAX_OUTPUT, Tail, cut


@given(st.lists(st.integers(0, 9000), max_size=6))
def test_the_end_of_a_stream_is_kept_in_whatever_pieces_it_comes(sizes: list[int]) -> None:
    data = bytes(index % 95 + 32 for index in range(sum(sizes)))
    tail, at = Tail(), 0
    for size in sizes:
        tail.add(data[at : at + size])
        at += size
    assert tail.text() == data[-MAX_OUTPUT:].decode()
    more = len(data) > MAX_OUTPUT
    prefix = f"Captured 4096 of {len(data)} bytes\n...\n" if more else ""
    assert tail.captured() == prefix + tail.text()


def test_bytes_that_are_no_text_become_text() -> None:
    tail = Tail()
    tail.add(b"a\xffb")
    assert tail.text() == "a\ufffdb"


def test_a_note_keeps_its_beginning_and_no_half_of_a_character() -> None:
    assert cut("x" * MAX_OUTPUT) == "x" * MAX_OUTPUT
    assert cut("x" * 5000) == "x" * 4096 + " ... (captured 4096 of 5000 bytes)"
    assert cut("x" + "ä" * 4000).startswith("x" + "ä" * 2047 + " ... (captured 4096 of 8001")
    assert cut("\udcff") == "?"
