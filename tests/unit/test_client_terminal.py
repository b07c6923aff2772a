"""The live area, and when there is one."""

from __future__ import annotations

import io

import pytest

from gateway.client.progress import Style
from gateway.client.terminal import Painter, is_terminal, style_of


class FakeTerminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environment", "expected"),
    [({"TERM": "xterm"}, True), ({"TERM": "dumb"}, False), ({}, False)],
)
def test_a_terminal_can_be_redrawn_unless_it_is_dumb(
    environment: dict[str, str], expected: bool
) -> None:
    assert is_terminal(FakeTerminal(), environment) is expected


def test_a_file_is_no_terminal() -> None:
    assert not is_terminal(io.StringIO(), {"TERM": "xterm"})


@pytest.mark.parametrize(
    ("environment", "has_color"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "xterm", "NO_COLOR": ""}, True),
        ({"TERM": "dumb"}, False),
    ],
)
def test_colour_follows_the_terminal_and_no_color(
    environment: dict[str, str], has_color: bool
) -> None:
    assert style_of(FakeTerminal(), environment) == Style(has_color=has_color, has_symbols=True)


def test_an_output_that_is_not_unicode_gets_no_symbols() -> None:
    output = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    assert style_of(output, {}) == Style(has_color=False, has_symbols=False)


def test_lines_are_added_above_the_live_area() -> None:
    stream = FakeTerminal()
    painter = Painter(stream, is_live=True)
    painter.paint(["first"], ["busy", "more"])
    painter.paint(["second"], ["still busy"])
    painter.paint([])
    assert stream.getvalue() == (
        "first\nbusy\nmore\n\x1b[1A\x1b[2K\x1b[1A\x1b[2Ksecond\nstill busy\n\x1b[1A\x1b[2K"
    )


def test_off_a_terminal_only_the_lines_are_written() -> None:
    stream = io.StringIO()
    painter = Painter(stream, is_live=False)
    painter.paint(["first"], ["busy"])
    painter.paint([], ["busy"])
    assert stream.getvalue() == "first\n"


def test_the_width_leaves_the_last_column_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "90")
    assert Painter(FakeTerminal(), is_live=True).width == 89
