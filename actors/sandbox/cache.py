"""The cache that all projects of a service share: a bounded directory of files.

The actors' processes use it at the same time and without a lock. A file appears as a whole, by a
rename, and is not changed after that; a process that has one open may read it to its end whoever
removes it meanwhile. Its time of modification is when it was made or found to be still valid, its
time of access, set by us whatever the file system does with it, is when it was last used.

No sandbox sees the directory: what is in it is handed in by our processes.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from actors.run_directory import make_private_directory
from actors.settings import Settings

LARGEST_SHARE = 4  # a file may take this part of the whole
LEFT_SHARE = 0.9  # of the limit, after files were removed for it
DRAFT_SECONDS = 3600.0  # older ones were left by processes that are no more
MIB = 1024 * 1024


class Cache:
    """A directory of at most `limit_bytes`, drafts aside. All methods raise OSError."""

    def __init__(self, directory: Path, limit_bytes: int) -> None:
        self._directory = directory
        self._drafts = directory / "drafts"
        self._limit_bytes = limit_bytes
        self.packages = directory / "packages"
        self.templates = directory / "templates"

    @property
    def largest_bytes(self) -> int:
        """How large a file may be to be kept."""
        return self._limit_bytes // LARGEST_SHARE

    @property
    def lock_file(self) -> Path:
        """Held by whoever makes a template."""
        return self._directory / "builder.lock"

    def prepare(self) -> None:
        """Make the directories that are missing; raises StateDirUnusable as well."""
        make_private_directory(self._directory)
        for path in (self._drafts, self.packages, self.templates):
            path.mkdir(mode=0o700, exist_ok=True)

    def draft(self) -> Draft:
        """Begin a file that is nothing yet."""
        return Draft(self._drafts)

    def prune(self) -> None:
        """Remove what was not used for the longest, where all together is above the limit."""
        for path in self._drafts.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < time.time() - DRAFT_SECONDS:
                    path.unlink()
        files = sorted((*_files(self.packages), *_files(self.templates)))
        excess = sum(file.size for file in files) - self._limit_bytes
        if excess > 0:
            excess += int(self._limit_bytes * (1 - LEFT_SHARE))
            for file in files:
                if excess <= 0:
                    break
                file.path.unlink(missing_ok=True)
                excess -= file.size


def open_cache(settings: Settings) -> Cache | None:
    """Return the service's cache; None where there is to be none."""
    if settings.cache_mib == 0:
        return None
    return Cache(settings.path("cache"), settings.cache_mib * MIB)


class Draft:
    """A file that is being written; it is gone at the end of the context unless it was kept."""

    def __init__(self, directory: Path) -> None:
        handle, name = tempfile.mkstemp(dir=directory)  # of mode 0600
        self._path = Path(name)
        self.file = os.fdopen(handle, "w+b")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):  # what is left to be written; it matters no more
            self.file.close()
        self._path.unlink(missing_ok=True)

    def keep(self, path: Path) -> None:
        """Let the file appear at this path, in place of any other."""
        self.file.flush()
        self._path.replace(path)


def mark_used(path: Path) -> None:
    """Note that a file is used now; one that is gone is no error."""
    with contextlib.suppress(FileNotFoundError):
        os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))


class _File(NamedTuple):
    used_ns: int
    size: int
    path: Path


def _files(directory: Path) -> Iterator[_File]:
    with os.scandir(directory) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                status = entry.stat(follow_symlinks=False)
                yield _File(status.st_atime_ns, status.st_size, Path(entry.path))
