"""Where the CLI's lines go: a terminal with a live area at its end, or any other stream."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from typing import TextIO

from gateway.client.progress import Style

_UP_AND_CLEAR = "\x1b[1A\x1b[2K"


def is_terminal(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Say whether lines on `stream` can be redrawn."""
    return stream.isatty() and environment.get("TERM", "dumb") != "dumb"


def style_of(stream: TextIO, environment: Mapping[str, str]) -> Style:
    """Return the style for `stream`: colour on terminals unless NO_COLOR is set (no-color.org)."""
    encoding = (stream.encoding or "").lower().replace("-", "")
    return Style(
        has_color=is_terminal(stream, environment) and not environment.get("NO_COLOR"),
        has_symbols=encoding.startswith("utf"),
    )


class Painter:
    """Write lines that stay; on a terminal keep a live area of a few lines below them."""

    def __init__(self, stream: TextIO, *, is_live: bool) -> None:
        self._stream = stream
        self.is_live = is_live
        self._live_count = 0

    @property
    def width(self) -> int:
        """The terminal's width in characters, short of the column where it would wrap."""
        return shutil.get_terminal_size().columns - 1

    def paint(self, lines: Sequence[str], live: Sequence[str] = ()) -> None:
        """Add `lines` above the live area and redraw that as `live`, in one write."""
        text = _UP_AND_CLEAR * self._live_count + "".join(f"{line}\n" for line in lines)
        shown = list(live) if self.is_live else []
        self._live_count = len(shown)
        text += "".join(f"{line}\n" for line in shown)
        if text:
            self._stream.write(text)
            self._stream.flush()


def silence(stream: TextIO) -> None:
    """Send what is still buffered nowhere, after the reader of a pipe has gone."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
