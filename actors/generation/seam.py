"""The seam: how the text of a file that broke off and its continuation are joined without a guess.

The model is asked to go on with an unfinished file, and to begin with the *seam*: the last lines
of the text so far. They show where its new text belongs: only what follows the repeated seam is
joined to the text so far, so no line is ever doubled or missing. Nothing here does I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

MIN_OVERLAP_CHARS = 40  # not counting blanks: fewer could be the same by chance
MAX_OVERLAP_CHARS = 2_000  # what a model can be expected to repeat without a slip


@dataclass(frozen=True, slots=True)
class UnfinishedFile:
    """A file that can be continued; `text` is its text so far, `seam` the end of it."""

    path: str
    text: str
    seam: str


def continuable(path: str, text: str) -> UnfinishedFile | None:
    """Return the file with its seam; None where the text has none, being short or repetitive."""
    seam = find_seam(text)
    return None if seam is None else UnfinishedFile(path, text, seam)


def find_seam(text: str) -> str | None:
    """Return the shortest tail of lines that is long enough and occurs once in the text.

    Its last line is a part of one where the text ends in the middle of a line.
    """
    at = len(text)
    end_of_first = 0  # of the tail tried last, where it occurs for the first time
    while at > 0:
        at = text.rfind("\n", 0, at - 1) + 1
        seam = text[at:]
        if len(seam) > MAX_OVERLAP_CHARS:
            return None
        if _is_long_enough(seam):
            # A longer tail does not end before a shorter one does: the search stays linear.
            first = text.find(seam, max(0, end_of_first - len(seam)))
            if first == at:
                return seam
            end_of_first = first + len(seam)
    return None


def find_head(text: str) -> str | None:
    """Return the shortest head of whole lines that is long enough and occurs once in the text."""
    end = 0
    second = 1  # where the head tried last occurs again, or the first place where it could
    while end := text.find("\n", end, MAX_OVERLAP_CHARS) + 1:
        head = text[:end]
        if _is_long_enough(head):
            second = text.find(head, second)
            if second < 0:
                return head
    return None


def _is_long_enough(lines: str) -> bool:
    return sum(not char.isspace() for char in lines) >= MIN_OVERLAP_CHARS


class Joint(Enum):
    """How a block relates to the text so far."""

    UNDECIDED = auto()  # too little of it has come
    CONTINUED = auto()  # it repeated the seam and goes on
    REWRITTEN = auto()  # it began with the beginning: it is the whole file, written anew
    MISMATCHED = auto()  # it did neither: where it belongs is unknown


class SeamJoiner:
    """Takes the text of the block that is to continue a file, piece by piece."""

    def __init__(self, unfinished: UnfinishedFile) -> None:
        self.joint = Joint.UNDECIDED
        self._seam = unfinished.seam
        self._head = find_head(unfinished.text)
        self._held = ""

    def feed(self, piece: str) -> str:
        """Return the new text in this piece: what follows the seam, or all of a file anew.

        Nothing is returned while the joint is undecided, nor once it is a mismatch.
        """
        match self.joint:
            case Joint.CONTINUED | Joint.REWRITTEN:
                return piece
            case Joint.MISMATCHED:
                return ""
        held = self._held + piece
        self.joint = self._judge(held)
        self._held = held if self.joint is Joint.UNDECIDED else ""
        match self.joint:
            case Joint.CONTINUED:
                return held[len(self._seam) :]
            case Joint.REWRITTEN:
                return held
        return ""

    def _judge(self, held: str) -> Joint:
        # The seam goes first: where the text so far is hardly longer, it begins like the head.
        if held.startswith(self._seam):
            return Joint.CONTINUED
        if self._seam.startswith(held):
            return Joint.UNDECIDED
        if self._head is not None and held.startswith(self._head):
            return Joint.REWRITTEN
        if self._head is not None and self._head.startswith(held):
            return Joint.UNDECIDED
        return Joint.MISMATCHED
