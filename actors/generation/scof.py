"""SCOF, the text in which a model writes files: text in, events out, no I/O.

The format is shared/scof.md; "rule n" in these modules is its numbering. One `ScofParser` reads
one answer:

    parser = ScofParser()
    for text in stream:
        handle(parser.feed(text))
    handle(parser.close(reason))

The parser works in three layers. `feed` gathers complete lines, so nothing is ever decided on a
partial one and no way of cutting the input can matter. `_scan` jumps over runs of lines that can
only be text, with one search per run. What remains is a line of some kind (`scof_grammar`), met
in some state: `scof_blocks` says what then happens. `scof_events` is what comes out.
"""

from __future__ import annotations

from typing import NoReturn

from actors.generation.scof_blocks import BlockReader
from actors.generation.scof_events import (
    MAX_FILE_CHARS,
    MAX_LINE_CHARS,
    MAX_TOTAL_CHARS,
    Completion,
    FileChunk,
    FileClosed,
    FileOpened,
    InstallCommand,
    Mode,
    ParserWarning,
    Prose,
    ScofEvent,
    ScofLimitError,
)
from actors.generation.scof_grammar import (
    EVERY_LINE,
    MAX_HEADER_LINES,
    Kind,
    Line,
    classify,
    marker_kind,
    may_begin_header,
)

__all__ = [
    "MAX_FILE_CHARS",
    "MAX_LINE_CHARS",
    "MAX_TOTAL_CHARS",
    "Completion",
    "FileChunk",
    "FileClosed",
    "FileOpened",
    "InstallCommand",
    "Mode",
    "ParserWarning",
    "Prose",
    "ScofEvent",
    "ScofLimitError",
    "ScofParser",
]


class ScofParser:
    """Reads one answer of a model; a retry takes a new parser (rule 10).

    `feed` and `close` raise ScofLimitError. After that the parser takes no more text; `close`
    (once more, if it was the one that raised) still closes the open file, as truncated.
    """

    def __init__(self) -> None:
        self._partial: list[str] = []
        self._partial_chars = 0
        self._total_chars = 0
        self._continued: list[Line] = []
        self._blocks = BlockReader()
        self._is_closed = False

    def feed(self, text: str) -> list[ScofEvent]:
        """Take more text of any length and return what it completed."""
        if self._is_closed:
            raise RuntimeError("the parser is closed; a retry takes a new one")
        if self._blocks.failure is not None:
            self._fail(*self._blocks.failure)
        room = MAX_TOTAL_CHARS - self._total_chars
        self._total_chars += len(text)
        self._gather(text if len(text) <= room else text[:room])
        if len(text) > room:
            self._fail("text", MAX_TOTAL_CHARS)
        # Most pieces of an answer are a few characters: only those with an LF can bring events.
        return self._blocks.take_events() if "\n" in text else []

    def close(self, reason: str = "stop") -> list[ScofEvent]:
        """End the stream; `reason` is the model server's word, or any other for a broken stream.

        With "stop" the model ended its last line itself. With any other reason that line may have
        been cut: it can still be content or the marker, but it opens and installs nothing.
        """
        if self._is_closed:
            raise RuntimeError("the parser is closed already")
        if self._blocks.failure is None:
            self._flush(is_cut=reason != "stop")
        self._is_closed = True
        self._blocks.close()
        return self._blocks.take_events()

    def _gather(self, text: str) -> None:
        """Take text up to its last LF as lines and keep the rest."""
        cut = text.rfind("\n") + 1
        if cut:
            lines = "".join(("\n", *self._partial, text[:cut]))
            self._partial = []
            self._partial_chars = 0
            self._scan(lines)
            text = text[cut:]
        if text:
            self._partial.append(text)
            self._partial_chars += len(text)
            if self._partial_chars > MAX_LINE_CHARS:
                self._fail("a line", MAX_LINE_CHARS)

    def _scan(self, text: str) -> None:
        """Take complete lines, an LF in front of them."""
        good = _end_of_good_lines(text)
        lines = text[: good + 1].replace("\r\n", "\n")
        at, end = 0, len(lines) - 1  # both are the LF before a line
        while at < end:
            interesting = EVERY_LINE if self._continued else self._blocks.interesting
            found = interesting.search(lines, at)
            start = found.start() if found is not None else end
            if start > at:
                self._blocks.text(lines[at + 1 : start + 1])
            if start < end:
                at = lines.index("\n", start + 1)
                self._line(Line(lines[start + 1 : at], lines[start + 1 : at + 1]))
            else:
                at = end
        if good < len(text) - 1:
            self._fail("a line", MAX_LINE_CHARS)

    def _flush(self, *, is_cut: bool) -> None:
        """Take the line without LF, then the end of the stream."""
        raw = "".join(self._partial)
        if raw:
            self._line(Line(raw.removesuffix("\r"), raw, is_cut))
        if self._continued:
            self._settle()
        self._blocks.end_held()

    def _line(self, line: Line) -> None:
        """Take one line, or keep it where it can be part of a header over several lines."""
        if self._continued:
            self._continued.append(line)
            goes_on = line.text.endswith("\\") and len(self._continued) < MAX_HEADER_LINES
            if not goes_on or line.is_cut:
                self._settle()
            return
        kind, header = classify(line, self._blocks.header)
        if kind is Kind.TEXT and may_begin_header(line.text):
            self._continued = [line]
        else:
            self._blocks.line(kind, line, header)

    def _settle(self) -> None:
        """Decide on the lines gathered in `_continued`: one header, or each line by itself."""
        lines, self._continued = self._continued, []
        *begun, last = lines
        text = "".join([line.text[:-1] for line in begun]) + last.text
        joined = Line(text, "".join([line.raw for line in lines]), last.is_cut)
        block = self._blocks.header
        if marker_kind(last.text, block) is None:
            kind, header = classify(joined, block)
            if header is not None:
                self._blocks.line(kind, joined, header)
                return
        # At most MAX_HEADER_LINES are looked at again, so the whole stays linear.
        self._blocks.line(Kind.TEXT, lines[0], None)
        for line in lines[1:]:
            self._line(line)

    def _fail(self, what: str, max_chars: int) -> NoReturn:
        self._partial = []
        self._blocks.fail(what, max_chars)


def _end_of_good_lines(text: str) -> int:
    """Return the index of the last LF before which no line is too long; `text[0]` is an LF."""
    at = 0
    while len(text) - at > MAX_LINE_CHARS + 1:
        end = text.rfind("\n", at + 1, at + MAX_LINE_CHARS + 2)
        if end < 0:
            return at
        at = end
    return len(text) - 1
