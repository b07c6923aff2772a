"""Unified diffs applied by their context: two texts in, one text out.

A model's line numbers are mostly wrong and its context is mostly right. So the numbers in `@@`
are ignored, and each hunk goes where its context and removed lines stand in the text: exactly, or
else with runs of blanks counted as one. The hunks keep their order and do not overlap; where that
leaves more than one way to apply the patch, it is rejected, never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

MAX_COMPARISONS = 10_000_000  # hunks x lines of the file: about 2 seconds at the very worst

_PREAMBLE = re.compile(
    r"--- |\+\+\+ |diff |index |Index: |={3,}$|(?:old |new |deleted )(?:file )?mode |"
    r"similarity index |rename |copy "
)
_NO_NEWLINE = "\\"  # begins `\ No newline at end of file`, said of the line above it
_LINE = re.compile(r"[^\n]*\n|[^\n]+")


class PatchRejected(ValueError):
    """The diff cannot be read, or does not fit the text in exactly one way.

    `reason` is a clause for a person, and for the model that is asked again; hunks and lines are
    counted from 1.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(slots=True)
class _Hunk:
    """Lines as (sign, text), sign one of " -+".

    `bare_tail` counts the last lines that were empty, without a sign: context that lost its blank,
    or just space before the next hunk. `has_last_end` is None where the diff does not say whether
    the text's last line ends in a newline.
    """

    number: int
    lines: list[tuple[str, str]] = field(default_factory=list)
    bare_tail: int = 0
    is_at_end: bool = False
    has_last_end: bool | None = None

    @property
    def old(self) -> list[str]:
        return [text for sign, text in self.lines if sign != "+"]


def apply_patch(original: str, diff: str) -> str:
    """Return `original` changed by `diff`; a file that does not exist is the empty text.

    Context lines keep the text that they have in `original`; added lines take its line ends (CRLF
    where most have it). Raises PatchRejected; nothing is applied in part.
    """
    hunks = _read(diff)
    lines = _LINE.findall(original)
    places = _places(hunks, [_without_end(line) for line in lines])
    line_end = "\r\n" if original.count("\r\n") * 2 > original.count("\n") else "\n"
    has_last_end = original.endswith("\n") or not original
    patched: list[str] = []
    at = 0
    for hunk, place in zip(hunks, places, strict=True):
        patched += lines[at:place]
        at = place
        for sign, text in hunk.lines:
            if sign == "+":
                patched.append(text + line_end)
                continue
            if sign == " ":
                patched.append(lines[at])
            at += 1
        if hunk.has_last_end is not None:
            has_last_end = hunk.has_last_end
    patched += lines[at:]
    if not patched:
        return ""
    patched = [line if line.endswith("\n") else line + line_end for line in patched]
    if not has_last_end:
        patched[-1] = _without_end(patched[-1])
    return "".join(patched)


def _without_end(line: str) -> str:
    return line[:-1].removesuffix("\r") if line.endswith("\n") else line


# --- reading -------------------------------------------------------------------------------------


def _read(diff: str) -> list[_Hunk]:
    """Read the hunks of a diff of one file."""
    lines = [line.removesuffix("\r") for line in diff.split("\n")]
    if not lines[-1]:
        lines.pop()
    hunks: list[_Hunk] = []
    names: set[str] = set()
    is_inside = False
    for index, line in enumerate(lines):
        if line.startswith("@@"):
            hunks.append(_Hunk(number=len(hunks) + 1))
            is_inside = True
        elif is_inside and not _begins_file(lines, index):
            _read_line(hunks[-1], line, index + 1)
        elif _PREAMBLE.match(line) or not line.strip():
            is_inside = False
            if line.startswith("+++ "):
                names.add(re.sub(r"^b/", "", line[4:].partition("\t")[0].strip()))
        else:
            raise PatchRejected(f"line {index + 1} of the diff stands outside of its hunks")
    if len(names) > 1:
        raise PatchRejected("the diff changes more than one file")
    hunks = [hunk for hunk in hunks if hunk.lines]
    if not hunks:
        raise PatchRejected("the diff has no hunk; each begins with an @@ line")
    return hunks


