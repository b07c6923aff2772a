"""Prepared installs: what came of a recipe, as the tar of a `node_modules`, in the cache.

Nobody of ours unpacks one: it was packed by what runs sandboxes, and is unpacked by it. Of a recipe
that gave none, that is kept, so that it is not tried again with every project.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

from actors.sandbox.cache import Cache, mark_used

DAY_SECONDS = 24 * 3600.0
USED_SECONDS = 7 * DAY_SECONDS  # ranges and tags mean newer versions after some time
REFUSED_SECONDS = DAY_SECONDS  # the registry may have failed, say
_END_OF_TAR = bytes(1024)


class Templates:
    """The prepared installs by the keys of their recipes. All methods raise OSError."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def open(self, key: str) -> BinaryIO | None:
        """Open the tar of a prepared install that may be used; the caller closes it.

        One that was cut on the disk is removed, so that it is prepared anew.
        """
        path = self._path(key)
        if not _is_fresh(path, USED_SECONDS):
            return None
        try:
            file = path.open("rb")
        except FileNotFoundError:  # meanwhile
            return None
        if not _is_whole(file):
            file.close()
            path.unlink(missing_ok=True)
            return None
        mark_used(path)
        return file

    def is_settled(self, key: str) -> bool:
        """Say whether there is one, or it is known that there can be none."""
        is_refused = _is_fresh(self._refusal(key), REFUSED_SECONDS)
        return is_refused or _is_fresh(self._path(key), USED_SECONDS)

    def refuse(self, key: str) -> None:
        """Note that there is to be none; one that there is does not count any more."""
        self._refusal(key).touch()
        self._path(key).unlink(missing_ok=True)

    async def keep(self, key: str, parts: AsyncIterator[bytes]) -> bool:
        """Keep a tar that comes in parts; returns False if it is too large, or not whole."""
        with self._cache.draft() as draft:
            length, tail = 0, b""
            async for part in parts:
                length += len(part)
                if length > self._cache.largest_bytes:
                    return False
                tail = (tail + part)[-len(_END_OF_TAR) :]
                draft.file.write(part)
            if tail != _END_OF_TAR:
                return False
            draft.keep(self._path(key))
        return True

    def _path(self, key: str) -> Path:
        return self._cache.templates / f"{key}.tar"

    def _refusal(self, key: str) -> Path:
        return self._cache.templates / f"{key}.none"


def _is_whole(file: BinaryIO) -> bool:
    """Say whether a file ends as a tar does; it is at its beginning afterwards."""
    file.seek(max(0, file.seek(0, os.SEEK_END) - len(_END_OF_TAR)))
    tail = file.read()
    file.seek(0)
    return tail == _END_OF_TAR


def _is_fresh(path: Path, seconds: float) -> bool:
    try:
        made_at = path.stat().st_mtime
    except FileNotFoundError:
        return False
    return made_at > time.time() - seconds
