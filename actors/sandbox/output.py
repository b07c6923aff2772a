"""Output of a sandbox: from bytes that may be hostile to a bounded flow of clean lines. No I/O."""

from __future__ import annotations

import codecs
import re
import time
from collections import deque
from collections.abc import Callable

from actors.sandbox.base import LogSink

MAX_LINE_CHARS = 2_000
MAX_PENDING_CHARS = 8_192  # of a line without an end, escape sequences included
KEPT_LINES = 500  # what `logs` can answer
LAST_LINES = 20  # what an error carries
RECENT_LINES = 50  # what its cause is looked for in: a stack trace may follow the words that count
BURST_LINES = 1_000  # handed on at once
LINES_PER_SECOND = 50.0  # handed on in the long run

# CSI; OSC, DCS and the like up to their end (or the line's); any other two-byte escape
_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\|$)|\x1b[ -/]*[0-~]?"
)
# PostgreSQL's JSON refuses NUL; the others would disturb a terminal
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")


def clean_line(text: str) -> str:
    """Remove escape sequences, control characters and trailing space; bound the length."""
    text = _CONTROLS.sub("", _ESCAPES.sub("", text)).rstrip()
    return text if len(text) <= MAX_LINE_CHARS else text[: MAX_LINE_CHARS - 1] + "…"


class LineAssembler:
    """Cut one stream of bytes into clean lines, however the bytes arrive.

    A carriage return ends a line as well: progress displays redraw theirs. Blank lines are
    dropped. Of a line longer than `MAX_PENDING_CHARS` the rest is dropped.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._pending = ""

    def feed(self, data: bytes) -> list[str]:
        """Return the lines that these bytes complete."""
        return self._cut(self._decoder.decode(data))

    def finish(self) -> list[str]:
        """Return what is left; the stream has ended."""
        return self._cut(self._decoder.decode(b"", final=True) + "\n")

    def _cut(self, text: str) -> list[str]:
        first, *others = re.split(r"[\r\n]", text)
        whole = [self._pending + first, *others]
        self._pending = whole.pop()[:MAX_PENDING_CHARS]
        lines = (clean_line(line[:MAX_PENDING_CHARS]) for line in whole)
        return [line for line in lines if line]


class OutputLog:
    """Keep the newest lines and hand them on, at most `LINES_PER_SECOND` after a burst.

    Lines beyond that are kept but not handed on; a line tells how many were left out.
    """

    def __init__(self, on_log: LogSink, clock: Callable[[], float] = time.monotonic) -> None:
        self._on_log = on_log
        self._clock = clock
        self._kept: deque[tuple[str, str]] = deque(maxlen=KEPT_LINES)
        self._allowance = float(BURST_LINES)
        self._refilled_at = clock()
        self._left_out = 0

    def add(self, stream: str, line: str) -> None:
        """Take one clean line."""
        self._kept.append((stream, line))
        self._refill()
        if self._allowance < 1:
            self._left_out += 1
            return
        self._allowance -= 1
        self.flush()
        self._on_log(stream, line)

    def flush(self) -> None:
        """Tell of lines that were left out so far."""
        if self._left_out:
            count, self._left_out = self._left_out, 0
            self._on_log("progress", f"({count} lines of output are not shown)")

    def newest(self, limit: int) -> list[tuple[str, str]]:
        """Return the newest `limit` lines, oldest first."""
        return list(self._kept)[-limit:] if limit > 0 else []

    def _refill(self) -> None:
        now = self._clock()
        self._allowance = min(
            BURST_LINES, self._allowance + (now - self._refilled_at) * LINES_PER_SECOND
        )
        self._refilled_at = now


class CommandOutput:
    """Both streams of one command: cut into lines, logged, the newest ones kept for its error."""

    def __init__(self, log: OutputLog) -> None:
        self._log = log
        self._assemblers = {"stdout": LineAssembler(), "stderr": LineAssembler()}
        self._recent: deque[str] = deque(maxlen=RECENT_LINES)

    @property
    def last_lines(self) -> tuple[str, ...]:
        return self.recent_lines[-LAST_LINES:]

    @property
    def recent_lines(self) -> tuple[str, ...]:
        return tuple(self._recent)

    def feed(self, stream: str, data: bytes) -> None:
        """Take bytes of `stdout` or `stderr`."""
        self._add(stream, self._assemblers[stream].feed(data))

    def finish(self) -> None:
        """Log what is left of both streams; the command has ended."""
        for stream, assembler in self._assemblers.items():
            self._add(stream, assembler.finish())
        self._log.flush()

    def _add(self, stream: str, lines: list[str]) -> None:
        for line in lines:
            self._recent.append(line)
            self._log.add(stream, line)
