"""Tar archives to be unpacked in `VOLUME_DIR`. Pure."""

from __future__ import annotations

import io
import tarfile
import time
from collections.abc import Iterable, Mapping

from actors.errors import InvalidInput
from actors.paths import is_safe_path
from actors.sandbox.layout import APP_DIR, HOME_DIR, USER_ID, VOLUME_DIR, Place


def files_archive(place: Place, files: Mapping[str, str], note: str = "") -> bytes:
    """Pack a place's files and the directories above them, owned by the user inside.

    What tells of the folder is emptied first, the note is the last entry: all in their order.

    Every directory is an entry of its own: on unpacking, the engine replaces whatever else stands
    at that place, such as a link that leads out of the project. A text that begins with `#!` is
    made executable. Raises InvalidInput for an unsafe path, before anything is packed.
    """
    check_paths(files)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in place.told:
            _add_file(tar, name, "")
        tar.addfile(_entry(place.directory, tarfile.DIRTYPE, 0o755))
        for directory in _directories(files):
            tar.addfile(_entry(f"{place.directory}/{directory}", tarfile.DIRTYPE, 0o755))
        for path, text in files.items():
            _add_file(tar, f"{place.directory}/{path}", text)
        if note:
            _add_file(tar, place.note, note)
    return buffer.getvalue()


def text_archive(path: str, text: str) -> bytes:
    """Pack one file of ours."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        _add_file(tar, path, text)
    return buffer.getvalue()


def home_archive() -> bytes:
    """Pack the two directories that the user inside must own, for `VOLUME_DIR`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for directory in (HOME_DIR, APP_DIR):
            tar.addfile(_entry(directory, tarfile.DIRTYPE, 0o755))
    return buffer.getvalue()


def check_paths(paths: Iterable[str]) -> None:
    """Raise InvalidInput for the first path that may not name a file of a project."""
    for path in paths:
        if not is_safe_path(path):
            raise InvalidInput(f"{path!r} may not name a file of a project.")


def _directories(paths: Iterable[str]) -> list[str]:
    found: set[str] = set()
    for path in paths:
        segments = path.split("/")[:-1]
        found.update("/".join(segments[: count + 1]) for count in range(len(segments)))
    return sorted(found)  # a parent sorts before what is in it


def _add_file(tar: tarfile.TarFile, path: str, text: str) -> None:
    content = text.encode()
    entry = _entry(path, tarfile.REGTYPE, 0o755 if text.startswith("#!") else 0o644)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def _entry(path: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path.removeprefix(f"{VOLUME_DIR}/"))
    entry.type, entry.mode, entry.mtime = kind, mode, time.time()
    entry.uid = entry.gid = USER_ID
    return entry
