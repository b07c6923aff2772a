"""What the SCOF parser tells: its events, its limits, and the error past a limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from actors.errors import OutputInvalid

MAX_LINE_CHARS = 1 << 20  # one line, its LF not counted; a minified bundle fits
MAX_FILE_CHARS = 4 << 20  # the text of one block
MAX_TOTAL_CHARS = 32 << 20  # everything fed to one parser

Mode = Literal["write", "append", "patch"]
Completion = Literal["complete", "implicit", "truncated"]


@dataclass(frozen=True, slots=True)
class FileOpened:
    """A block begins; its path is safe (`actors/paths.py`)."""

    path: str
    mode: Mode


@dataclass(frozen=True, slots=True)
class FileChunk:
    """More text of the open block, never empty."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class FileClosed:
    """A block ended; `content` is all its chunks joined."""

    path: str
    content: str
    completion: Completion


@dataclass(frozen=True, slots=True)
class InstallCommand:
    """A package manager's install command, without prompt and comment."""

    line: str


@dataclass(frozen=True, slots=True)
class ParserWarning:
    """The answer broke a rule and was mended.

    `kind` is unsafe_path, header_without_path, discarded_block or missing_terminator.
    """

    kind: str
    detail: str


@dataclass(frozen=True, slots=True)
class Prose:
    """Text outside all blocks: prose, fences, blank lines."""

    text: str


ScofEvent = FileOpened | FileChunk | FileClosed | InstallCommand | ParserWarning | Prose


class ScofLimitError(OutputInvalid):
    """The answer is larger than a limit. `events` are what the failing call had found before."""

    def __init__(self, what: str, max_chars: int, events: list[ScofEvent]) -> None:
        super().__init__()
        self.what = what
        self.max_chars = max_chars
        self.events = events

    def __str__(self) -> str:
        return (
            f"The model's answer holds {self.what} of more than {self.max_chars:,} characters; "
            "generate again or choose another model."
        )
