"""The agent's log."""

from __future__ import annotations

import io
import logging
import re
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from agent.logs import TRACE, LogHandler, RepeatFilter, Value, level_of, set_up
from gossip.notices import NoticeLog

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield io.StringIO()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)


def logger_to(stream: io.StringIO, **settings: object) -> logging.Logger:
    set_up("DEBUG", stream=stream, **settings).open()  # type: ignore[arg-type]
    return logging.getLogger("agent.test")


def test_a_line_has_time_level_name_and_message(stream: io.StringIO) -> None:
    logger_to(stream).warning("join failed address=%s attempt=%d", Value("10.0.0.9"), 3)
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \[WARN\]  agent\.test: "
        r"join failed address=10\.0\.0\.9 attempt=3\n",
        stream.getvalue(),
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("web-1", "web-1"),
        ("", '""'),
        (None, '""'),
        ("two words", '"two words"'),
        ('say "no"', '"say \\"no\\""'),
        ("a=b", '"a=b"'),
        ("line\nbreak", '"line break"'),
        ("a\\b c", '"a\\\\b c"'),
        (7, "7"),
    ],
)
def test_values_are_quoted_where_they_are_more_than_a_word(value: object, shown: str) -> None:
    assert str(Value(value)) == shown


def test_what_comes_from_the_network_stays_in_its_line(stream: io.StringIO) -> None:
    log = logger_to(stream)
    log.info("member=%s", "x\n2026-01-01T00:00:00.000Z [ERROR] fake: line\x1b[2J\x00\u2028")
    log.info("member=%s", "bad\udcff")
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert "x\\n2026" in lines[0]
    assert all(line.isprintable() for line in lines)


def test_secrets_are_hidden_wherever_they_appear(stream: io.StringIO) -> None:
    log = logger_to(stream, secrets=["hush-hush", "", "ab"])
    log.info("value=%s", "xhush-hushx ab")
    try:
        raise ValueError("it is hush-hush")
    except ValueError:
        log.exception("failed")
    text = stream.getvalue()
    assert "hush-hush" not in text
    assert text.count("<hidden>") == 3  # the value, the line of code and the error
    assert "ab\n" in text  # too short to be a secret


def test_other_values_may_be_hidden_from_some_moment_on(stream: io.StringIO) -> None:
    handler = LogHandler(stream, secrets=["earlier"])
    handler.open()
    handler.hide(["later"])
    for value in ("earlier", "later"):
        handler.emit(logging.makeLogRecord({"msg": f"value={value}", "levelno": logging.ERROR}))

    assert [line.rpartition("=")[2] for line in stream.getvalue().splitlines()] == [
        "earlier",
        "<hidden>",
    ]


def test_a_record_that_does_not_format_is_written_all_the_same(stream: io.StringIO) -> None:
    logger_to(stream).info("count=%d", "x")
    assert "count=%d ('x',)" in stream.getvalue()


def test_a_reader_that_has_gone_away_is_survived() -> None:
    class Broken(io.StringIO):
        def write(self, _text: str) -> int:
            raise BrokenPipeError

    handler = LogHandler(Broken())
    handler.open(["banner"])
    handler.emit(logging.LogRecord("x", logging.INFO, "", 0, "text", (), None))


def test_what_is_logged_before_the_banner_follows_it(stream: io.StringIO) -> None:
    handler = set_up("INFO", stream=stream)
    logging.getLogger("agent").info("early")
    assert stream.getvalue() == ""
    handler.open(["==> banner"])
    logging.getLogger("agent").info("late")
    handler.open()
    lines = stream.getvalue().splitlines()
    assert lines[0] == "==> banner"
    assert [line.rpartition(" ")[2] for line in lines[1:]] == ["early", "late"]


def test_what_is_held_back_has_a_bound(stream: io.StringIO) -> None:
    handler = set_up("INFO", stream=stream)
    for number in range(2000):
        logging.getLogger("agent").info("%d", number)
    handler.open()
    assert len(stream.getvalue().splitlines()) == 512


def test_the_level_is_consuls() -> None:
    assert level_of("trace") == TRACE
    assert [level_of(name) for name in ("DEBUG", "info", "Warn", "ERR", "error")] == [
        10,
        20,
        30,
        40,
        40,
    ]
    with pytest.raises(ValueError, match="Unknown log level: loud"):
        level_of("loud")


def record(message: str, level: int = logging.WARNING) -> logging.LogRecord:
    return logging.LogRecord("agent", level, "", 0, message, (), None)


def test_a_warning_that_repeats_is_counted_and_the_count_is_told() -> None:
    now = 0.0
    repeat = RepeatFilter(burst=2, period=30)
    repeat._clock = lambda: now
    assert [repeat.filter(record("full")) for _ in range(5)] == [True, True, False, False, False]
    assert repeat.filter(record("another")) is True
    now = 31.0
    later = record("full")
    assert repeat.filter(later) is True
    assert later.getMessage() == "full suppressed=3"
    now = 62.0
    again = record("full")
    repeat.filter(again)
    assert again.getMessage() == "full"


def test_what_is_no_warning_is_never_held_back() -> None:
    repeat = RepeatFilter(burst=1)
    assert all(repeat.filter(record("x", logging.INFO)) for _ in range(10))


def test_remembered_warnings_have_a_bound() -> None:
    repeat = RepeatFilter()
    for number in range(2000):
        repeat.filter(record(f"text {number}"))
    assert len(repeat._seen) == RepeatFilter.TEXTS


def test_every_step_of_a_key_rotation_is_written_and_what_repeats_is_not(
    stream: io.StringIO,
) -> None:
    logger_to(stream)
    notices = NoticeLog(lambda: 0.0, Counter())
    steps = [f"keyring: {step} 44cf7245 with 100%s: done" for step in "abcdefgh"]
    notices.write([*steps, *steps[:1] * 9])
    written = stream.getvalue().splitlines()
    assert [line.partition("notices: ")[2] for line in written] == steps + steps[:1] * 4
