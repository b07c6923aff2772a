"""The project's files as the model is shown them: in SCOF, byte for byte, within a budget.

What does not fit is reduced, the least relevant file first: to its outline, then to its name.
Nothing here does I/O.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping

from actors.generation.outline import exported_names, outline
from actors.generation.tokens import estimated_tokens

MARKER = "END_OF_FILE"  # less likely than EOF inside the scripts and documents of an app

_PLAIN_PATH = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")
#: What most other files depend on: manifests, settings of tools, entries.
_CENTRAL = re.compile(
    r"(?:.*/)?(?:package\.json|index\.html|[jt]sconfig[\w.]*\.json|[\w-]+\.config\.\w+|"
    r"\.env[\w.]*|requirements\.txt|pyproject\.toml|(?:main|index|app|server|routes?|router|types|"
    r"store|schema)\.\w+)",
    re.IGNORECASE,
)
#: What a tool has made.
_MADE = re.compile(r".*(?:-lock\.\w+|\.lock|\.min\.\w+|\.map)", re.IGNORECASE)
_WORD = re.compile(r"[\w./$-]*\w")
MIN_STEM_CHARS = 3  # a shorter file name is also a word


def free_marker(texts: Iterable[str], word: str = MARKER) -> str:
    """Return a here-document marker that occurs nowhere in `texts`: `word`, or with a number."""
    shown = list(texts)
    marker, number = word, 1
    while any(marker in text for text in shown):
        number += 1
        marker = f"{word}_{number}"
    return marker


def write_scof(path: str, content: str, marker: str) -> str:
    """Render one file as a SCOF block.

    The format ends every line with LF, so a content that does not is given one.
    """
    end = "" if not content or content.endswith("\n") else "\n"
    return f"{header(path, marker)}\n{content}{end}{marker}\n"


def header(path: str, marker: str) -> str:
    """Return the line that begins a file."""
    shown = path if _PLAIN_PATH.fullmatch(path) else _quoted(path)
    return f"cat > {shown} << '{marker}'"


def _quoted(path: str) -> str:
    return f"'{path}'" if "'" not in path else f'"{path}"'


def tokens_in_full(files: Mapping[str, str], paths: Iterable[str], marker: str) -> int:
    """Return about how many tokens it takes to show these of the files in full."""
    return sum(_cost(_in_full(path, files[path], marker)) for path in paths if path in files)


def shown_code(
    files: Mapping[str, str],
    *,
    whole: Collection[str],
    topic: str,
    marker: str,
    max_tokens: int,
) -> str:
    """Show the files, in the order of their paths, within about `max_tokens`.

    Those in `whole` are shown in full even where they alone take more. Of the others, those that
    are central or that `topic` speaks of are reduced last, and small ones after large ones.
    """
    shown = {path: _in_full(path, text, marker) for path, text in files.items()}
    costs = {path: _cost(text) for path, text in shown.items()}
    total = sum(costs.values())
    if total > max_tokens:
        words = frozenset(_WORD.findall(topic))
        others = sorted(
            (path for path in files if path not in whole),
            key=lambda path: (_rank(path, files[path], words), len(files[path]), path),
            reverse=True,
        )
        total = _reduce(files, shown, costs, others, _outlined, total - max_tokens)
        total = _reduce(files, shown, costs, others, _named, total)
        hidden = _hide(shown, costs, others, total)
        parts = [shown[path] for path in sorted(shown)]
        return "\n".join([*parts, f"# {hidden} more files are not shown.\n"] if hidden else parts)
    return "\n".join(shown[path] for path in sorted(shown))


def _reduce(
    files: Mapping[str, str],
    shown: dict[str, str],
    costs: dict[str, int],
    order: Iterable[str],
    reduced: Callable[[str, str], str],
    excess: int,
) -> int:
    """Reduce one file after the other until nothing is in excess; returns what still is."""
    for path in order:
        if excess <= 0:
            break
        text = reduced(path, files[path])
        cost = _cost(text)
        if cost < costs[path]:
            excess -= costs[path] - cost
            shown[path], costs[path] = text, cost
    return excess


def _hide(
    shown: dict[str, str], costs: Mapping[str, int], order: Iterable[str], excess: int
) -> int:
    hidden = 0
    for path in order:
        if excess <= 0:
            break
        del shown[path]
        excess -= costs[path]
        hidden += 1
    return hidden


def _rank(path: str, text: str, words: frozenset[str]) -> int:
    """Return how far a file is from the phase's work."""
    name = path.rpartition("/")[2]
    if _MADE.fullmatch(name):
        return 3
    if _CENTRAL.fullmatch(path):
        return 0
    stem = name.partition(".")[0]
    named = {path, name, stem} if len(stem) >= MIN_STEM_CHARS else {path, name}
    return 2 if words.isdisjoint(named | exported_names(text)) else 1


def _cost(text: str) -> int:
    return estimated_tokens(text) + 1


def _in_full(path: str, text: str, marker: str) -> str:
    note = f"# The last line of {path} has no line end.\n" if text and text[-1] != "\n" else ""
    return note + write_scof(path, text, marker)


def _outlined(path: str, text: str) -> str:
    lines = [f"#   {line}" for line in outline(path, text).splitlines()]
    return "\n".join([f"# {path}{_extent(text)} is shown as an outline:", *lines, ""])


def _named(path: str, text: str) -> str:
    return f"# {path}{_extent(text)} is not shown.\n"


def _extent(text: str) -> str:
    lines = len(text.splitlines())
    return f" ({lines:,} line{'s' if lines != 1 else ''}, {len(text.encode()):,} bytes)"
