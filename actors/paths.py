"""Which paths may name a file of a project: the one rule for plans, SCOF, sandboxes and URLs."""

from __future__ import annotations

import re
from collections.abc import Collection

MAX_PATH_CHARS = 255  # the whole path
MAX_NAME_BYTES = 255  # one segment in UTF-8: a file name's limit on Linux
_DRIVE = re.compile(r"[A-Za-z]:")


def is_safe_path(path: str) -> bool:
    """Say whether `path` is relative, inside the project, printable and not below a `.git`.

    The source of the rule is shared/scof.md, rule 9: absolute, `~`, drive letters, `..`, NUL and
    anything under `.git/` are refused, a nested repository's too. Other control characters, empty
    segments and `.` segments are refused as well, so that a path has one spelling.
    """
    if not path or len(path) > MAX_PATH_CHARS or path[0] in "/~" or _DRIVE.match(path):
        return False
    if "\\" in path or not path.isprintable():
        return False
    return all(
        segment.lower() not in ("", ".", "..", ".git") and len(segment.encode()) <= MAX_NAME_BYTES
        for segment in path.split("/")
    )


def normalized_path(path: str) -> str | None:
    """Return `path` without `.` segments and doubled `/`, or None where it is not safe."""
    if path[:1] == "/":
        return None
    *directories, name = path.split("/")
    kept = [segment for segment in directories if segment not in ("", ".")]
    path = "/".join([*kept, name])
    return path if is_safe_path(path) else None


def clashing_path(path: str, others: Collection[str]) -> str | None:
    """Return one of the others that `path` cannot stand beside.

    A path cannot be a file here and a directory there; `others` may hold the path itself.
    """
    parent = path.rpartition("/")[0]
    while parent:
        if parent in others:
            return parent
        parent = parent.rpartition("/")[0]
    below = f"{path}/"
    return min((other for other in others if other.startswith(below)), default=None)
