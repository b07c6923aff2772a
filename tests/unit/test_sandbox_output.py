from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.sandbox.output import (
    BURST_LINES,
    KEPT_LINES,
    LAST_LINES,
    LINES_PER_SECOND,
    MAX_LINE_CHARS,
    MAX_PENDING_CHARS,
    CommandOutput,
    LineAssembler,
    OutputLog,
    clean_line,
)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("plain text", "plain text"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[38;2;1;2;3mtrue colour\x1b[39m", "true colour"),
        ("\x1b[2K\x1b[1Gcleared", "cleared"),
        ("\x1b]0;a title\x07after", "after"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]0;a title without an end", ""),
        ("\x1b(Bcharset", "charset"),
        ("at the end \x1b", "at the end"),
        ("nul \x00 bell \x07 c1 \x9b", "nul  bell  c1"),
        ("\ttab stays", "\ttab stays"),
        ("trailing   ", "trailing"),
        ("ünïcödé 🙂", "ünïcödé 🙂"),
        ("x" * (MAX_LINE_CHARS + 1), "x" * (MAX_LINE_CHARS - 1) + "…"),
    ],
)
def test_a_line_is_cleaned(raw: str, clean: str) -> None:
    assert clean_line(raw) == clean


STREAM = "one\r\ntwo ü\n\n\x1b[32mthree\x1b[0m\rfour\nfive".encode()
LINES = ["one", "two ü", "three", "four", "five"]


def assembled(pieces: list[bytes]) -> list[str]:
    assembler = LineAssembler()
    lines = [line for piece in pieces for line in assembler.feed(piece)]
    return [*lines, *assembler.finish()]


def test_lines_are_the_same_whole_and_byte_by_byte() -> None:
    assert assembled([STREAM]) == LINES
    assert assembled([STREAM[i : i + 1] for i in range(len(STREAM))]) == LINES


@pytest.mark.parametrize("cut", range(len(STREAM) + 1))
def test_lines_are_the_same_cut_at_each_position(cut: int) -> None:
    assert assembled([STREAM[:cut], STREAM[cut:]]) == LINES


def test_the_rest_of_an_endless_line_is_dropped() -> None:
    assembler = LineAssembler()
    for _ in range(100):
        assert assembler.feed(b"x" * MAX_PENDING_CHARS) == []
    assert assembler.feed(b"\nnext\n") == ["x" * (MAX_LINE_CHARS - 1) + "…", "next"]


@given(st.binary(max_size=300), st.integers(min_value=0, max_value=300))
def test_any_bytes_become_printable_bounded_lines(data: bytes, cut: int) -> None:
    for line in assembled([data[:cut], data[cut:]]):
        assert line
        assert len(line) <= MAX_LINE_CHARS
        assert "\x1b" not in line
        assert "\x00" not in line
        line.encode()


def test_the_newest_lines_are_kept() -> None:
    log = OutputLog(lambda stream, line: None)
    for number in range(KEPT_LINES + 10):
        log.add("stdout", str(number))
    assert len(log.newest(KEPT_LINES * 2)) == KEPT_LINES
    assert log.newest(2) == [("stdout", str(KEPT_LINES + 8)), ("stdout", str(KEPT_LINES + 9))]
    assert log.newest(0) == []


def test_beyond_a_burst_lines_are_left_out_and_counted() -> None:
    clock, seen = Clock(), list[tuple[str, str]]()
    log = OutputLog(lambda stream, line: seen.append((stream, line)), clock)
    for number in range(BURST_LINES + 30):
        log.add("stdout", str(number))
    assert len(seen) == BURST_LINES
    clock.now += 2 / LINES_PER_SECOND
    log.add("stderr", "later")
    assert seen[BURST_LINES:] == [
        ("progress", "(30 lines of output are not shown)"),
        ("stderr", "later"),
    ]
    assert ("stdout", str(BURST_LINES + 29)) in log.newest(5)


def test_a_pause_restores_the_burst_and_no_more() -> None:
    clock, seen = Clock(), list[str]()
    log = OutputLog(lambda stream, line: seen.append(line), clock)
    clock.now += 1_000_000
    for number in range(BURST_LINES + 1):
        log.add("stdout", str(number))
    assert len(seen) == BURST_LINES


def test_the_last_lines_of_both_streams_are_kept_for_the_error() -> None:
    seen: list[tuple[str, str]] = []
    output = CommandOutput(OutputLog(lambda stream, line: seen.append((stream, line))))
    output.feed("stdout", b"out 1\nout")
    output.feed("stderr", b"err\n")
    output.finish()
    assert seen == [("stdout", "out 1"), ("stderr", "err"), ("stdout", "out")]
    assert output.last_lines == ("out 1", "err", "out")
    output.feed("stdout", b"".join(b"%d\n" % number for number in range(100)))
    assert len(output.last_lines) == LAST_LINES


def test_lines_left_out_are_told_when_the_command_ends() -> None:
    seen: list[str] = []
    output = CommandOutput(OutputLog(lambda stream, line: seen.append(line), Clock()))
    output.feed("stdout", b"x\n" * (BURST_LINES + 5))
    output.finish()
    assert seen[-1] == "(5 lines of output are not shown)"
