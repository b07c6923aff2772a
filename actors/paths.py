"""Which paths may name a file of a project: the one rule for plans, SCOF, sandboxes and URLs."""

from __future__ import annotations

import re

MAX_PATH_CHARS = 255  # a file name's limit on Linux, taken for the whole path
_DRIVE = re.compile(r"[A-Za-z]:")


def is_safe_path(path: str) -> bool:
    """Say whether `path` is relative, inside the project, printable and not below `.git`.

    The source of the rule is shared/scof.md, rule 9: absolute, `~`, drive letters, `..`, NUL and
    anything under `.git/` are refused. Other control characters, empty segments and `.` segments
    are refused too, so that a path has one spelling.
    """
    if not path or len(path) > MAX_PATH_CHARS or path[0] in "/~" or _DRIVE.match(path):
        return False
    if "\\" in path or not path.isprintable():
        return False
    segments = path.split("/")
    return segments[0].lower() != ".git" and not any(
        segment in ("", ".", "..") for segment in segments
    )


def normalized_path(path: str) -> str | None:
    """Return `path` without leading `./` and doubled `/`, or None where it is not safe."""
    while path.startswith("./"):
        path = path[2:].lstrip("/")
    path = re.sub(r"/{2,}", "/", path).replace("/./", "/") if path[:1] != "/" else path
    return path if is_safe_path(path) else None
