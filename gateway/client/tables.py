"""What `codegen projects`, `status` and `files` print: JSON in, lines out; no I/O."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gateway.client.progress import clean, size_text

MAX_CELL_CHARS = 60


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return aligned columns under their titles; long cells are cut with an ellipsis."""
    cells = [[_cell(text) for text in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    return [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in [list(head), *cells]
    ]


def _cell(text: str) -> str:
    text = clean(text)
    return text if len(text) <= MAX_CELL_CHARS else text[: MAX_CELL_CHARS - 1] + "…"


def projects_table(projects: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a list of projects: id, status, when it changed, what was wished for."""
    rows = [
        [
            project["id"],
            project["status"],
            str(project["updatedAt"])[:16].replace("T", " "),
            project["description"] or "",
        ]
        for project in projects
    ]
    return table(("PROJECT", "STATUS", "CHANGED (UTC)", "DESCRIPTION"), rows)


def files_table(files: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a project's files: path, size, the phase that wrote them."""
    rows = [[file["path"], size_text(file["size"]), str(file["phaseNumber"])] for file in files]
    return table(("PATH", "SIZE", "PHASE"), rows)


def status_lines(status: Mapping[str, Any]) -> list[str]:
    """Return every member of a status on a line of its own, nested ones by their path."""
    pairs = list(_pairs(status, ""))
    width = max((len(name) for name, _ in pairs), default=0)
    return [f"{name:<{width}}  {clean(value)}".rstrip() for name, value in pairs]


def _pairs(members: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for name, value in members.items():
        words = prefix + re.sub(r"([A-Z])", r" \1", name).replace("_", " ").lower()
        if isinstance(value, Mapping):
            yield from _pairs(value, f"{words}: ")
        elif isinstance(value, bool):
            yield words, "yes" if value else "no"
        elif isinstance(value, list):
            yield words, ", ".join(map(str, value))
        else:
            yield words, "-" if value is None else str(value)
