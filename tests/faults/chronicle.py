"""What the viewers of one project were shown: all of them together, and each in one go."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from actors.state import OpenFile
from tests.faults.violation import Violation
from tests.support.fold import Frame


@dataclass(frozen=True, slots=True)
class Sighting:
    """An event as it was first shown: the frame's very text, and when."""

    text: str
    frame: Frame
    at: float


class Chronicle:
    """Every event that any viewer of one project has seen."""

    def __init__(self, project_id: str) -> None:
        self.project_id = project_id
        self.by_number: dict[int, Sighting] = {}
        self._open_files: dict[int, OpenFile | None] = {}  # after the event of this number

    def note(self, text: str, frame: Frame) -> None:
        """Take an event down; raises Violation where its number has been used for another one."""
        known = self.by_number.get(frame["seq"])
        if known is None:
            self.by_number[frame["seq"]] = Sighting(text, frame, time.monotonic())
        elif known.text != text:
            raise Violation(
                f"{self.project_id}: the number {frame['seq']} stands for two events",
                known.text,
                text,
            )

    def note_open_file(self, seq: int, file: OpenFile | None) -> None:
        """Take down which file is open after an event, and its text, by a viewer who knows all.

        Raises Violation where another viewer knows otherwise.
        """
        shown = None if file is None else OpenFile(path=file.path, chunks=[file.text])
        known = self._open_files.setdefault(seq, shown)
        if known != shown:
            raise Violation(
                f"{self.project_id}: after event {seq} two viewers see other open files",
                known,
                shown,
            )


@dataclass(slots=True)
class Stretch:
    """What was shown in one go: from a snapshot's number (or 0) on, these events."""

    start: int
    snapshot: Frame | None = None
    numbers: list[int] = field(default_factory=list)
