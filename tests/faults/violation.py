"""The one error of the fault suite: the service broke its contract."""

from __future__ import annotations

MAX_SHOWN_CHARS = 600


class Violation(AssertionError):
    """What was broken, in a sentence, and the frames, rows or requests that show it."""

    def __init__(self, sentence: str, *evidence: object) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.evidence = tuple(str(item)[:MAX_SHOWN_CHARS] for item in evidence)

    def __str__(self) -> str:
        return "\n    ".join((self.sentence, *self.evidence))