def _begins_file(lines: Sequence[str], index: int) -> bool:
    """Say whether a hunk ends here; alone, `--- x` is the removal of the line `-- x`."""
    line = lines[index]
    if not line.startswith(("--- ", "+++ ")):
        return _PREAMBLE.match(line) is not None
    names, hunk = [*lines[index + 1 : index + 3], "", ""][:2]
    return line.startswith("--- ") and names.startswith("+++ ") and hunk.startswith("@@")


def _read_line(hunk: _Hunk, line: str, number: int) -> None:
    sign = line[:1]
    if sign == _NO_NEWLINE:
        hunk.is_at_end = True
        if hunk.lines and hunk.lines[-1][0] != "-":
            hunk.has_last_end = False
        elif hunk.has_last_end is None:
            hunk.has_last_end = True
    elif sign in {" ", "-", "+"}:
        hunk.lines.append((sign, line[1:]))
        hunk.bare_tail = 0
    elif not line:
        hunk.lines.append((" ", ""))
        hunk.bare_tail += 1
    else:
        raise PatchRejected(f"line {number} of the diff begins with neither a blank, -, + nor @@")


# --- placing -------------------------------------------------------------------------------------


def _places(hunks: Sequence[_Hunk], lines: Sequence[str]) -> list[int]:
    """Find the one index in `lines` for each hunk, in order and without overlap."""
    if len(hunks) * len(lines) > MAX_COMPARISONS:
        raise PatchRejected(f"{len(hunks)} hunks are too many for a file of {len(lines)} lines")
    ways: tuple[Callable[[str], str], ...] = (str, _squeezed)
    texts = {alike: [alike(line) for line in lines] for alike in ways}
    candidates = [_candidates(hunk, texts) for hunk in hunks]
    lengths = [len(hunk.old) for hunk in hunks]
    latest: list[int] = []  # the last place of each hunk that leaves room for those after it
    room = len(lines)
    for hunk, places, length in reversed([*zip(hunks, candidates, lengths, strict=True)]):
        fitting = [place for place in places if place + length <= room]
        if not fitting:
            raise PatchRejected(f"hunk {hunk.number} fits only in another order of the hunks")
        room = fitting[-1]
        latest.insert(0, room)
    chosen: list[int] = []
    earliest = 0
    for hunk, places, length, last in zip(hunks, candidates, lengths, latest, strict=True):
        possible = [place for place in places if earliest <= place <= last]
        if len(possible) > 1:
            raise PatchRejected(
                f"hunk {hunk.number} fits in {len(possible)} places; it needs more context"
            )
        chosen += possible
        earliest = possible[0] + length
    return chosen


def _candidates(hunk: _Hunk, texts: Mapping[Callable[[str], str], list[str]]) -> list[int]:
    """Return every place of a hunk by the strictest way of comparing that has one.

    Empty lines at the hunk's end that are not in the text are taken off it.
    """
    for alike, text in texts.items():
        for dropped in dict.fromkeys((0, min(1, hunk.bare_tail), hunk.bare_tail)):
            old = [alike(line) for line in hunk.old[: len(hunk.old) - dropped]]
            places = _occurrences(old, text)
            if hunk.is_at_end:
                places = [place for place in places if place + len(old) == len(text)]
            if places:
                del hunk.lines[len(hunk.lines) - dropped :]
                return places
    raise PatchRejected(f"hunk {hunk.number} does not fit: its context is not in the file")


def _squeezed(line: str) -> str:
    return " ".join(line.split())


def _occurrences(needle: Sequence[str], text: Sequence[str]) -> list[int]:
    """Return every index, overlaps too, in linear time (Knuth, Morris, Pratt)."""
    if not needle:
        return list(range(len(text) + 1))
    borders = [0] * len(needle)
    matched = 0
    for index in range(1, len(needle)):
        while matched and needle[index] != needle[matched]:
            matched = borders[matched - 1]
        matched += needle[index] == needle[matched]
        borders[index] = matched
    found: list[int] = []
    matched = 0
    for index, line in enumerate(text):
        while matched and (matched == len(needle) or line != needle[matched]):
            matched = borders[matched - 1]
        matched += line == needle[matched]
        if matched == len(needle):
            found.append(index - matched + 1)
    return found
