"""From lines of SCOF to events: which block is open, and what a line of some kind then does.

A line of some `Kind` is met in some state, and the table `_ACTIONS` says what happens. "Rule n" is
the numbering of shared/scof.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import NoReturn

from actors.generation.scof_events import (
    MAX_FILE_CHARS,
    Completion,
    FileChunk,
    FileClosed,
    FileOpened,
    InstallCommand,
    ParserWarning,
    Prose,
    ScofEvent,
    ScofLimitError,
)
from actors.generation.scof_grammar import (
    BLANKS,
    COMMANDS,
    EVERY_LINE,
    Header,
    Kind,
    Line,
    interesting_lines,
    nested_opener,
    parse_install,
)

_LEADING_TABS = re.compile(r"^\t+", re.MULTILINE)


class _State(Enum):
    OUTSIDE = auto()
    INSIDE = auto()
    HELD = auto()  # inside, after an indented marker and perhaps blank lines (rule 5)


@dataclass(slots=True)
class _Block:
    """The open block; without a path in its header it is being discarded."""

    header: Header
    nests: bool
    interesting: re.Pattern[str]
    opener: re.Pattern[str]
    pieces: list[str] = field(default_factory=list)
    chars: int = 0
    #: Nested here-documents, innermost last: may its marker be indented?
    nested: list[bool] = field(default_factory=list)


class BlockReader:
    """Takes the lines of one answer in their order and gathers the events.

    `line`, `text` and `end_held` raise ScofLimitError; `failure` is then its (what, max_chars),
    and nothing but `close` may follow.
    """

    def __init__(self) -> None:
        self.failure: tuple[str, int] | None = None
        self._events: list[ScofEvent] = []
        self._state = _State.OUTSIDE
        self._block: _Block | None = None
        self._held: list[str] = []

    @property
    def header(self) -> Header | None:
        """The open block's header."""
        return None if self._block is None else self._block.header

    @property
    def interesting(self) -> re.Pattern[str]:
        """A search for the LF before the next line that must come to `line`; the rest is text."""
        if self._state is _State.HELD:
            return EVERY_LINE
        return COMMANDS if self._block is None else self._block.interesting

    def line(self, kind: Kind, line: Line, header: Header | None) -> None:
        """Take one line, with its kind and its header if it is one."""
        action = _ACTIONS.get((self._state, kind)) or _DEFAULT_ACTIONS[self._state]
        action(self, kind, line, header)

    def text(self, text: str) -> None:
        """Take whole lines that are nothing but text here: of the open block, or prose."""
        block = self._block
        if block is None:
            self._events.append(Prose(text))
            return
        if block.header.strips_tabs:
            text = _LEADING_TABS.sub("", text)
        room = MAX_FILE_CHARS - block.chars
        is_too_long = len(text) > room
        text = text[:room]
        block.chars += len(text)
        if text and block.header.path is not None:
            block.pieces.append(text)
            self._events.append(FileChunk(block.header.path, text))
        if is_too_long:
            self.fail("a file", MAX_FILE_CHARS)

    def end_held(self) -> None:
        """Take a held marker, if there is one, for the block's end: no content came after it."""
        if self._state is _State.HELD:
            held, self._held = self._held, []
            self._end("complete")
            if len(held) > 1:
                self.text("".join(held[1:]))

    def close(self) -> None:
        """Close the open block, if there is one, as truncated."""
        if self._block is not None:
            self._end("truncated")

    def take_events(self) -> list[ScofEvent]:
        """Return the events since the last call."""
        events, self._events = self._events, []
        return events

    def fail(self, what: str, max_chars: int) -> NoReturn:
        """Give up at a limit; the error takes the events along."""
        self.failure = (what, max_chars)
        raise ScofLimitError(what, max_chars, self.take_events())

    # --- what a line does

    def _prose(self, _kind: Kind, line: Line, _header: Header | None) -> None:
        self.text(line.raw)

    def _install(self, _kind: Kind, line: Line, _header: Header | None) -> None:
        command = parse_install(line.text)
        assert command is not None
        self._events.append(InstallCommand(command))

    def _open(self, _kind: Kind, line: Line, header: Header | None) -> None:
        assert header is not None
        self._block = _Block(header, header.nests, interesting_lines(header), nested_opener(header))
        self._state = _State.INSIDE
        if header.path is not None:
            self._events.append(FileOpened(header.path, header.mode))
        elif header.written_path:
            self._events.append(ParserWarning("unsafe_path", header.written_path))
        else:
            self._events.append(ParserWarning("header_without_path", line.text.strip(BLANKS)))

    def _content(self, _kind: Kind, line: Line, _header: Header | None) -> None:
        block = self._open_block()
        if block.nests:
            opener = block.opener.match(line.text)
            if opener is not None:
                block.nested.append(bool(opener[1] or opener[2]))
        self.text(line.raw)

    def _marker(self, _kind: Kind, line: Line, _header: Header | None) -> None:
        block = self._open_block()
        if block.nested:
            block.nested.pop()
            self.text(line.raw)
        else:
            self._end("complete")

    def _indented_marker(self, _kind: Kind, line: Line, _header: Header | None) -> None:
        block = self._open_block()
        if block.nested:
            if block.nested[-1]:
                block.nested.pop()
            self.text(line.raw)
        else:
            self._held = [line.raw]
            self._state = _State.HELD

    def _header_inside(self, kind: Kind, line: Line, header: Header | None) -> None:
        """Rule 7, for a header that could open a file: a refused path proves nothing."""
        assert header is not None
        block = self._open_block()
        if block.nests or header.path is None or header.indent:
            self._content(kind, line, header)
            return
        detail = f"{block.header.written_path}: no line {block.header.marker} before {header.path}"
        self._events.append(ParserWarning("missing_terminator", detail))
        self._end("implicit")
        self.line(kind, line, header)

    def _keep(self, _kind: Kind, line: Line, _header: Header | None) -> None:
        self._held.append(line.raw)

    def _command_after_held(self, kind: Kind, line: Line, header: Header | None) -> None:
        indent = len(line.text) - len(line.text.lstrip(BLANKS))
        if indent > self._open_block().header.indent:
            self._release(kind, line, header)  # indented like the marker: both are content
            return
        self.end_held()
        self.line(kind, line, header)

    def _release(self, kind: Kind, line: Line, header: Header | None) -> None:
        held, self._held = self._held, []
        self._state = _State.INSIDE
        self.text("".join(held))
        self.line(kind, line, header)

    def _end(self, completion: Completion) -> None:
        block = self._open_block()
        self._block = None
        self._state = _State.OUTSIDE
        header = block.header
        if header.path is None:
            detail = f"{header.written_path or 'no path'}: {block.chars} characters"
            self._events.append(ParserWarning("discarded_block", detail))
        else:
            content = "".join(block.pieces)
            self._events.append(FileClosed(header.path, content, completion))

    def _open_block(self) -> _Block:
        assert self._block is not None
        return self._block


_Action = Callable[[BlockReader, Kind, Line, Header | None], None]

#: (state, kind of line) -> what happens.
_ACTIONS: dict[tuple[_State, Kind], _Action] = {
    (_State.OUTSIDE, Kind.HEADER): BlockReader._open,
    (_State.OUTSIDE, Kind.INSTALL): BlockReader._install,
    (_State.INSIDE, Kind.MARKER): BlockReader._marker,
    (_State.INSIDE, Kind.INDENTED_MARKER): BlockReader._indented_marker,
    (_State.INSIDE, Kind.HEADER): BlockReader._header_inside,
    (_State.HELD, Kind.BLANK): BlockReader._keep,
    (_State.HELD, Kind.HEADER): BlockReader._command_after_held,
    (_State.HELD, Kind.INSTALL): BlockReader._command_after_held,
    (_State.HELD, Kind.FENCE): BlockReader._command_after_held,
}

#: What happens with a line that has no row above.
_DEFAULT_ACTIONS: dict[_State, _Action] = {
    _State.OUTSIDE: BlockReader._prose,
    _State.INSIDE: BlockReader._content,
    _State.HELD: BlockReader._release,
}
